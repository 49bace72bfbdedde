"""Devices that come and go."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bus.memory import MemoryHub
from hardware.errors import HardwareError
from hardware.link import Link


class FakeDevices:
    def __init__(self) -> None:
        self.answers = True
        self.closes = True
        self.fate = "open"
        self.lost: Callable[[], None] = lambda: None

    def check(self) -> None:
        if not self.answers:
            raise HardwareError("no answer")

    def when_lost(self, call: Callable[[], None]) -> None:
        self.lost = call

    def close(self) -> None:
        if not self.closes:
            raise HardwareError("hung up")
        self.fate = "closed"

    def abandon(self) -> None:
        self.fate = "abandoned"


class Bench:
    def __init__(self) -> None:
        self.hub = MemoryHub()
        bus = self.hub.bus("motion")
        self.reachable = True
        self.tries = 0
        self.ups: list[FakeDevices] = []
        self.downs: list[str] = []
        self.link: Link[FakeDevices] = Link(
            self.open, bus.call_soon, bus.call_later, self.ups.append, self.down, beside=lambda call: call()
        )

    def open(self) -> FakeDevices:
        self.tries += 1
        if not self.reachable:
            raise HardwareError("unreachable")
        return FakeDevices()

    def down(self, error: HardwareError) -> None:
        self.downs.append(str(error))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_devices_are_opened_and_told_of_on_the_loop(bench: Bench) -> None:
    bench.link.open()
    assert bench.link.devices is None
    bench.hub.run()
    assert bench.ups == [bench.link.devices]
    assert bench.link.trouble is None


def test_what_cannot_be_reached_is_tried_again_with_growing_pauses(bench: Bench) -> None:
    bench.reachable = False
    bench.link.open()
    bench.hub.advance(60.0)
    assert 30 <= bench.tries <= 36
    assert bench.link.trouble == "unreachable"
    bench.reachable = True
    bench.hub.advance(2.0)
    assert len(bench.ups) == 1


def test_an_unexpected_failure_is_logged_and_tried_again_too(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug() -> FakeDevices:
        raise RuntimeError("a bug")

    monkeypatch.setattr(bench.link, "_open_devices", bug)
    bench.link.open()
    bench.hub.run()
    assert "a bug" in (bench.link.trouble or "")
    monkeypatch.undo()
    bench.hub.advance(1.0)
    assert len(bench.ups) == 1


def test_lost_devices_are_dropped_and_opened_again(bench: Bench) -> None:
    bench.link.open()
    bench.hub.run()
    bench.ups[0].answers = False
    bench.link.check()
    assert (bench.ups[0].fate, bench.downs) == ("abandoned", ["no answer"])
    bench.link.lost(HardwareError("again"))  # a second complaint about the same loss changes nothing
    bench.hub.advance(1.0)
    assert len(bench.ups) == 2
    assert bench.downs == ["no answer"]


def test_devices_that_say_so_themselves_are_dropped_without_waiting_for_a_check(bench: Bench) -> None:
    bench.link.open()
    bench.hub.run()
    bench.ups[0].answers = False
    bench.ups[0].lost()
    bench.hub.run()
    assert bench.downs == ["no answer"]
    bench.hub.advance(0.25)
    assert len(bench.ups) == 2
    bench.ups[0].lost()  # an old connection's end is none of the new one's
    bench.hub.run()
    assert bench.link.devices is bench.ups[1]


def test_closing_gives_them_back_for_good(bench: Bench) -> None:
    bench.link.open()
    bench.hub.run()
    bench.link.close()
    bench.link.close()
    bench.link.open()
    bench.hub.advance(10.0)
    assert (bench.ups[0].fate, bench.tries) == ("closed", 1)


def test_closing_dead_devices_abandons_them(bench: Bench) -> None:
    bench.link.open()
    bench.hub.run()
    bench.ups[0].closes = False
    bench.link.close()
    assert bench.ups[0].fate == "abandoned"


def test_devices_that_come_after_the_close_are_given_back(bench: Bench) -> None:
    bench.link.open()
    bench.link.close()
    bench.hub.run()
    assert bench.ups == []
    assert bench.link.devices is None
