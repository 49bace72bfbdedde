"""Pan and tilt: limits, speed, no overshoot, no jump."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processes.motion.head import Axis, Release

TICK_S = 0.02


def moved(axis: Axis, now: float, seconds: float) -> tuple[float, list[float | Release | None]]:
    """Tick for some time; what it said."""
    said = []
    for _ in range(round(seconds / TICK_S)):
        now += TICK_S
        said.append(axis.on_tick(now))
    return now, said


def test_without_a_command_there_is_no_pulse() -> None:
    _, said = moved(Axis(90, 180, 0.06), 10.0, 1.0)
    assert said == [None] * 50


def test_the_first_command_moves_from_the_centre_with_the_speed_limit() -> None:
    axis = Axis(90, 180, 0.0)
    axis.on_target(60.0, 10.0)
    _, said = moved(axis, 10.0, 0.1)
    assert said == pytest.approx([3.6, 7.2, 10.8, 14.4, 18.0])


def test_the_first_command_after_a_restart_moves_from_where_it_was_left() -> None:
    axis = Axis(90, 180, 0.0, start_deg=70.0)
    assert axis.on_tick(9.0) is None
    axis.on_target(-70.0, 10.0)
    _, said = moved(axis, 10.0, 0.04)
    assert said == pytest.approx([66.4, 62.8])


def test_what_was_kept_from_before_the_limits_were_narrowed_is_cut() -> None:
    assert Axis(30, 180, 0.0, start_deg=70.0).position_deg == 30.0


def test_the_narrower_limit_of_the_unit_holds() -> None:
    axis = Axis(30, 180, 0.06)
    assert axis.on_target(80.0, 10.0) == 30.0
    assert axis.on_target(-80.0, 10.0) == -30.0


def test_it_arrives_and_then_says_nothing_more() -> None:
    axis = Axis(90, 180, 0.06)
    axis.on_target(20.0, 10.0)
    _, said = moved(axis, 10.0, 2.0)
    assert axis.position_deg == 20.0
    assert said[-1] is None


def test_a_target_where_it_stands_gives_a_pulse_all_the_same() -> None:
    axis = Axis(90, 180, 0.06)
    axis.on_target(0.0, 10.0)
    assert axis.on_tick(10.02) == 0.0
    assert axis.on_tick(10.04) is None


def test_the_pulses_end_after_rest_and_come_back_without_a_jump() -> None:
    axis = Axis(90, 180, 0.0, release_after_s=0.5)
    axis.on_target(9.0, 10.0)
    now, said = moved(axis, 10.0, 2.0)
    assert said.count(Release.RELEASE) == 1
    axis.on_target(-90.0, now)
    assert axis.on_tick(now + TICK_S) == pytest.approx(9.0 - 3.6)


def test_hold_stops_it_where_it_is() -> None:
    axis = Axis(90, 180, 0.06)
    axis.on_target(90.0, 10.0)
    now, _ = moved(axis, 10.0, 0.2)
    axis.on_hold()
    stood = axis.position_deg
    moved(axis, now, 1.0)
    assert 0 < axis.position_deg == stood < 90


@given(st.lists(st.tuples(st.floats(-90, 90), st.integers(1, 30)), min_size=1, max_size=8), st.sampled_from([0, 0.06]))
def test_it_never_overshoots_nor_exceeds_its_speed(moves: list[tuple[float, int]], ease_s: float) -> None:
    axis, now = Axis(80, 200, ease_s), 10.0
    for deg, ticks in moves:
        target = axis.on_target(deg, now)
        for _ in range(ticks):
            before = axis.position_deg
            now += TICK_S
            axis.on_tick(now)
            assert abs(axis.position_deg - before) <= 200 * TICK_S + 1e-6
            assert min(before, target) - 1e-9 <= axis.position_deg <= max(before, target) + 1e-9
