"""The patterns, as functions of time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.units import LedPattern
from hardware.ws2812 import Rgb, encode
from processes.dispenser.leds import OFF, STEADY, WHITE, frame, tube

PATTERNS: tuple[LedPattern, ...] = get_args(LedPattern)
ANIMATED = [pattern for pattern in PATTERNS if pattern not in STEADY]
PERIODS_S: dict[LedPattern, float] = {
    "breathing": 4.0,
    "rainbow": 4.0,
    "searching": 2.4,
    "alert": 0.4,
    "idle": 6.0,
    "pulse": 1.0,
    "chase": 0.4,
    "warning": 1.0,
    "attention": 1.0,
}
"""How often each repeats itself; celebration and fire never do."""
FLASHES_A_SECOND = 3
LOOK_HZ = 120


@given(st.sampled_from(PATTERNS), st.floats(0, 1e6), st.integers(0, 200))
def test_every_pattern_at_every_time_on_every_strip_is_a_frame(pattern: LedPattern, t_s: float, n: int) -> None:
    shown = frame(pattern, t_s, n)
    assert len(shown) == n
    encode(shown)  # refuses what is no colour
    assert 0.0 <= tube(pattern, t_s) <= 1.0
    assert frame(pattern, t_s, n) == shown


@pytest.mark.parametrize("n", [1, 2, 40])
@pytest.mark.parametrize("pattern", ANIMATED)
def test_animated_patterns_move_and_shine_on_one_pixel_too(pattern: LedPattern, n: int) -> None:
    frames = [frame(pattern, tick / 30, n) for tick in range(120)]
    assert any(one != frames[0] for one in frames)
    assert any(pixel != OFF for one in frames for pixel in one)


@pytest.mark.parametrize("pattern", [pattern for pattern in PATTERNS if pattern in STEADY])
def test_steady_patterns_never_change(pattern: LedPattern) -> None:
    frames = [frame(pattern, tick / 30, 10) for tick in range(120)]
    assert all(one == frames[0] for one in frames)
    assert len({tube(pattern, tick / 30) for tick in range(120)}) == 1


@given(st.sampled_from(sorted(PERIODS_S)), st.integers(0, 399), st.integers(1, 50), st.integers(1, 60))
def test_patterns_repeat_themselves(pattern: LedPattern, at: int, times: int, n: int) -> None:
    period_s = PERIODS_S[pattern]
    t_s = (at + 0.37) / 400 * period_s  # between the steps: at one of them the last bit of a float decides

    once, again = frame(pattern, t_s, n), frame(pattern, t_s + times * period_s, n)

    assert all(a == pytest.approx(b, abs=1) for a, b in zip(once, again, strict=True))
    assert tube(pattern, t_s) == pytest.approx(tube(pattern, t_s + times * period_s), abs=0.01)


def luminance(pixels: Iterable[Rgb]) -> float:
    """The mean relative luminance of some pixels, 0–1 (WCAG 2.2; LEDs are linear in their value)."""
    lights = [(0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255 for red, green, blue in pixels]
    return sum(lights) / len(lights)


def most_flashes_in_a_second(levels: list[float]) -> int:
    """Pairs of opposing changes of a tenth or more whose darker end is below 0.8 (WCAG 2.2, "general flash")."""
    turns: list[int] = []  # where the level has gone a tenth against its last direction
    rising, extreme = True, levels[0]
    for at, level in enumerate(levels):
        if (level > extreme) if rising else (level < extreme):
            extreme = level
        elif abs(level - extreme) >= 0.1 and min(level, extreme) < 0.8:
            rising, extreme = not rising, level
            turns.append(at)
    return max((sum(1 for turn in turns if at <= turn < at + LOOK_HZ) for at in turns), default=0) // 2


def test_flashes_are_counted() -> None:
    square = [float(tick // 12 % 2) for tick in range(5 * LOOK_HZ)]  # five times a second
    assert most_flashes_in_a_second(square) == 5
    assert most_flashes_in_a_second([0.95 + 0.05 * level for level in square]) == 0


@pytest.mark.parametrize("pattern", ANIMATED)
@pytest.mark.parametrize("n", [1, 8, 160])
def test_nothing_flashes_more_often_than_people_can_bear(pattern: LedPattern, n: int) -> None:
    frames = [frame(pattern, tick / LOOK_HZ, n) for tick in range(8 * LOOK_HZ)]

    assert most_flashes_in_a_second([luminance(one) for one in frames]) <= FLASHES_A_SECOND
    for pixel in range(0, n, 7):
        assert most_flashes_in_a_second([luminance(one[pixel : pixel + 1]) for one in frames]) <= FLASHES_A_SECOND


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_tube_does_not_either(pattern: LedPattern) -> None:
    levels = [tube(pattern, tick / LOOK_HZ) for tick in range(8 * LOOK_HZ)]

    assert most_flashes_in_a_second(levels) <= FLASHES_A_SECOND


def test_off_is_dark_and_solid_is_full() -> None:
    assert frame("off", 1.0, 3) == [OFF] * 3
    assert tube("off", 1.0) == 0.0
    assert frame("solid", 1.0, 3) == [WHITE] * 3


def test_no_two_patterns_look_alike() -> None:
    looks = {tuple(tuple(frame(pattern, t_s, 32)) for t_s in (0.05, 0.3, 0.9)) for pattern in PATTERNS}
    assert len(looks) == len(PATTERNS)
