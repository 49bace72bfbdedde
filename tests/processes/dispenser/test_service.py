"""The dispenser on the in-memory bus, with a disk that is real and pins that are not."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from bus.base import Latest
from bus.memory import MemoryHub
from bus.messages import Fault
from bus.topics import COMMAND_TOPICS, DISPENSER_STATE, EVENTS, FAULTS
from contract.commands import Dispensed, Led, Nothing
from contract.errors import ContractError
from hardware.config import BeamConfig, CarouselConfig, HardwareConfig, LedsConfig
from hardware.errors import HardwareError
from hardware.ws2812 import Rgb
from processes.dispenser.config import DispenserConfig, LedConfig
from processes.dispenser.service import DispenserService
from processes.dispenser.store import TreatStore

NOON = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
CAROUSEL = CarouselConfig()


class FakeHopper:
    """Carousel, beam, pixels, tube and witness in one. A forward turn drops a treat after 0.3 s."""

    def __init__(self, robot: Robot) -> None:
        self.robot = robot
        self.carousel = self.beam = self.pixels = self.tube = self.witness = self
        self.us: float | None = None
        self.moves: list[float | None] = []
        self.shown: list[list[Rgb]] = []
        self.tube_level = 0.0
        self.deed = False
        self.broken_down = False
        self.abandoned = self.closed = False

    def _alive(self) -> None:
        if self.broken_down:
            raise HardwareError("the daemon hung up")

    def set_us(self, us: float) -> float:
        self._alive()
        assert self.deed, "the witness must know before anything turns"
        self.us = us
        self.moves.append(us)
        if us == CAROUSEL.turn_us and not self.robot.jammed:
            self.robot.hub.buses["dispenser"].call_later(0.3, self.robot.drop)
        return us

    def release(self) -> None:
        self._alive()
        self.us = None
        self.moves.append(None)

    def broken(self) -> bool:
        self._alive()
        return self.robot.beam_blocked

    def show(self, pixels: Sequence[Rgb]) -> None:
        self._alive()
        self.shown.append(list(pixels))

    def set(self, level: float) -> None:
        self.tube_level = level

    def turning(self, turning: bool) -> None:
        self.deed = turning

    def check(self) -> None:
        self._alive()

    def close(self) -> None:
        self.closed = True

    def abandon(self) -> None:
        self.abandoned = True


class Robot:
    """A dispenser that can be killed and started again on the same disk."""

    def __init__(self, path: Path, *, beam_fitted: bool = True, capacity: int = 5) -> None:
        self.hub = MemoryHub()
        self.path = path
        self.config = DispenserConfig(capacity=capacity)
        self.hardware = HardwareConfig(beam=BeamConfig(fitted=beam_fitted), leds=LedsConfig(pixels=8))
        self.jammed = self.beam_blocked = False
        self.reachable = True
        self.ticks_us = 0
        self.on_break: Callable[[int], None] = lambda at_us: None
        self.hoppers: list[FakeHopper] = []
        self.app = self.hub.bus("local_api")
        self.state = Latest(self.app, DISPENSER_STATE)
        self.events: list[dict[str, Any]] = []
        self.faults: list[Fault] = []
        self.app.subscribe(EVENTS["dispenser"], lambda message: self.events.append(message.value.data))
        self.app.subscribe(FAULTS["dispenser"], lambda message: self.faults.append(message.value))
        self.start()

    def start(self) -> None:
        self.store = TreatStore(self.path, self.config.capacity, self.config.same_treat_ms)
        self.bus = self.hub.bus("dispenser")
        self.service = DispenserService(
            self.bus,
            self.config,
            LedConfig(),
            self.hardware,
            self.store,
            self.open,
            wall_clock=lambda: NOON,
            beside=lambda call: call(),
        )
        self.hub.advance(0.1)

    def kill(self) -> None:
        self.hub.kill("dispenser")
        self.store.close()

    def open(self, on_break: Callable[[int], None]) -> FakeHopper:
        if not self.reachable:
            raise HardwareError("no pigpio daemon answers")
        self.on_break = on_break
        self.hoppers.append(FakeHopper(self))
        return self.hoppers[-1]

    @property
    def hopper(self) -> FakeHopper:
        return self.hoppers[-1]

    def drop(self) -> None:
        if self.hopper.us == CAROUSEL.turn_us:
            self.ticks_us += 1_000_000
            self.on_break(self.ticks_us)

    def begin(self, command: str, body: Struct | None = None, id_: str | None = None) -> Future[Any]:
        future = self.app.request(COMMAND_TOPICS[command], body or Nothing(), id=id_)
        self.hub.run()
        return future

    def ask(self, command: str, body: Struct | None = None, id_: str | None = None) -> Any:
        future = self.begin(command, body, id_)
        self.hub.advance(14.0)
        return future.result(0)

    def refused(self, command: str, body: Struct | None = None, id_: str | None = None) -> ContractError:
        with pytest.raises(ContractError) as refusal:
            self.ask(command, body, id_)
        return refusal.value


@pytest.fixture
def robot(tmp_path: Path) -> Robot:
    return Robot(tmp_path / "treats.sqlite")


def test_a_treat_is_answered_when_the_beam_saw_it(robot: Robot) -> None:
    answer = robot.begin("treat")
    robot.hub.advance(0.25)
    assert not answer.done()
    assert robot.hopper.us == CAROUSEL.turn_us
    assert robot.state.message is not None
    assert robot.state.message.value.phase == "turning"
    robot.hub.advance(0.5)
    assert answer.result(0) == Dispensed(remaining=4, confirmed=True)
    assert robot.hopper.us is None
    assert not robot.hopper.deed
    assert robot.events == [{"dispensed": True, "remaining": 4, "confirmed": True}]
    state = robot.state.message.value
    assert (state.remaining, state.phase, state.last_treat_time) == (4, "idle", "2026-01-31T12:00:00.000Z")


def test_a_treat_is_on_the_disk_before_it_is_answered(robot: Robot) -> None:
    robot.begin("treat")
    robot.hub.advance(0.31)
    assert TreatStore(robot.path, 0, 0).remaining == 4


def test_another_treat_meanwhile_is_refused(robot: Robot) -> None:
    first = robot.begin("treat")
    with pytest.raises(ContractError, match="BUSY"):
        robot.begin("treat").result(0)
    robot.hub.advance(1.0)
    assert first.result(0).remaining == 4


def test_an_empty_carousel_says_so(tmp_path: Path) -> None:
    robot = Robot(tmp_path / "treats.sqlite", capacity=1)
    robot.ask("treat")
    assert robot.refused("treat").code == "EMPTY"
    assert len(robot.events) == 1


def test_a_jam_is_an_error_never_a_success(robot: Robot) -> None:
    robot.jammed = True
    refusal = robot.refused("treat")
    assert (refusal.code, refusal.status) == ("TREAT_JAM", 500)
    assert CAROUSEL.reverse_us in robot.hopper.moves
    assert robot.hopper.moves[-1] is None
    assert [(fault.code, fault.active) for fault in robot.faults] == [("TREAT_JAM", True)]
    assert robot.events == []
    assert robot.state.message is not None
    assert (robot.state.message.value.remaining, robot.state.message.value.phase) == (5, "jammed")


def test_a_jam_that_is_cleared_is_over_with_the_next_treat(robot: Robot) -> None:
    robot.jammed = True
    robot.refused("treat")
    robot.refused("treat")
    robot.jammed = False
    assert robot.ask("treat").remaining == 4
    assert [fault.active for fault in robot.faults] == [True, False]


def test_a_blocked_beam_turns_nothing(robot: Robot) -> None:
    robot.beam_blocked = True
    assert robot.refused("treat").code == "TREAT_JAM"
    assert robot.hopper.moves == []


def test_without_a_beam_results_say_that_nobody_saw_it(tmp_path: Path) -> None:
    robot = Robot(tmp_path / "treats.sqlite", beam_fitted=False)
    robot.on_break = lambda at_us: None
    robot.jammed = True  # nothing is seen anyway
    assert robot.ask("treat") == Dispensed(remaining=4, confirmed=False)
    assert robot.events == [{"dispensed": True, "remaining": 4, "confirmed": False}]


def test_a_rotation_is_answered_when_it_is_done(robot: Robot) -> None:
    robot.jammed = True
    answer = robot.begin("carousel_rotate")
    assert not answer.done()
    robot.hub.advance(1.0)
    answer.result(0)
    assert robot.events == []
    assert robot.faults == []
    assert robot.store.remaining == 5


def test_a_treat_that_falls_by_a_rotation_is_counted_and_told(robot: Robot) -> None:
    robot.begin("carousel_rotate")
    robot.ticks_us += 1
    robot.on_break(robot.ticks_us)
    robot.hub.advance(1.0)
    assert robot.store.remaining == 4
    assert len(robot.events) == 1


def test_a_beam_that_is_broken_at_rest_counts_nothing(robot: Robot) -> None:
    robot.on_break(1)
    robot.hub.run()
    assert robot.store.remaining == 5
    assert robot.bus.counters["dispenser.beam_broken_at_rest"] == 1


def test_a_request_is_carried_out_once_also_over_a_restart(robot: Robot) -> None:
    first = robot.ask("treat", id_="app:1")
    assert robot.ask("treat", id_="app:1") == first
    robot.kill()
    robot.start()
    assert robot.ask("treat", id_="app:1") == first
    assert robot.hopper.moves == []
    assert robot.store.remaining == 4
    robot.ask("carousel_rotate", id_="app:2")
    robot.kill()
    robot.start()
    robot.ask("carousel_rotate", id_="app:2")
    assert robot.hopper.moves == []


def test_killed_before_the_treat_fell_it_may_be_asked_for_again(robot: Robot) -> None:
    robot.begin("treat", id_="app:1")
    robot.hub.advance(0.2)
    robot.kill()
    robot.start()
    assert robot.store.remaining == 5
    assert robot.ask("treat", id_="app:1") == Dispensed(4, True)


def test_killed_after_the_treat_fell_it_is_counted_told_and_not_given_again(robot: Robot) -> None:
    robot.begin("treat", id_="app:1")
    robot.hub.advance(0.35)
    robot.kill()
    robot.start()
    assert robot.ask("treat", id_="app:1") == Dispensed(4, True)
    assert robot.hopper.moves == []
    assert robot.events == [{"dispensed": True, "remaining": 4, "confirmed": True}]


def test_killed_in_a_treat_that_nobody_could_see_it_is_taken_to_have_fallen(tmp_path: Path) -> None:
    robot = Robot(tmp_path / "treats.sqlite", beam_fitted=False)
    robot.begin("treat", id_="app:1")
    robot.hub.advance(0.1)
    robot.kill()
    robot.start()
    assert robot.ask("treat", id_="app:1") == Dispensed(4, False)
    assert robot.store.remaining == 4


def test_pins_that_are_lost_in_the_middle_end_the_deed_and_come_back(robot: Robot) -> None:
    answer = robot.begin("treat", id_="app:1")
    robot.reachable = False
    robot.hopper.broken_down = True
    robot.hub.advance(1.0)
    with pytest.raises(ContractError, match="UNAVAILABLE"):
        answer.result(0)
    assert robot.hopper.abandoned
    for command, body in (("treat", None), ("carousel_rotate", None), ("led", Led(pattern="fire"))):
        assert robot.refused(command, body).code == "UNAVAILABLE"
    robot.reachable = True
    robot.hub.advance(3.0)
    assert robot.ask("treat").remaining == 4


def test_a_disk_that_fails_is_told_and_nothing_turns(robot: Robot, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(TreatStore, "begin", full)
    refusal = robot.refused("treat")
    assert refusal.code == "INTERNAL_ERROR"
    assert "disk is full" in refusal.message
    assert CAROUSEL.turn_us not in robot.hopper.moves
    assert robot.bus.counters["dispenser.disk_errors"] == 1
    monkeypatch.undo()
    assert robot.ask("treat").remaining == 4


def test_a_disk_that_fails_to_count_stops_the_carousel(robot: Robot, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(TreatStore, "count", full)
    assert robot.refused("treat").code == "INTERNAL_ERROR"
    assert robot.hopper.us is None
    assert not robot.hopper.deed


def test_a_pattern_moves_at_30_frames_a_second(robot: Robot) -> None:
    robot.begin("led", Led(pattern="rainbow")).result(0)
    shown = len(robot.hopper.shown)
    robot.hub.advance(1.0)
    assert len(robot.hopper.shown) - shown == pytest.approx(30, abs=1)
    assert robot.state.message is not None
    assert robot.state.message.value.led == "rainbow"


@pytest.mark.parametrize(
    ("led", "pixel", "name"),
    [
        (Led(pattern="off"), (0, 0, 0), "off"),
        (Led(pattern="solid"), (255, 255, 255), "solid"),
        (Led(r=1, g=2, b=255), (1, 2, 255), "#0102ff"),
    ],
)
def test_what_is_steady_is_shown_once(robot: Robot, led: Led, pixel: Rgb, name: str) -> None:
    robot.begin("led", Led(pattern="rainbow"))
    robot.hub.advance(0.2)
    robot.begin("led", led).result(0)
    shown = len(robot.hopper.shown)
    robot.hub.advance(5.0)
    assert len(robot.hopper.shown) == shown
    assert robot.hopper.shown[-1] == [pixel] * 8
    assert robot.state.message is not None
    assert robot.state.message.value.led == name


def test_lights_go_on_while_a_treat_is_given(robot: Robot) -> None:
    robot.begin("led", Led(pattern="celebration"))
    robot.begin("treat")
    shown = len(robot.hopper.shown)
    robot.hub.advance(0.5)
    assert len(robot.hopper.shown) - shown == pytest.approx(15, abs=1)


def test_lights_that_cannot_be_reached_are_answered_so_and_shown_again_later(robot: Robot) -> None:
    robot.hopper.broken_down = True
    with pytest.raises(ContractError, match="UNAVAILABLE"):
        robot.begin("led", Led(pattern="solid")).result(0)
    robot.hub.advance(1.0)
    assert robot.hopper.shown[-1] == [(255, 255, 255)] * 8


def test_the_state_is_published_every_second(robot: Robot) -> None:
    states: list[int] = []
    robot.app.subscribe(DISPENSER_STATE, lambda message: states.append(message.value.remaining))
    robot.hub.advance(5.0)
    assert 5 <= len(states) <= 6


def test_closing_in_the_middle_leaves_the_deed_to_the_witness(robot: Robot) -> None:
    answer = robot.begin("treat")
    robot.service.close()
    robot.hub.run()
    assert answer.exception(0) is not None
    assert robot.hopper.closed
    assert robot.hopper.deed
