"""What is shown, and how much work that is."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bus.memory import MemoryHub
from contract.commands import Led
from contract.units import LedPattern
from hardware.errors import HardwareError
from hardware.ws2812 import Rgb
from processes.dispenser import leds
from processes.dispenser.lights import Lights

PIXELS = 8


class FakeStrip:
    def __init__(self, hub: MemoryHub) -> None:
        self._hub = hub
        self.frames: list[tuple[float, list[Rgb]]] = []
        self.broken = False

    def show(self, pixels: Sequence[Rgb]) -> None:
        if self.broken:
            raise HardwareError("the daemon hung up")
        self.frames.append((self._hub.now, list(pixels)))

    def close(self) -> None: ...


class FakeTube:
    def __init__(self) -> None:
        self.levels: list[float] = []

    def set(self, level: float) -> None:
        self.levels.append(level)

    def close(self) -> None: ...


class Bench:
    def __init__(self) -> None:
        self.hub = MemoryHub()
        self.strip, self.tube = FakeStrip(self.hub), FakeTube()
        self.failures: list[str] = []
        self.lights = Lights(self.hub.bus("dispenser"), PIXELS, 30, lambda error: self.failures.append(str(error)))

    def shown(self, seconds: float) -> list[list[Rgb]]:
        """The frames of the next seconds."""
        self.strip.frames.clear()
        self.hub.advance(seconds)
        return [pixels for _, pixels in self.strip.frames]


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.lights.attach(bench.strip, bench.tube)
    return bench


@pytest.mark.parametrize("pattern", ["rainbow", "breathing", "alert"])
def test_an_animation_has_thirty_frames_a_second_each_of_its_own_time(bench: Bench, pattern: LedPattern) -> None:
    bench.lights.show(Led(pattern=pattern))
    since_s = bench.hub.now

    assert len(bench.shown(10.0)) == pytest.approx(300, abs=1)
    for at_s, pixels in bench.strip.frames:
        assert pixels == leds.frame(pattern, at_s - since_s, PIXELS)


@pytest.mark.parametrize("steady", [Led(pattern="solid"), Led(pattern="off"), Led(r=1, g=2, b=3)])
def test_what_stands_still_is_drawn_once_and_then_nothing_is_left_to_do(bench: Bench, steady: Led) -> None:
    bench.lights.show(Led(pattern="rainbow"))
    bench.strip.frames.clear()

    bench.lights.show(steady)

    assert len(bench.strip.frames) == 1
    assert bench.shown(600.0) == []
    assert bench.hub.timers.next_at() is None


def test_a_colour_is_on_every_pixel_and_the_tube_is_dark(bench: Bench) -> None:
    bench.lights.show(Led(r=10, g=20, b=30))

    assert bench.strip.frames[-1][1] == [(10, 20, 30)] * PIXELS
    assert bench.tube.levels[-1] == 0.0
    assert bench.lights.shown == "#0a141e"


def test_a_new_pattern_ends_the_old_one_and_the_colour(bench: Bench) -> None:
    bench.lights.show(Led(r=10, g=20, b=30))
    bench.lights.show(Led(pattern="rainbow"))
    bench.lights.show(Led(pattern="alert"))

    assert bench.lights.shown == "alert"
    assert len(bench.shown(1.0)) == pytest.approx(30, abs=1)


def test_lights_that_come_back_show_what_was_asked_for_meanwhile(bench: Bench) -> None:
    bench.lights.attach(None, None)
    bench.lights.show(Led(pattern="solid"))
    assert bench.shown(1.0) == []

    bench.lights.attach(bench.strip, bench.tube)

    assert bench.strip.frames[-1][1] == [leds.WHITE] * PIXELS
    assert bench.tube.levels[-1] == 1.0


def test_a_strip_that_fails_is_told_of_and_left_alone_once_it_is_taken_away(bench: Bench) -> None:
    bench.lights.show(Led(pattern="rainbow"))
    bench.strip.broken = True
    bench.hub.advance(0.05)
    assert bench.failures == ["the daemon hung up"]

    bench.lights.attach(None, None)
    bench.hub.advance(1.0)

    assert len(bench.failures) == 1
