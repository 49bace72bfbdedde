"""What is known of the whole robot, put together. A process that says nothing leaves its part unknown."""

from __future__ import annotations

from bus.base import Bus, Latest
from bus.messages import ModeState, Sighting
from bus.topics import DISPENSER_STATE, MODE_STATE, MOTION_STATE, SIGHTING
from contract.models import Telemetry
from processes.monitor.battery import Reading
from processes.monitor.machine import Condition


class Surroundings:
    """The other processes' latest states."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._dispenser = Latest(bus, DISPENSER_STATE)
        self._mode = Latest(bus, MODE_STATE)
        self._sighting = Latest(bus, SIGHTING)
        self._motion = Latest(bus, MOTION_STATE)

    def load(self) -> float:
        """Mean duty of the motors, 0–1. A motion that says nothing has stopped them, or guard has."""
        motion = self._motion.fresh(self._bus.now())
        return (abs(motion.left) + abs(motion.right)) / 2 if motion else 0.0

    def telemetry(self, condition: Condition, battery: Reading) -> Telemetry:
        """All of it as of now."""
        now = self._bus.now()
        dispenser, mode = self._dispenser.fresh(now), self._mode.fresh(now)
        motion = self._motion.fresh(now)
        seen, behavior, confidence = dog(self._sighting.fresh(now))
        return Telemetry(
            battery=_rounded(battery.pct, 1),
            temperature=condition.temperature_c,
            mode=mode.mode if mode else None,
            dog_detected=seen,
            current_behavior=behavior,
            confidence=confidence,
            is_charging=battery.charging,
            treats_remaining=dispenser.remaining if dispenser else None,
            last_treat_time=dispenser.last_treat_time if dispenser else None,
            active_mission_id=active_mission(mode),
            wifi_strength=condition.wifi_dbm,
            uptime_seconds=condition.uptime_s,
            battery_voltage=_rounded(battery.volts, 2),
            undervoltage=condition.undervoltage,
            throttled=condition.throttled,
            disk_free_mib=condition.disk_free_mib,
            memory_free=condition.memory_free_pct,
            emergency_stop=motion.emergency if motion else None,
        )


def dog(sighting: Sighting | None) -> tuple[bool | None, str | None, float | None]:
    """Whether a dog is seen, what it does, and how sure that is; of several, the one the detector is surest of."""
    if sighting is None or sighting.model is None:
        return None, None, None
    if not sighting.dogs:
        return False, "absent", None
    surest = max(sighting.dogs, key=lambda dog: dog.score)
    return True, surest.behavior, surest.confidence


def active_mission(mode: ModeState | None) -> str | None:
    """The id of the mission that runs."""
    return next((mission.id for mission in mode.missions if mission.is_active), None) if mode else None


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
