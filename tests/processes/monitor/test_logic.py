from __future__ import annotations

from itertools import pairwise

from bus.messages import Fault, Heartbeat
from processes.monitor.config import MonitorConfig
from processes.monitor.logic import FaultBook, Program, Thermometer, Watchdog

CONFIG = MonitorConfig(hung_after_s=3.0, grace_s=15.0, restart_backoff_s=10.0)


def beat(pid: int = 7) -> Heartbeat:
    return Heartbeat(pid, 1.0, 0.2)


def running(pid: int = 7, started: float = 1.0) -> dict[str, Program]:
    return {"motion": Program(True, pid, started)}


def polled(watchdog: Watchdog, programs: dict[str, Program], start: float, end: float) -> list[float]:
    """Poll every second; the moments at which a restart was asked for."""
    moments = []
    now = start
    while now <= end:
        if watchdog.on_poll(programs, now):
            moments.append(now)
        now += 1.0
    return moments


def watchdog() -> Watchdog:
    return Watchdog(CONFIG, ("motion", "monitor"), "monitor", 0.0)


def test_a_process_that_runs_and_does_not_beat_is_restarted_after_three_seconds() -> None:
    dog = watchdog()
    polled(dog, running(), 0, 14)
    dog.on_heartbeat("motion", beat(), 15.0)
    assert polled(dog, running(), 15, 18) == []
    assert dog.on_poll(running(), 18.5) == ["motion"]


def test_a_slow_start_is_no_hang() -> None:
    assert polled(watchdog(), running(), 0, 14) == []


def test_a_process_that_supervisord_is_starting_or_has_stopped_is_left_alone() -> None:
    assert polled(watchdog(), {"motion": Program(False, 0, 1.0)}, 0, 100) == []


def test_restarts_of_a_process_that_hangs_again_and_again_come_ever_more_rarely() -> None:
    moments = polled(watchdog(), running(), 0, 200)
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert gaps == [10.0, 20.0, 40.0, 80.0]


def test_a_restart_is_counted_and_gives_the_new_process_its_time() -> None:
    dog = watchdog()
    polled(dog, running(started=1.0), 0, 20)
    assert polled(dog, running(pid=8, started=30.0), 21, 34) == []
    assert dog.health(34.0)[0].restarts == 1


def test_monitor_never_restarts_itself() -> None:
    assert polled(watchdog(), {"monitor": Program(True, 9, 1.0)}, 0, 100) == []


def test_when_monitor_itself_was_held_up_nobody_is_blamed() -> None:
    dog = watchdog()
    polled(dog, running(), 0, 14)
    dog.on_heartbeat("motion", beat(), 15.0)
    assert dog.on_poll(running(), 60.0) == []
    dog.on_heartbeat("motion", beat(), 60.5)
    assert polled(dog, running(), 61, 63) == []


def test_health_says_who_beats() -> None:
    dog = watchdog()
    dog.on_heartbeat("motion", beat(), 20.0)
    motion, monitor = dog.health(21.0)
    assert (motion.alive, motion.pid) == (True, 7)
    assert (monitor.alive, monitor.pid) == (False, None)
    assert dog.health(24.0)[0].alive is False


def test_another_pid_is_a_restart() -> None:
    dog = watchdog()
    assert not dog.on_heartbeat("motion", beat(7), 1.0)
    assert not dog.on_heartbeat("motion", beat(7), 2.0)
    assert dog.on_heartbeat("motion", beat(8), 3.0)


def fault(active: bool = True, code: str = "MOTOR_FAULT") -> Fault:
    return Fault(code, "The motors cannot be reached.", "error", active)


def test_a_fault_is_told_once_while_it_lasts() -> None:
    book = FaultBook()
    assert book.on_fault("motion", fault(), 0.0) is not None
    assert book.on_fault("motion", fault(), 30.0) is None
    assert book.on_tick(60.0) == []


def test_a_fault_that_comes_back_later_is_told_again() -> None:
    book = FaultBook()
    book.on_fault("motion", fault(), 0.0)
    assert book.on_fault("motion", fault(active=False), 5.0) is None
    event = book.on_fault("motion", fault(), 30.0)
    assert event is not None
    assert event.code == "MOTOR_FAULT"


def test_a_flickering_fault_is_no_flood_and_is_told_when_it_stays() -> None:
    book = FaultBook()
    told = []
    for tenth in range(100):
        told.append(book.on_fault("motion", fault(active=tenth % 2 == 0), tenth / 20))
    assert len([event for event in told if event]) == 1
    book.on_fault("motion", fault(), 6.0)
    assert book.on_tick(9.0) == []
    assert len(book.on_tick(10.5)) == 1
    assert book.on_tick(12.0) == []


def test_the_end_of_an_unknown_fault_is_nothing_to_tell() -> None:
    assert FaultBook().on_fault("motion", fault(active=False), 0.0) is None


def test_a_restarted_process_tells_its_fault_anew() -> None:
    book = FaultBook()
    book.on_fault("motion", fault(), 0.0)
    book.on_restart("motion")
    assert book.on_fault("motion", fault(), 20.0) is not None


def test_no_process_can_fill_the_book() -> None:
    book = FaultBook()
    for number in range(150):
        book.on_fault("motion", fault(code=f"F{number}"), 0.0)
    assert book.refused == 50


def test_overheating_begins_at_the_limit_and_ends_five_degrees_below() -> None:
    thermometer = Thermometer(80.0)
    readings = [None, 79.0, 80.0, 78.0, 81.0, 74.0, 79.0]
    faults = [thermometer.on_reading(reading) for reading in readings]
    assert [fault and fault.active for fault in faults] == [None, None, True, None, None, False, None]
