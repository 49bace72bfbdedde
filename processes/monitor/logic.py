"""Who hangs, who crashes again and again, and what supervisord is to do about it.

Pure: `now` is CLOCK_MONOTONIC in seconds. Silence is counted in monitor's own ticks: a tick that comes late adds
`MAX_STEP_S` at most, so that a machine that stood still, or has no time for monitor either, makes nobody look hung,
and one that is slow for ever only makes the count slower.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from bus.messages import Fault, Heartbeat, ProcessHealth
from processes.monitor.config import MonitorConfig

MAX_STEP_S = 0.5
"""What one tick may add to anybody's silence."""
MISSED_BEAT_S = 0.75
"""Silence that is worth a question: whoever has crashed is then started again by a supervisord that is awake."""
MAX_GRACE_S = 300.0
KILL_AGAIN_S = 5.0
"""A process that is still there so long after its kill -9 (a driver holds it in the kernel) is killed again."""
START_AGAIN_S = 2.0
"""A start that supervisord could not carry out is asked for again after so long."""

LOOP_DEATHS = 5
LOOP_WINDOW_S = 60.0
"""So many deaths in this time are a crash loop; it is over when a process has lived so long after being held."""
FIRST_HOLD_S, MAX_HOLD_S = 10.0, 300.0
LAST_ERROR_CHARS = 200

ALIVE = ("STARTING", "RUNNING")
AT_REST = ("STOPPED", "STOPPING", "EXITED", "FATAL")


@dataclass(frozen=True)
class Program:
    """A program as supervisord sees it.

    Attributes:
        state: supervisord's name of it: RUNNING, BACKOFF …
        pid: 0 while there is none.
        started: when, in whole seconds of the wall clock.
    """

    state: str
    pid: int
    started: float


@dataclass(frozen=True)
class Usage:
    """What the processes of a program take: see `ProcessHealth`."""

    cpu_pct: float | None
    rss_kib: int
    own_kib: int


@dataclass(frozen=True)
class Action:
    """What supervisord is to do now: `kill` (-9; it starts it again), `stop` or `start` the program `name`."""

    kind: Literal["kill", "stop", "start"]
    name: str


