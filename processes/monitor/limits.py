"""When a reading is worth telling people, and when no more. Pure: `now` is CLOCK_MONOTONIC in seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bus.messages import BatteryState, Fault
from contract.units import Severity
from processes.monitor.battery import Reading
from processes.monitor.config import MonitorConfig
from processes.monitor.machine import Condition

OVERHEAT_HYSTERESIS_C = 5.0
BATTERY_HYSTERESIS_PCT = 5.0
LOW_MEMORY_PCT, MEMORY_OVER_PCT = 5.0, 10.0
MEMORY_FOR_S = 10.0
LINGERS_S = 60.0
"""Undervoltage and throttling come and go; they are over when they did not come back for so long."""
UNMEASURED_S = 30.0
"""A battery that should be known, and is not for so long, is told."""


class Limit:
    """One reading against its limit, with a hysteresis.

    Args:
        begins: the fault begins at this reading or beyond.
        ends: it is over at this reading or beyond, in the other direction.
        message: what people are told, of a reading.
        for_s: how long it has to be beyond `begins`.
        lingers_s: how long it has to be beyond `ends`.
    """

    def __init__(
        self,
        code: str,
        severity: Severity,
        begins: float,
        ends: float,
        message: Callable[[float], str],
        for_s: float = 0.0,
        lingers_s: float = 0.0,
    ) -> None:
        self.active = False
        self._code = code
        self._severity = severity
        self._begins = begins
        self._ends = ends
        self._rising = begins > ends
        self._message = message
        self._for_s = for_s
        self._lingers_s = lingers_s
        self._since: float | None = None

    def on_reading(self, value: float | None, now: float) -> Fault | None:
        """The fault that begins or ends with this reading. None, not known, changes nothing."""
        if value is None:
            self._since = None
            return None
        limit = self._ends if self.active else self._begins
        beyond = value >= limit if self._rising != self.active else value <= limit
        if not beyond:
            self._since = None
            return None
        if self._since is None:
            self._since = now
        if now - self._since < (self._lingers_s if self.active else self._for_s):
            return None
        self._since = None
        self.active = not self.active
        return Fault(self._code, self._message(value), self._severity, self.active)


class Limits:
    """All that monitor itself looks after."""

    def __init__(self, config: MonitorConfig) -> None:
        low, critical, mib = config.low_battery_pct, config.critical_battery_pct, config.low_disk_mib
        hot = config.overheat_c
        self._overheat = Limit(
            "OVERHEAT",
            "warning",
            hot,
            hot - OVERHEAT_HYSTERESIS_C,
            lambda c: f"The robot's computer is at {c:.0f} °C; from {hot:.0f} °C on it slows down. Let it cool.",
        )
        self._disk = Limit(
            "DISK_FULL",
            "error",
            mib,
            2 * mib,
            lambda free: (
                f"{free:.0f} MiB are free on the robot's disk; below {mib} MiB, events and treats may soon not "
                "be kept. Delete what is not needed."
            ),
        )
        self._memory = Limit(
            "LOW_MEMORY",
            "warning",
            LOW_MEMORY_PCT,
            MEMORY_OVER_PCT,
            lambda free: f"{free:.0f} % of the robot's memory are free: something takes too much of it (`wimz ps`).",
            for_s=MEMORY_FOR_S,
        )
        self._undervoltage = Limit(
            "UNDERVOLTAGE",
            "error",
            1,
            0,
            lambda _: "The robot's computer gets less than 4.63 V: check its 5 V supply and the cable.",
            lingers_s=LINGERS_S,
        )
        self._throttled = Limit(
            "THROTTLED",
            "warning",
            1,
            0,
            lambda _: "The robot's computer has slowed itself down, for heat or for want of power.",
            lingers_s=LINGERS_S,
        )
        self._low = Limit(
            "LOW_BATTERY",
            "warning",
            low,
            low + BATTERY_HYSTERESIS_PCT,
            lambda pct: f"The battery is at {pct:.0f} %. Charge it.",
        )
        self._battery = CriticalBattery(critical)
        self._unmeasured = Limit(
            "BATTERY_UNKNOWN",
            "warning",
            1,
            0,
            lambda _: (
                "The battery cannot be measured; the log of monitor says why. Without an ADS1115, set "
                "battery.fitted to false."
            ),
            for_s=UNMEASURED_S,
        )

    def on_condition(self, condition: Condition, now: float) -> Iterator[Fault]:
        """What begins or ends with the computer's condition."""
        faults = (
            self._overheat.on_reading(condition.temperature_c, now),
            self._disk.on_reading(condition.disk_free_mib, now),
            self._memory.on_reading(condition.memory_free_pct, now),
            self._undervoltage.on_reading(condition.undervoltage, now),
            self._throttled.on_reading(condition.throttled, now),
        )
        return (fault for fault in faults if fault is not None)

    def on_battery(self, reading: Reading, now: float, *, fitted: bool) -> Iterator[Fault]:
        """What begins or ends with the battery's; `fitted`: it should be known."""
        faults = (
            self._low.on_reading(reading.pct, now),
            self._battery.on_reading(reading),
            self._unmeasured.on_reading(float(fitted and reading.pct is None), now),
        )
        return (fault for fault in faults if fault is not None)

    def battery_state(self, reading: Reading) -> BatteryState:
        """What the other processes are told."""
        critical = None if reading.pct is None else self._battery.active
        return BatteryState(reading.volts, reading.pct, reading.charging, critical)


class CriticalBattery:
    """When the motors must not turn any more.

    Args:
        critical_pct: from here down, until it is `BATTERY_HYSTERESIS_PCT` more.
    """

    def __init__(self, critical_pct: float) -> None:
        self.active = False
        self._begins_pct = critical_pct
        self._ends_pct = critical_pct + BATTERY_HYSTERESIS_PCT

    def on_reading(self, reading: Reading) -> Fault | None:
        """The fault that begins or ends with this reading."""
        if reading.pct is None:
            return None
        if self.active:
            changes = reading.pct >= self._ends_pct and not reading.cut_off
        else:
            changes = reading.pct <= self._begins_pct or reading.cut_off
        if not changes:
            return None
        self.active = not self.active
        message = (
            f"The battery is at {reading.pct:.0f} %, {reading.volts:.1f} V: the motors stay off until it is charged."
        )
        return Fault("BATTERY_CRITICAL", message, "critical", self.active)
