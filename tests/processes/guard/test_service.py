"""Guard on the in-memory bus."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bus.base import Latest
from bus.memory import MemoryHub
from bus.messages import Beat
from bus.topics import GUARD_BEAT, MOTION_BEAT
from hardware.errors import HardwareError
from processes.guard.config import GuardConfig
from processes.guard.service import GuardService


class FakePins:
    def __init__(self) -> None:
        self.zeroed = 0
        self.broken = False

    def zero(self) -> None:
        if self.broken:
            raise HardwareError("the daemon hung up")
        self.zeroed += 1

    def check(self) -> None:
        if self.broken:
            raise HardwareError("the pins no longer answer")

    def when_lost(self, call: Callable[[], None]) -> None: ...

    def close(self) -> None: ...

    def abandon(self) -> None: ...


class FakeProcess:
    def __init__(self, *, dies: bool = True) -> None:
        self.dies = dies
        self.alive = True
        self.killed = self.closed = False

    def ended(self) -> bool:
        return not self.alive

    def kill(self) -> None:
        self.killed = True
        self.alive = not self.dies

    def close(self) -> None:
        self.closed = True


class Robot:
    def __init__(self) -> None:
        self.hub = MemoryHub()
        self.pins: list[FakePins] = []
        self.reachable = True
        self.processes: dict[int, FakeProcess] = {}
        self.place_free = True
        self.listener = self.hub.bus("monitor")
        self.beat = Latest(self.listener, GUARD_BEAT)
        self.bus = self.hub.bus("guard")
        self.service = GuardService(
            self.bus, GuardConfig(), self.open, self.processes.get, self, beside=lambda call: call()
        )

    def open(self) -> FakePins:
        if not self.reachable:
            raise HardwareError("no daemon")
        self.pins.append(FakePins())
        return self.pins[-1]

    @contextmanager
    def held(self) -> Iterator[bool]:
        yield self.place_free

    def motion(self, pid: int, process: FakeProcess | None = None) -> FakeProcess:
        """A motion that beats until it is told otherwise."""
        process = process or FakeProcess()
        self.processes[pid] = process
        self.place_free = False
        bus = self.hub.bus("motion")
        bus.publish(MOTION_BEAT, Beat(pid))
        bus.every(0.05, lambda: bus.publish(MOTION_BEAT, Beat(pid)))
        self.hub.advance(0.5)
        return process


@pytest.fixture
def robot() -> Robot:
    return Robot()


def test_at_its_start_guard_zeroes_what_an_earlier_owner_left_running(robot: Robot) -> None:
    robot.hub.advance(0.1)
    assert robot.pins[0].zeroed == 1


def test_at_its_start_guard_keeps_off_the_pins_of_a_motion_that_runs(robot: Robot) -> None:
    robot.place_free = False
    robot.hub.advance(0.1)
    assert robot.pins[0].zeroed == 0


def test_guard_beats_at_20_hz(robot: Robot) -> None:
    beats: list[Beat] = []
    robot.listener.subscribe(GUARD_BEAT, lambda message: beats.append(message.value))
    robot.hub.advance(1.0)
    assert len(beats) == pytest.approx(20, abs=2)


def test_a_motion_that_falls_silent_is_killed_and_its_motors_zeroed(robot: Robot) -> None:
    process = robot.motion(7)
    robot.hub.kill("motion")
    robot.place_free = True
    zeroed = robot.pins[0].zeroed
    robot.hub.advance(0.19)
    assert not process.killed
    robot.hub.advance(0.04)
    assert process.killed
    assert process.closed
    assert robot.pins[0].zeroed == zeroed + 1
    robot.hub.advance(5.0)
    assert robot.pins[0].zeroed == zeroed + 1


def test_a_motion_that_ended_is_replaced_within_a_check(robot: Robot) -> None:
    process = robot.motion(7)
    robot.hub.kill("motion")
    robot.place_free = True
    zeroed = robot.pins[0].zeroed
    process.alive = False
    robot.hub.advance(0.011)
    assert robot.pins[0].zeroed == zeroed + 1


def test_guard_keeps_off_when_a_new_motion_was_faster(robot: Robot) -> None:
    robot.motion(7)
    robot.hub.kill("motion")
    zeroed = robot.pins[0].zeroed
    robot.hub.advance(0.3)  # its place is taken
    assert robot.pins[0].zeroed == zeroed


def test_a_motion_that_cannot_be_ended_is_zeroed_beside_it(robot: Robot) -> None:
    robot.motion(7, FakeProcess(dies=False))
    robot.hub.kill("motion")
    zeroed = robot.pins[0].zeroed
    robot.hub.advance(0.3)
    assert robot.pins[0].zeroed == zeroed + 1


def test_whoever_beats_for_motion_without_being_motion_is_not_killed_but_zeroed(robot: Robot) -> None:
    process = robot.motion(7)
    del robot.processes[7]
    robot.hub.kill("motion")
    bus = robot.hub.bus("motion")
    bus.publish(MOTION_BEAT, Beat(8))
    robot.hub.advance(0.01)
    zeroed = robot.pins[0].zeroed
    robot.hub.kill("motion")
    robot.hub.advance(0.3)
    assert not process.killed
    assert robot.pins[0].zeroed == zeroed + 1
    assert robot.bus.counters["guard.unknown_motion"] == 1


def test_a_new_motion_is_watched_after_the_old_one(robot: Robot) -> None:
    robot.motion(7)
    robot.hub.kill("motion")
    robot.hub.advance(1.0)
    process = robot.motion(8)
    robot.hub.kill("motion")
    robot.hub.advance(0.3)
    assert process.killed


def test_without_its_pins_guard_is_silent_so_that_motion_stops(robot: Robot) -> None:
    robot.hub.advance(0.5)
    robot.reachable = False
    robot.pins[0].broken = True
    robot.hub.advance(1.0)
    assert robot.beat.fresh(robot.hub.now) is None
    robot.reachable = True
    robot.hub.advance(2.5)
    assert robot.beat.fresh(robot.hub.now) is not None


def test_a_zero_that_could_not_be_written_is_written_as_soon_as_the_pins_are_back(robot: Robot) -> None:
    robot.motion(7)
    robot.hub.kill("motion")
    robot.place_free = True
    robot.pins[0].broken = True
    robot.hub.advance(1.0)
    assert [pins.zeroed > 0 for pins in robot.pins[1:]] == [True]


def test_closing_gives_the_pins_back(robot: Robot) -> None:
    robot.hub.advance(0.1)
    robot.service.close()
    assert robot.service._link.devices is None
