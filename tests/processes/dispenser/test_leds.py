"""The patterns, as functions of time."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.units import LedPattern
from hardware.ws2812 import encode
from processes.dispenser.leds import OFF, STEADY, WHITE, frame, tube

PATTERNS: tuple[LedPattern, ...] = get_args(LedPattern)
ANIMATED = [pattern for pattern in PATTERNS if pattern not in STEADY]


@given(st.sampled_from(PATTERNS), st.floats(0, 1e6), st.integers(0, 200))
def test_every_pattern_at_every_time_on_every_strip_is_a_frame(pattern: LedPattern, t_s: float, n: int) -> None:
    shown = frame(pattern, t_s, n)
    assert len(shown) == n
    encode(shown)  # refuses what is no colour
    assert 0.0 <= tube(pattern, t_s) <= 1.0
    assert frame(pattern, t_s, n) == shown


@pytest.mark.parametrize("pattern", ANIMATED)
def test_animated_patterns_move_and_shine(pattern: LedPattern) -> None:
    frames = [frame(pattern, tick / 30, 40) for tick in range(120)]
    assert any(one != frames[0] for one in frames)
    assert any(pixel != OFF for one in frames for pixel in one)


@pytest.mark.parametrize("pattern", [pattern for pattern in PATTERNS if pattern in STEADY])
def test_steady_patterns_never_change(pattern: LedPattern) -> None:
    frames = [frame(pattern, tick / 30, 10) for tick in range(120)]
    assert all(one == frames[0] for one in frames)


def test_off_is_dark_and_solid_is_full() -> None:
    assert frame("off", 1.0, 3) == [OFF] * 3
    assert tube("off", 1.0) == 0.0
    assert frame("solid", 1.0, 3) == [WHITE] * 3


def test_no_two_patterns_look_alike() -> None:
    looks = {tuple(tuple(frame(pattern, t_s, 32)) for t_s in (0.05, 0.3, 0.9)) for pattern in PATTERNS}
    assert len(looks) == len(PATTERNS)
