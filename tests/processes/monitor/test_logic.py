from __future__ import annotations

from bus.messages import Fault, Heartbeat, ProcessHealth
from processes.monitor.config import MonitorConfig
from processes.monitor.logic import Action, Program, Record, Usage, Verdict, Watchdog, hold_for_s

CONFIG = MonitorConfig(hung_after_s=2.0, grace_s=15.0)
TICK_S = 0.25


class Robot:
    """Motion under a watchdog, with a supervisord and a clock that the test moves."""

    def __init__(self, records: dict[str, Record] | None = None, config: MonitorConfig = CONFIG) -> None:
        self.now = 100.0
        self.dog = Watchdog(config, ("motion", "monitor"), "monitor", self.now, records or {})
        self.beats = True
        self.program = Program("RUNNING", 7, 1.0)
        self.faults: list[tuple[str, Fault]] = []

    def poll(self, name: str = "motion") -> list[Action]:
        verdict: Verdict = self.dog.on_programs({name: self.program}, self.now)
        self.faults += verdict.faults
        return verdict.actions

    def run(self, seconds: float, *, step_s: float = TICK_S) -> list[Action]:
        """Tick, beat and poll until something is to be done, or the time is over."""
        end = self.now + seconds
        while self.now < end:
            self.now += step_s
            if self.beats:
                self.dog.on_heartbeat("motion", Heartbeat(self.program.pid, 1.0, 0.2))
            self.dog.on_tick(self.now)
            actions = self.poll()
            if actions:
                return actions
        return []

    def start(self, state: str = "RUNNING") -> None:
        """Another motion, as supervisord starts it."""
        self.program = Program(state, self.program.pid + 1, self.program.started + 1.0)

    def stop(self, state: str = "STOPPED") -> None:
        self.program = Program(state, 0, self.program.started)

    def crash(self, times: int, apart_s: float = 3.0) -> list[Action]:
        for _ in range(times):
            self.run(apart_s)
            self.start()
            actions = self.poll()
        return actions

    @property
    def health(self) -> ProcessHealth:
        return self.dog.health(self.now, {})[0]

    def told(self, code: str) -> list[str]:
        return [fault.message for _, fault in self.faults if fault.code == code and fault.active]


KILL, STOP, START = (Action(kind, "motion") for kind in ("kill", "stop", "start"))


# -- hangs --------------------------------------------------------------------------------------------


def test_a_process_that_runs_and_does_not_beat_is_killed_once_and_told_of() -> None:
    robot = Robot()
    robot.run(20.0)
    robot.beats, silent_since = False, robot.now
    assert robot.run(10.0) == [KILL]
    assert 2.0 <= robot.now - silent_since <= 2.5
    assert robot.health.state == "hung"
    assert not robot.health.alive
    assert robot.poll() == []
    (message,) = robot.told("PROCESS_HUNG")
    assert "motion hung" in message
    assert "log/motion.log" in message


def test_a_kill_that_has_no_effect_is_repeated_but_not_told_again() -> None:
    robot = Robot()
    robot.run(1.0)
    robot.beats = False
    robot.run(10.0)
    killed_at = robot.now
    assert robot.run(10.0) == [KILL]
    assert robot.now - killed_at >= 5.0
    assert len(robot.told("PROCESS_HUNG")) == 1


def test_the_process_that_takes_the_place_of_a_hung_one_has_its_time_and_is_no_crash() -> None:
    robot = Robot()
    robot.run(1.0)
    robot.beats = False
    robot.run(10.0)
    robot.start()
    assert robot.run(14.0) == []
    assert robot.health.state == "starting"
    assert robot.health.restarts == 1
    assert robot.told("PROCESS_CRASHED") == []


def test_a_process_that_never_beats_gets_more_and_more_time() -> None:
    robot = Robot()
    robot.beats = False
    waits = []
    for _ in range(7):
        began = robot.now
        assert robot.run(1000.0) == [KILL]
        waits.append(round(robot.now - began))
        robot.start()
    assert waits == [15, 30, 60, 120, 240, 300, 300]
    robot.beats = True
    robot.run(1.0)
    robot.start()
    robot.beats = False
    began = robot.now
    assert robot.run(1000.0) == [KILL]
    assert robot.now - began < 16.0


def test_a_beat_of_the_new_process_that_overtakes_supervisords_word_counts() -> None:
    robot = Robot()
    robot.run(1.0)
    robot.start()
    robot.dog.on_heartbeat("motion", Heartbeat(robot.program.pid, 1.0, 0.2))
    robot.beats = False
    began = robot.now
    assert robot.run(100.0) == [KILL]
    assert robot.now - began < 3.0


