"""What people are told, and once only. Pure: `now` is CLOCK_MONOTONIC in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field

from bus.messages import Fault
from contract.models import ErrorEvent

RETELL_S = 10.0
"""A fault that comes and goes is told again after this time at the earliest."""
MAX_FAULTS = 100


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
