"""What monitor decides: who hangs and is to be restarted, what people are told, and once only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bus.messages import Fault, Heartbeat, ProcessHealth
from contract.models import ErrorEvent
from processes.monitor.config import MonitorConfig

MAX_BACKOFF_S = 300.0
HEALTHY_AGAIN_S = 300.0
"""A process that beats this long after a restart has its backoff back at the beginning."""
MAX_GAP_S = 2.0
"""When monitor itself was held up for longer, nobody's beats could be heard, and nobody is blamed."""

RETELL_S = 10.0
"""A fault that comes and goes is told again after this time at the earliest."""
MAX_FAULTS = 100

OVERHEAT_HYSTERESIS_C = 5.0


@dataclass(frozen=True)
class Program:
    """A program as supervisord sees it. `running` is its state RUNNING; `started` changes with every start."""

    running: bool
    pid: int
    started: float


@dataclass
class _Process:
    started: float | None = None
    restarts: int = 0
    beat: Heartbeat | None = None
    beat_at: float = float("-inf")
    excused_until: float = float("-inf")
    killed_at: float | None = None
    kills: int = 0


class Watchdog:
    """Keeps every process's heartbeats and finds those that run and do not beat.

    Args:
        names: the processes of this robot.
        me: the process that asks; it never restarts itself.
    """

    def __init__(self, config: MonitorConfig, names: tuple[str, ...], me: str, now: float) -> None:
        self._config = config
        self._me = me
        self._processes = {name: _Process(excused_until=now + config.grace_s) for name in names}
        self._polled_at = now

    def on_heartbeat(self, name: str, beat: Heartbeat, sent: float) -> bool:
        """Note a heartbeat. True when another process than before sent it: `name` was restarted."""
        process = self._processes[name]
        anew = process.beat is not None and process.beat.pid != beat.pid
        process.beat, process.beat_at = beat, sent
        return anew

    def on_poll(self, programs: Mapping[str, Program], now: float) -> list[str]:
        """Note what supervisord says, and return whom it should restart now."""
        if now - self._polled_at > MAX_GAP_S:
            for process in self._processes.values():
                process.excused_until = max(process.excused_until, now + self._config.hung_after_s)
        self._polled_at = now
        hung = []
        for name, process in self._processes.items():
            program = programs.get(name)
            if program is None:
                continue
            self._note_start(process, program, now)
            if self._hangs(name, process, program, now):
                process.killed_at = now
                process.kills += 1
                hung.append(name)
        return hung

    def health(self, now: float) -> list[ProcessHealth]:
        """Every process, in the order of the table."""
        return [
            ProcessHealth(
                name,
                alive=now - process.beat_at <= self._config.hung_after_s,
                pid=process.beat.pid if process.beat else None,
                uptime_s=process.beat.uptime_s if process.beat else None,
                loop_lag_ms=process.beat.loop_lag_ms if process.beat else None,
                restarts=process.restarts,
            )
            for name, process in self._processes.items()
        ]

    def _note_start(self, process: _Process, program: Program, now: float) -> None:
        if not program.running or program.started == process.started:
            return
        if process.started is not None:
            process.restarts += 1
            process.excused_until = now + self._config.grace_s
        process.started = program.started

    def _hangs(self, name: str, process: _Process, program: Program, now: float) -> bool:
        if name == self._me or not program.running:
            return False
        fresh = now - process.beat_at <= self._config.hung_after_s
        if process.killed_at is not None and fresh and now - process.killed_at > HEALTHY_AGAIN_S:
            process.killed_at, process.kills = None, 0
        if fresh or now < process.excused_until:
            return False
        backoff_s = min(self._config.restart_backoff_s * 2 ** max(0, process.kills - 1), MAX_BACKOFF_S)
        return process.killed_at is None or now - process.killed_at >= backoff_s


@dataclass
class _Fault:
    active: bool = False
    told: bool = False
    told_at: float = float("-inf")
    event: ErrorEvent | None = field(default=None)


class FaultBook:
    """Turns faults into `error` events: one when a fault begins, none while it lasts, no flood when it flickers."""

    def __init__(self) -> None:
        self._faults: dict[tuple[str, str], _Fault] = {}
        self.refused = 0

    def on_fault(self, process: str, fault: Fault, now: float) -> ErrorEvent | None:
        """The event that `fault` is worth now, if any."""
        key = (process, fault.code)
        known = self._faults.get(key)
        if known is None:
            if not fault.active:
                return None
            if len(self._faults) >= MAX_FAULTS:
                self.refused += 1
                return None
            known = self._faults[key] = _Fault()
        known.active = fault.active
        known.event = ErrorEvent(code=fault.code, message=fault.message, severity=fault.severity)
        if not fault.active:
            known.told = False
        return self._tell(known, now)

    def on_tick(self, now: float) -> list[ErrorEvent]:
        """Events of faults that came back too soon to be told again, and are still there."""
        self._faults = {
            key: fault for key, fault in self._faults.items() if fault.active or now - fault.told_at < RETELL_S
        }
        events = [self._tell(fault, now) for fault in self._faults.values()]
        return [event for event in events if event is not None]

    def on_restart(self, process: str) -> None:
        """The process began anew: its faults are no more, and are told again when they are found again."""
        for key, fault in self._faults.items():
            if key[0] == process:
                fault.active = fault.told = False

    def _tell(self, fault: _Fault, now: float) -> ErrorEvent | None:
        if not fault.active or fault.told or now - fault.told_at < RETELL_S:
            return None
        fault.told, fault.told_at = True, now
        return fault.event


class Thermometer:
    """When the machine is too hot, with a hysteresis."""

    def __init__(self, overheat_c: float) -> None:
        self._overheat_c = overheat_c
        self._hot = False

    def on_reading(self, temperature_c: float | None) -> Fault | None:
        """The fault that begins or ends with this reading (°C; None: not known)."""
        if temperature_c is None:
            return None
        limit_c = self._overheat_c - OVERHEAT_HYSTERESIS_C if self._hot else self._overheat_c
        hot = temperature_c >= limit_c
        if hot == self._hot:
            return None
        self._hot = hot
        return Fault(
            "OVERHEAT",
            f"The robot's computer is at {temperature_c:.0f} °C; from {self._overheat_c:.0f} °C on it slows down. "
            "Let it cool.",
            "warning",
            active=hot,
        )