def test_no_time_passes_for_the_silent_while_monitor_itself_stands_still() -> None:
    robot = Robot()
    robot.run(1.0)
    robot.beats = False
    assert robot.run(60.0, step_s=60.0) == []
    assert robot.health.state == "running"
    robot.beats = True
    assert robot.run(5.0) == []


def test_on_a_machine_that_is_slow_for_ever_a_hang_is_still_found() -> None:
    robot = Robot()
    robot.run(1.0)
    robot.beats = False
    assert robot.run(60.0, step_s=5.0) == [KILL]


def test_what_supervisord_starts_or_has_stopped_does_not_hang() -> None:
    for state in ("STOPPED", "STOPPING", "EXITED", "BACKOFF"):
        robot = Robot()
        robot.run(1.0)
        robot.beats = False
        robot.stop(state)
        assert robot.run(60.0) == []


def test_supervisord_is_asked_at_once_when_a_beat_is_missing_and_not_about_what_is_stopped() -> None:
    robot = Robot()
    robot.run(1.0)
    assert not robot.dog.on_tick(robot.now + 0.5)
    assert robot.dog.on_tick(robot.now + 1.0)
    robot.stop()
    robot.poll()
    assert not robot.dog.on_tick(robot.now + 1.25)


def test_monitor_never_kills_or_holds_itself() -> None:
    robot = Robot()
    for _ in range(20):
        robot.start()
        assert robot.poll("monitor") == []
        for _ in range(100):
            robot.now += TICK_S
            robot.dog.on_tick(robot.now)
            assert robot.poll("monitor") == []


def test_with_restart_hung_switched_off_nothing_is_killed() -> None:
    robot = Robot(config=MonitorConfig(restart_hung=False))
    robot.run(1.0)
    robot.beats = False
    assert robot.run(60.0) == []
    assert robot.health.state == "hung"


# -- crashes ------------------------------------------------------------------------------------------


def test_a_crash_is_counted_and_told_of() -> None:
    robot = Robot()
    assert robot.crash(1) == []
    assert robot.health.restarts == 1
    (message,) = robot.told("PROCESS_CRASHED")
    assert "motion ended unexpectedly" in message
    assert robot.health.last_error == message


def test_a_death_soon_after_the_start_is_counted_when_it_is_seen_and_once() -> None:
    robot = Robot()
    robot.run(1.0)
    robot.stop("BACKOFF")
    for _ in range(3):
        robot.poll()
    assert len(robot.told("PROCESS_CRASHED")) == 1
    robot.start("STARTING")
    robot.poll()
    assert len(robot.told("PROCESS_CRASHED")) == 1
    assert robot.health.restarts == 1


def test_two_deaths_between_two_questions_are_two() -> None:
    robot = Robot()
    robot.run(1.0)
    # The first round has two deaths: of the one that ran, and of the one that took its place.
    for _ in range(3):
        robot.start()
        robot.stop("BACKOFF")
        robot.poll()
    assert robot.poll() == []
    robot.start()
    robot.stop("BACKOFF")
    assert robot.poll() == [STOP]


def test_a_restart_that_somebody_asked_for_is_no_crash() -> None:
    robot = Robot()
    for _ in range(10):
        robot.run(1.0)
        robot.stop()
        assert robot.poll() == []
        robot.start()
        assert robot.poll() == []
    assert robot.health.restarts == 10
    assert robot.faults == []


def test_a_clock_that_is_set_back_is_no_crash() -> None:
    robot = Robot()
    robot.run(1.0)
    robot.program = Program("RUNNING", robot.program.pid, robot.program.started - 3600.0)
    assert robot.run(5.0) == []
    assert robot.health.restarts == 0


def test_five_crashes_in_a_minute_are_a_loop_and_the_program_is_held() -> None:
    robot = Robot()
    assert robot.crash(4) == []
    assert robot.crash(1) == [STOP]
    (message,) = robot.told("CRASH_LOOP")
    assert "motion crashed 5 times within 60 s" in message
    assert robot.health.state == "held"
    assert robot.health.held_for_s == 10.0


def test_five_crashes_in_more_than_a_minute_are_none() -> None:
    robot = Robot()
    assert robot.crash(20, apart_s=16.0) == []
    assert robot.told("CRASH_LOOP") == []


def held(robot: Robot) -> None:
    robot.crash(5)
    robot.beats = False
    robot.stop()


def test_a_held_program_is_started_when_its_time_has_come_and_until_it_runs() -> None:
    robot = Robot()
    held(robot)
    began = robot.now
    assert robot.run(60.0) == [START]
    assert robot.now - began >= 10.0
    assert robot.poll() == []
    assert robot.run(3.0) == [START]
    robot.start("STARTING")
    robot.beats = True
    assert robot.run(5.0) == []
    assert robot.health.held_for_s is None