@dataclass(frozen=True)
class Verdict:
    """What to ask of supervisord, and the faults to tell, each with the process it is about."""

    actions: list[Action] = field(default_factory=list)
    faults: list[tuple[str, Fault]] = field(default_factory=list)


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the next monitor has to know of a program: how often it was started again, how often in a row it was held,
    and until when it is (CLOCK_MONOTONIC; None: it is not)."""

    restarts: int = 0
    holds: int = 0
    held_until: float | None = None


@dataclass
class _Process:
    """`silent_s`: see the module. `program`: as last seen. `on_purpose`: somebody stopped it. `ended`: its
    death is counted. `killed`, `held`: as it was when it was killed or held."""

    silent_s: float = 0.0
    beaten: bool = False
    beat: Heartbeat | None = None
    unbeaten_kills: int = 0
    program: Program | None = None
    on_purpose: bool = False
    ended: bool = False
    killed: Program | None = None
    killed_at: float = 0.0
    restarts: int = 0
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=LOOP_DEATHS))
    holds: int = 0
    held_until: float | None = None
    held: Program | None = None
    released_at: float = 0.0
    last_error: str | None = None


class Watchdog:
    """Keeps every process's heartbeats, and finds those that run and do not beat, and those that crash in a loop.

    Args:
        names: the processes of this robot.
        me: the process that asks. It never kills or holds itself: `deadman.py` and supervisord do.
        records: what the monitor before this one has left.
    """

    def __init__(
        self, config: MonitorConfig, names: tuple[str, ...], me: str, now: float, records: Mapping[str, Record]
    ) -> None:
        self._config = config
        self._me = me
        self._ticked_at = now
        self._processes = {name: _Process() for name in names}
        for name, record in records.items():
            process = self._processes.get(name)
            if process is not None:
                process.restarts, process.holds = record.restarts, record.holds
                process.held_until, process.released_at = record.held_until, now

    # -- what happens -----------------------------------------------------------------------------

    def on_heartbeat(self, name: str, beat: Heartbeat) -> bool:
        """Note a heartbeat. True when another process than before sent it: `name` was restarted."""
        process = self._processes[name]
        anew = process.beat is not None and process.beat.pid != beat.pid
        process.beat, process.beaten, process.silent_s, process.unbeaten_kills = beat, True, 0.0, 0
        return anew

    def on_tick(self, now: float) -> bool:
        """Count the silence. True when supervisord is to be asked at once. Call it several times a second."""
        step_s = min(now - self._ticked_at, MAX_STEP_S)
        self._ticked_at = now
        for process in self._processes.values():
            process.silent_s += step_s
        return any(
            (process.beaten and process.silent_s > MISSED_BEAT_S) or _due(process, now)
            for process in self._processes.values()
        )

    def on_programs(self, programs: Mapping[str, Program], now: float) -> Verdict:
        """Note what supervisord says, and decide what it should do now."""
        verdict = Verdict()
        for name, process in self._processes.items():
            program = programs.get(name)
            if program is None:
                continue
            for _ in range(self._note(process, program)):
                self._on_death(name, process, now, verdict)
            self._end_loop(name, process, now, verdict)
            if process.held_until is not None:
                self._hold_on(name, process, program, now, verdict)
            elif name != self._me and (self._loops(process, now) or program.state == "FATAL"):
                self._hold(name, process, program, now, verdict)
            elif self._hangs(name, process, program, now):
                self._kill(name, process, program, now, verdict)
        return verdict

    def on_error(self, name: str, message: str) -> None:
        """Something went wrong in `name`, for `health`."""
        self._processes[name].last_error = message[:LAST_ERROR_CHARS]

    # -- what is known ----------------------------------------------------------------------------

    def records(self) -> dict[str, Record]:
        """What the next monitor has to know."""
        return {
            name: Record(process.restarts, process.holds, process.held_until)
            for name, process in self._processes.items()
            if process.restarts or process.holds
        }

    def health(self, now: float, usages: Mapping[str, Usage]) -> list[ProcessHealth]:
        """Every process, in the order of the table."""
        return [self._health(name, process, now, usages.get(name)) for name, process in self._processes.items()]

    def _health(self, name: str, process: _Process, now: float, usage: Usage | None) -> ProcessHealth:
        beat = process.beat
        alive = process.beaten and process.silent_s <= self._config.hung_after_s
        pid = process.program.pid if process.program and process.program.pid else None
        return ProcessHealth(
            name,
            alive=alive,
            pid=pid or (beat.pid if beat and alive else None),
            uptime_s=beat.uptime_s if beat and alive else None,
            loop_lag_ms=beat.loop_lag_ms if beat and alive else None,
            restarts=process.restarts,
            state=self._state(process, alive),
            cpu_pct=usage.cpu_pct if usage else None,
            rss_kib=usage.rss_kib if usage else None,
            own_kib=usage.own_kib if usage else None,
            held_for_s=None if process.held_until is None else max(0.0, process.held_until - now),
            last_error=process.last_error,
        )

    def _state(self, process: _Process, alive: bool) -> str:
        if process.held_until is not None:
            return "held"
        if process.program is None:
            return "running" if alive else "unknown"
        if process.program.state == "RUNNING" and process.silent_s > self._limit_s(process):
            return "hung"
        if process.program.state == "RUNNING" and not process.beaten:
            return "starting"
        return process.program.state.lower()

    # -- deaths -----------------------------------------------------------------------------------

    def _note(self, process: _Process, program: Program) -> int:
        """Take over what supervisord says. How many ended by themselves, or were killed, since then."""
        before, process.program = process.program, program
        deaths = 0
        if program.state in AT_REST:
            process.beaten = False
        if before is not None and _another(before, program):
            deaths += not process.on_purpose and not process.ended
            if process.on_purpose:
                process.killed = None
            process.on_purpose = process.ended = False
            process.silent_s, process.beaten = 0.0, process.beat is not None and process.beat.pid == program.pid
            process.restarts += 1
        if program.state in ("STOPPED", "STOPPING"):
            process.on_purpose = True
        if program.state == "BACKOFF" and not process.ended:
            deaths += before is not None
            process.ended = True
        return deaths

    def _on_death(self, name: str, process: _Process, now: float, verdict: Verdict) -> None:
        process.deaths.append(now)
        if process.killed is None:
            message = f"{name} ended unexpectedly; it is started again. {_see_log(name)}"
            _tell_once(process, name, Fault("PROCESS_CRASHED", message, "warning"), verdict)
        process.killed = None

    def _loops(self, process: _Process, now: float) -> bool:
        if not process.deaths:
            return False
        if process.holds:
            return process.deaths[-1] >= process.released_at
        return len(process.deaths) == LOOP_DEATHS and now - process.deaths[0] <= LOOP_WINDOW_S

    def _hold(self, name: str, process: _Process, program: Program, now: float, verdict: Verdict) -> None:
        hold_s = hold_for_s(process.holds)
        if program.state == "FATAL":
            why = "cannot be started"
        elif process.holds == 0:
            why = f"crashed {len(process.deaths)} times within {LOOP_WINDOW_S:.0f} s"
        else:
            why = "crashed again after its pause"
        process.holds += 1
        process.held_until, process.held = now + hold_s, program
        process.deaths.clear()
        if program.state != "FATAL":
            verdict.actions.append(Action("stop", name))
        message = (
            f"{name} {why}: it is held for {hold_s:.0f} s and then started again, after longer and longer pauses of up "
            f"to {MAX_HOLD_S:.0f} s. {_see_log(name)}"
        )
        _tell(process, name, Fault("CRASH_LOOP", message, "error"), verdict)

    def _hold_on(self, name: str, process: _Process, program: Program, now: float, verdict: Verdict) -> None:
        """Keep a held program stopped until its time has come; let go of one that somebody has started."""
        assert process.held_until is not None
        if program.state in ("STOPPED", "FATAL", "EXITED"):
            if now >= process.held_until:
                process.held_until = now + START_AGAIN_S
                verdict.actions.append(Action("start", name))
        elif process.held is not None and not _another(process.held, program) and program.state != "STOPPING":
            verdict.actions.append(Action("stop", name))  # the first one was not heard
        elif program.state != "STOPPING":
            process.held_until, process.held, process.released_at = None, None, now
            process.silent_s = 0.0

    def _end_loop(self, name: str, process: _Process, now: float, verdict: Verdict) -> None:
        if process.holds and process.held_until is None and now - process.released_at > LOOP_WINDOW_S:
            process.holds = 0
            verdict.faults.append((name, Fault("CRASH_LOOP", f"{name} runs again.", "info", active=False)))

    # -- hangs ------------------------------------------------------------------------------------

    def _limit_s(self, process: _Process) -> float:
        if process.beaten:
            return self._config.hung_after_s
        # An exponent without an end would be too large a number one day.
        return min(self._config.grace_s * 2.0 ** min(process.unbeaten_kills, 16), MAX_GRACE_S)

    def _hangs(self, name: str, process: _Process, program: Program, now: float) -> bool:
        if name == self._me or not self._config.restart_hung or program.state not in ALIVE:
            return False
        if process.silent_s <= self._limit_s(process):
            return False
        killed_already = process.killed is not None and not _another(process.killed, program)
        return not killed_already or now - process.killed_at >= KILL_AGAIN_S

    def _kill(self, name: str, process: _Process, program: Program, now: float, verdict: Verdict) -> None:
        anew = process.killed is None
        process.killed, process.killed_at = program, now
        if not process.beaten:
            process.unbeaten_kills += 1
        verdict.actions.append(Action("kill", name))
        if anew:
            message = (
                f"{name} hung: nothing was heard of it for {process.silent_s:.1f} s. It is killed and started again. "
                f"{_see_log(name)}"
            )
            _tell_once(process, name, Fault("PROCESS_HUNG", message, "warning"), verdict)


def hold_for_s(holds: int) -> float:
    """How long a program is held that was held `holds` times in a row before."""
    return min(FIRST_HOLD_S * 2.0 ** min(holds, 16), MAX_HOLD_S)


def _due(process: _Process, now: float) -> bool:
    return process.held_until is not None and now >= process.held_until


def _another(before: Program, after: Program) -> bool:
    """Whether `after` was started later. Without two pids to compare, supervisord's times must do: they are whole
    seconds of the wall clock, and it moves them when that is set back."""
    if before.pid and after.pid:
        return after.pid != before.pid
    return after.started != before.started


def _see_log(name: str) -> str:
    return f"See log/{name}.log in the robot's data directory."


def _tell(process: _Process, name: str, fault: Fault, verdict: Verdict) -> None:
    process.last_error = fault.message[:LAST_ERROR_CHARS]
    verdict.faults.append((name, fault))


def _tell_once(process: _Process, name: str, fault: Fault, verdict: Verdict) -> None:
    """A fault that is over as soon as it is told."""
    _tell(process, name, fault, verdict)
    verdict.faults.append((name, msgspec.structs.replace(fault, active=False)))
