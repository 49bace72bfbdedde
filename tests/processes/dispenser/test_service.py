"""The dispenser on the in-memory bus, with a disk that is real and pins that are not."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from bus.base import Latest
from bus.memory import MemoryHub
from bus.messages import Fault
from bus.promise import Promise
from bus.topics import COMMAND_TOPICS, DISPENSER_STATE, EVENTS, FAULTS
from contract.commands import Dispensed, Led, Nothing, Refill, Refilled
from contract.errors import ContractError
from hardware.config import BeamConfig, CarouselConfig, HardwareConfig, LedsConfig
from hardware.errors import HardwareError
from hardware.ws2812 import Rgb
from processes.dispenser.config import DispenserConfig, LedConfig
from processes.dispenser.service import DispenserService
from processes.dispenser.store import TreatStore
from processes.dispenser.witness import settle

NOON = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
CAROUSEL = CarouselConfig()


class FakeWitness:
    """Knows whether a deed is under way, until it is killed."""

    def __init__(self, hopper: FakeHopper) -> None:
        self._hopper = hopper
        self.killed = False

    def turning(self, turning: bool) -> None:
        self.check()
        self._hopper.deed = turning

    def check(self) -> None:
        if self.killed:
            raise HardwareError("the witness is gone")

    def close(self) -> None:
        pass


class FakeHopper:
    """Carousel, beam, pixels and tube in one, with a witness. A forward turn drops a treat after 0.3 s."""

    def __init__(self, robot: Robot) -> None:
        self.robot = robot
        self.carousel = self.beam = self.pixels = self.tube = self
        self.witness = FakeWitness(self)
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

    def check(self) -> None:
        self._alive()

    def when_lost(self, call: Callable[[], None]) -> None: ...

    def close(self) -> None:
        self.closed = True

    def abandon(self) -> None:
        self.abandoned = True


class Robot:
    """A dispenser that can be killed and started again on the same disk."""

    def __init__(self, path: Path, *, beam_fitted: bool = True, capacity: int = 5, **settings: Any) -> None:
        self.hub = MemoryHub()
        self.path = path
        rules = {"low_at": 0, "cooldown_s": 0.0, "daily_limit": None} | settings
        self.config = DispenserConfig(capacity=capacity, **rules)
        self.clock_started_s, self.clock_jumped_s = self.hub.now, 0.0
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
            wall_clock=self.wall_clock,
            boot="boot",
            beside=lambda call: call(),
        )
        self.hub.advance(0.1)

    def wall_clock(self) -> datetime:
        return NOON + timedelta(seconds=self.hub.now - self.clock_started_s + self.clock_jumped_s)

    def kill(self, *, watched: bool = True) -> None:
        """kill -9; `watched`: its witness sees the deed to its end, and nothing more falls."""
        self.hub.kill("dispenser")
        if watched:
            settle(self.store, [], saw_all=self.hardware.beam.fitted)
        self.store.close()

    def write_protect(self, *, on: bool = True) -> None:
        """SQLite refuses every write, as on a disk that became read-only."""
        self.store._db.execute(f"PRAGMA query_only = {int(on)}")

    def told(self) -> list[tuple[str, bool]]:
        return [(fault.code, fault.active) for fault in self.faults]

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

    def begin(self, command: str, body: Struct | None = None, id_: str | None = None) -> Promise:
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
    assert (state.remaining, state.phase, state.last_treat_time) == (4, "idle", "2026-01-31T12:00:00.400Z")


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


def test_killed_with_nobody_watching_it_is_not_given_again(robot: Robot) -> None:
    robot.begin("treat", id_="app:1")
    robot.hub.advance(0.2)
    robot.kill(watched=False)
    robot.start()
    assert robot.refused("treat", id_="app:1").code == "CONFLICT"
    assert robot.hopper.moves == []
    assert robot.ask("treat", id_="app:2") == Dispensed(4, True)


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
    robot.jammed = True
    answer = robot.begin("treat", id_="app:1")
    robot.reachable = False
    robot.hopper.broken_down = True
    robot.hub.advance(1.0)
    with pytest.raises(ContractError, match="UNAVAILABLE"):
        answer.result(0)
    assert robot.hopper.abandoned
    for command, body in (("treat", None), ("carousel_rotate", None), ("led", Led(pattern="fire"))):
        assert robot.refused(command, body).code == "UNAVAILABLE"
    robot.reachable, robot.jammed = True, False
    robot.hub.advance(3.0)
    assert robot.ask("treat").remaining == 4


def test_a_disk_that_fails_is_told_and_nothing_turns(robot: Robot, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(TreatStore, "begin", full)
    monkeypatch.setattr(TreatStore, "check_room", full)
    refusal = robot.refused("treat")
    assert refusal.code == "INTERNAL_ERROR"
    assert "disk is full" in refusal.message
    assert CAROUSEL.turn_us not in robot.hopper.moves
    assert robot.bus.counters["dispenser.disk_errors"] >= 1
    assert robot.told() == [("TREAT_COUNT_FAULT", True)]
    monkeypatch.undo()
    assert robot.ask("treat").remaining == 4
    assert robot.told() == [("TREAT_COUNT_FAULT", True), ("TREAT_COUNT_FAULT", False)]


def test_a_treat_that_could_not_be_counted_is_an_error_and_counted_as_soon_as_the_disk_writes(robot: Robot) -> None:
    answer = robot.begin("treat", id_="app:1")
    robot.write_protect()
    robot.hub.advance(1.0)
    with pytest.raises(ContractError, match="INTERNAL_ERROR"):
        answer.result(0)
    assert robot.hopper.us is None
    assert robot.hopper.deed, "the witness must go on watching: the treat is not on the disk"
    moves = len(robot.hopper.moves)
    for command in ("treat", "carousel_rotate"):
        assert robot.refused(command).code == "INTERNAL_ERROR"
    assert len(robot.hopper.moves) == moves
    robot.write_protect(on=False)
    robot.hub.advance(5.0)
    assert not robot.hopper.deed
    assert robot.store.remaining == 4
    assert [event["remaining"] for event in robot.events] == [4]
    assert robot.told() == [("TREAT_COUNT_FAULT", True), ("TREAT_COUNT_FAULT", False)]
    assert robot.ask("treat", id_="app:2") == Dispensed(3, True)


def test_a_treat_seen_by_pins_that_fail_at_once_is_counted(robot: Robot) -> None:
    answer = robot.begin("treat", id_="app:1")
    robot.hub.advance(0.1)
    robot.hopper.broken_down = True
    robot.on_break(1_000_000)
    robot.hub.run()
    with pytest.raises(ContractError, match="UNAVAILABLE"):
        answer.result(0)
    assert robot.store.remaining == 4


def test_a_witness_killed_in_a_treat_is_replaced_when_that_is_over(robot: Robot) -> None:
    robot.jammed = True  # several seconds are turned
    answer = robot.begin("treat")
    robot.hub.advance(0.1)
    robot.hopper.witness.killed = True
    robot.hub.advance(3.0)
    assert not answer.done()
    assert len(robot.hoppers) == 1
    robot.hub.advance(10.0)
    with pytest.raises(ContractError, match="TREAT_JAM"):
        answer.result(0)
    assert len(robot.hoppers) == 2
    robot.jammed = False
    assert robot.ask("treat").remaining == 4


def test_a_witness_killed_at_rest_is_replaced_at_once(robot: Robot) -> None:
    robot.hopper.witness.killed = True
    robot.hub.advance(1.0)
    assert len(robot.hoppers) == 2
    assert robot.ask("treat").remaining == 4


def test_a_treat_that_never_began_to_turn_may_be_asked_for_again(robot: Robot) -> None:
    robot.hopper.witness.killed = True
    assert robot.refused("treat", id_="app:1").code == "UNAVAILABLE"
    assert robot.store.find("app:1") is None


def test_a_second_treat_within_the_cooldown_is_refused_also_after_a_restart(tmp_path: Path) -> None:
    robot = Robot(tmp_path / "treats.sqlite", cooldown_s=60.0)
    robot.ask("treat")  # 14 s with the waiting
    robot.kill()
    robot.start()
    robot.clock_jumped_s = 3600.0
    error = robot.begin("treat").exception(0)
    assert isinstance(error, ContractError)
    assert (error.code, error.status) == ("COOLDOWN", 429)
    assert error.retry_after_s == pytest.approx(46.2, abs=0.5)
    assert robot.hopper.moves == []
    robot.hub.advance(46.5)
    assert robot.ask("treat").remaining == 3


def test_a_known_request_is_answered_and_not_refused_by_the_limits(tmp_path: Path) -> None:
    robot = Robot(tmp_path / "treats.sqlite", cooldown_s=60.0, daily_limit=1)
    given = robot.ask("treat", id_="app:1")
    robot.kill()
    robot.start()
    assert robot.ask("treat", id_="app:1") == given


def test_the_daily_limit_counts_what_fell_by_whatever_turn(tmp_path: Path) -> None:
    robot = Robot(tmp_path / "treats.sqlite", daily_limit=2)
    late = NOON.astimezone().replace(hour=23, minute=55)
    robot.clock_jumped_s = (late - NOON).total_seconds()
    robot.ask("treat")
    turned = robot.begin("carousel_rotate")
    robot.on_break(robot.ticks_us + 1)
    robot.hub.advance(1.0)
    assert turned.done()
    state = robot.state.message
    assert state is not None
    assert (state.value.treats_today, state.value.daily_limit, state.value.remaining) == (2, 2, 3)
    error = robot.refused("treat")
    assert (error.code, error.status) == ("DAILY_LIMIT", 429)
    assert error.retry_after_s is not None
    assert 200 < error.retry_after_s < 300
    robot.hub.advance(300.0)
    assert robot.ask("treat").remaining == 2


def test_empty_is_said_before_any_limit(tmp_path: Path) -> None:
    robot = Robot(tmp_path / "treats.sqlite", capacity=1, daily_limit=1, cooldown_s=60.0)
    robot.ask("treat")
    assert robot.refused("treat").code == "EMPTY"


def test_a_refill_sets_the_count_once_and_is_published(robot: Robot) -> None:
    robot.ask("treat")
    assert robot.begin("treat_refill", Refill(5), "app:7").result(0) == Refilled(5)
    assert robot.state.message is not None
    assert robot.state.message.value.remaining == 5
    robot.ask("treat")
    robot.kill()
    robot.start()
    assert robot.ask("treat_refill", Refill(5), "app:7") == Refilled(5)
    assert robot.store.remaining == 4
    assert robot.refused("treat_refill", Refill(6)).code == "INVALID_PARAMETER"


def test_a_refill_waits_until_the_carousel_stands(robot: Robot) -> None:
    robot.begin("treat")
    with pytest.raises(ContractError, match="BUSY"):
        robot.begin("treat_refill", Refill(5)).result(0)


def test_few_treats_and_none_are_told_once_each(tmp_path: Path) -> None:
    robot = Robot(tmp_path / "treats.sqlite", low_at=2)
    for _ in range(5):
        robot.ask("treat")
    assert robot.told() == [("TREATS_LOW", True), ("TREATS_EMPTY", True)]
    robot.kill()
    robot.start()
    robot.hub.advance(5.0)
    assert len(robot.faults) == 2
    robot.ask("treat_refill", Refill(5))
    assert sorted(robot.told()[2:]) == [("TREATS_EMPTY", False), ("TREATS_LOW", False)]


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
