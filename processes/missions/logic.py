"""What mode the robot may be in, what safety says, and what guardian tells. Pure: `now` is CLOCK_MONOTONIC in s."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from bus.messages import Dog, Fault, Sighting
from contract.errors import ContractError
from contract.units import MODE_ALIASES, AlertKind, Mode, ModeName
from processes.missions.config import GuardianConfig
from processes.missions.engine import MAX_DOGS, Eyes

MAX_FAULTS = 100
RESTLESS = frozenset({"moving", "approaching"})
LONGEST_STEP_S = 1.0
"""What was not looked at for longer is not known."""


def resolve(name: ModeName) -> Mode:
    """The mode behind a name.

    Raises:
        ContractError: NOT_FITTED: the robot has no dock.
    """
    mode: Mode = MODE_ALIASES.get(name) or name  # type: ignore[assignment]
    if mode == "docking":
        raise ContractError(
            "NOT_FITTED", "This robot has no dock to go to. Accepted modes: idle, guardian, training, manual."
        )
    return mode


class Safety:
    """Why nothing may begin, and what runs has to end: a latched emergency stop, or a critical fault."""

    def __init__(self) -> None:
        self._emergency_s: float | None = None
        self._released_s = float("-inf")
        self._critical: dict[tuple[str, str], str] = {}
        self._pids: dict[str, int] = {}
        self.refused = 0

    @property
    def emergency_since_s(self) -> float | None:
        """When it was first heard that the emergency stop is on; None: it is off, as far as is known."""
        return self._emergency_s

    def on_emergency(self, latched: bool, sent_s: float) -> None:
        """Motion's word."""
        if not latched:
            self._emergency_s = None
        elif self._emergency_s is None and sent_s > self._released_s:
            self._emergency_s = sent_s

    def on_release(self, now: float) -> None:
        """Motion has released it; what it said before that is past."""
        self._emergency_s, self._released_s = None, now

    def on_fault(self, process: str, fault: Fault) -> None:
        key = (process, fault.code)
        if not fault.active or fault.severity != "critical":
            self._critical.pop(key, None)
        elif key in self._critical or len(self._critical) < MAX_FAULTS:
            self._critical[key] = fault.message
        else:
            self.refused += 1

    def on_heartbeat(self, process: str, pid: int) -> None:
        """A process that began anew tells its faults again."""
        if self._pids.get(process, pid) != pid:
            self._critical = {key: text for key, text in self._critical.items() if key[0] != process}
        self._pids[process] = pid

    def trouble(self) -> ContractError | None:
        """Why no mission may run; None when one may."""
        if self._emergency_s is not None:
            return ContractError(
                "EMERGENCY_STOPPED",
                "The emergency stop is on. Release it, or set the mode to `manual`; then try again.",
            )
        if self._critical:
            (_, code), message = next(iter(self._critical.items()))
            return ContractError("CONFLICT", f"No mission runs while there is {code}: {message}")
        return None


@dataclass(frozen=True)
class Alert:
    """What guardian tells, with a picture of it."""

    kind: AlertKind
    message: str


class Watch:
    """Guardian's eyes: tells when a dog came into view, and when it moves about more than usual."""

    def __init__(self, config: GuardianConfig, now: float) -> None:
        self._config = config
        self._eyes = Eyes(now)
        self._present = False
        self._seen_since_s: float | None = None
        self._seen_s = float("-inf")
        self._at_s: float | None = None
        self._restless: deque[tuple[float, float]] = deque(maxlen=int(config.activity_window_s * 10) + 10)
        self._active = False
        self._told_s: dict[AlertKind, float] = {}

    def on_sighting(self, sighting: Sighting, now: float) -> list[Alert]:
        at_s = self._eyes.accept(sighting, now)
        if at_s is None:
            return []
        dogs = sighting.dogs[:MAX_DOGS]
        alerts = self._presence(bool(dogs), at_s)
        return alerts + self._activity(dogs, at_s)

    def _presence(self, seen: bool, at_s: float) -> list[Alert]:
        if not seen:
            if at_s - self._seen_s >= self._config.absence_s:
                self._present, self._seen_since_s = False, None
            elif not self._present:
                self._seen_since_s = None
            return []
        self._seen_s = at_s
        if self._seen_since_s is None:
            self._seen_since_s = at_s
        if self._present or at_s - self._seen_since_s < self._config.presence_s:
            return []
        self._present = True
        return self._alert(Alert("presence", "A dog is in view."), at_s)

    def _activity(self, dogs: list[Dog], at_s: float) -> list[Alert]:
        step_s = 0.0 if self._at_s is None else min(at_s - self._at_s, LONGEST_STEP_S)
        self._at_s = at_s
        if any(dog.behavior in RESTLESS for dog in dogs):
            self._restless.append((at_s, step_s))
        while self._restless and at_s - self._restless[0][0] > self._config.activity_window_s:
            self._restless.popleft()
        restless_s = sum(step for _, step in self._restless)
        if self._active:
            self._active = restless_s > self._config.activity_s / 2
            return []
        if restless_s < self._config.activity_s:
            return []
        self._active = True
        window_s = self._config.activity_window_s
        return self._alert(
            Alert("activity", f"The dog is restless: it moved for {restless_s:.0f} of the last {window_s:.0f} s."), at_s
        )

    def _alert(self, alert: Alert, at_s: float) -> list[Alert]:
        if at_s - self._told_s.get(alert.kind, float("-inf")) < self._config.quiet_s:
            return []
        self._told_s[alert.kind] = at_s
        return [alert]


def after_mission(before: Mode, trouble: ContractError | None) -> Mode:
    """The mode when a mission is over: the one before it, or idle where safety ended it."""
    return "idle" if trouble is not None else before


def may_start_by_itself(mode: Mode) -> bool:
    """Whether a schedule may begin a mission: not under the hands of somebody who drives."""
    return mode != "manual"