def test_who_crashes_again_after_being_held_is_held_at_once_and_for_longer_up_to_five_minutes() -> None:
    robot = Robot()
    held(robot)
    holds = []
    for _ in range(7):
        began = robot.now
        assert robot.run(1000.0) == [START]
        holds.append(round(robot.now - began))
        robot.start()
        robot.poll()
        robot.beats = True
        assert robot.crash(1) == [STOP]
        robot.beats = False
        robot.stop()
    assert holds == [10, 20, 40, 80, 160, 300, 300]


def test_a_program_that_lives_a_minute_after_being_held_is_well_again() -> None:
    robot = Robot()
    held(robot)
    robot.run(60.0)
    robot.start()
    robot.beats = True
    assert robot.run(70.0) == []
    assert [(fault.code, fault.active) for _, fault in robot.faults][-1] == ("CRASH_LOOP", False)
    assert robot.crash(4) == []
    assert robot.crash(1) == [STOP]
    assert robot.health.held_for_s == 10.0


def test_a_stop_that_was_not_heard_is_asked_for_again() -> None:
    robot = Robot()
    assert robot.crash(5) == [STOP]
    assert robot.poll() == [STOP]
    robot.program = Program("STOPPING", robot.program.pid, robot.program.started)
    assert robot.poll() == []


def test_a_person_who_starts_a_held_program_is_not_contradicted() -> None:
    robot = Robot()
    held(robot)
    robot.run(2.0)
    robot.start()
    robot.beats = True
    assert robot.run(5.0) == []
    assert robot.health.state == "running"


def test_a_person_who_stops_a_program_is_not_contradicted() -> None:
    robot = Robot()
    robot.run(1.0)
    robot.beats = False
    robot.stop()
    assert robot.run(1000.0) == []
    assert robot.health.state == "stopped"


def test_a_program_that_supervisord_gave_up_is_held_and_started_again() -> None:
    robot = Robot()
    robot.run(1.0)
    robot.beats = False
    robot.stop("FATAL")
    assert robot.run(60.0) == [START]
    assert "cannot be started" in robot.told("CRASH_LOOP")[0]


def test_hangs_in_a_row_are_a_crash_loop_too() -> None:
    robot = Robot()
    actions: list[Action] = []
    for _ in range(5):
        robot.beats = True
        robot.run(1.0)
        robot.beats = False
        assert robot.run(10.0) == [KILL]
        robot.start()
        actions = robot.poll()
    assert actions == [STOP]


# -- the next monitor ---------------------------------------------------------------------------------


def test_the_next_monitor_starts_what_the_last_one_has_held() -> None:
    first = Robot()
    held(first)
    second = Robot(first.dog.records())
    second.beats = False
    second.program = first.program
    second.now = first.now
    assert second.poll() == []
    assert second.health.restarts == 5
    assert second.run(60.0) == [START]


def test_the_next_monitor_leaves_alone_what_runs_by_now() -> None:
    robot = Robot({"motion": Record(restarts=5, holds=2, held_until=200.0)})
    assert robot.run(5.0) == []
    assert robot.health.state == "running"
    assert robot.crash(1) == [STOP]
    assert robot.health.held_for_s == hold_for_s(2)


def test_records_of_unknown_programs_are_dropped() -> None:
    assert Robot({"piano": Record(restarts=3)}).dog.records() == {}


# -- health -------------------------------------------------------------------------------------------


def test_health_says_who_beats() -> None:
    robot = Robot()
    robot.dog.on_heartbeat("motion", Heartbeat(7, 12.5, 0.3))
    motion, monitor = robot.dog.health(robot.now, {"motion": Usage(1.5, 30_000, 9_000)})
    assert (motion.alive, motion.pid, motion.uptime_s, motion.loop_lag_ms) == (True, 7, 12.5, 0.3)
    assert (motion.cpu_pct, motion.rss_kib, motion.own_kib) == (1.5, 30_000, 9_000)
    assert motion.state == "running"
    assert (monitor.alive, monitor.pid, monitor.state) == (False, None, "unknown")


def test_what_a_silent_process_last_said_is_not_shown_as_true() -> None:
    robot = Robot()
    robot.run(1.0)
    robot.beats = False
    robot.run(3.0)
    assert (robot.health.uptime_s, robot.health.loop_lag_ms) == (None, None)
    assert robot.health.pid == 7


def test_another_pid_is_a_restart() -> None:
    dog = Robot().dog
    assert not dog.on_heartbeat("motion", Heartbeat(7, 1.0, 0.2))
    assert not dog.on_heartbeat("motion", Heartbeat(7, 1.0, 0.2))
    assert dog.on_heartbeat("motion", Heartbeat(8, 1.0, 0.2))


def test_a_last_error_has_a_length() -> None:
    robot = Robot()
    robot.dog.on_error("motion", "x" * 1000)
    assert robot.health.last_error == "x" * 200
