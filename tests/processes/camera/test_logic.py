from __future__ import annotations

import itertools

from processes.camera.logic import FIRST_BACKOFF_S, MAX_BACKOFF_S, OPENING_S, SETTLED_S, SILENT_S, SourceKeeper, Step


def running(now: float = 0.0) -> SourceKeeper:
    keeper = SourceKeeper(now)
    assert keeper.on_tick(now) is Step.OPEN
    keeper.on_opened(now)
    keeper.on_frame(now)
    return keeper


def test_a_source_with_frames_is_left_alone() -> None:
    keeper = running()
    for tenth in range(1, 300):
        keeper.on_frame(tenth / 10)
        assert keeper.on_tick(tenth / 10) is None
        assert keeper.fault(tenth / 10) is None


def test_it_is_opened_once() -> None:
    keeper = SourceKeeper(0.0)
    assert [keeper.on_tick(0.1 * i) for i in range(5)] == [Step.OPEN, None, None, None, None]


def test_a_silent_source_is_closed_and_opened_again() -> None:
    keeper = running()
    assert keeper.on_tick(SILENT_S - 0.1) is None
    assert keeper.on_tick(SILENT_S) is Step.CLOSE
    assert keeper.on_tick(SILENT_S + FIRST_BACKOFF_S - 0.01) is None
    assert keeper.on_tick(SILENT_S + FIRST_BACKOFF_S) is Step.OPEN


def test_a_source_that_does_not_start_is_given_up() -> None:
    keeper = SourceKeeper(0.0)
    keeper.on_tick(0.0)
    assert keeper.on_tick(OPENING_S - 0.1) is None
    assert keeper.on_tick(OPENING_S) is Step.CLOSE


def attempts_of_a_broken_source(keeper: SourceKeeper, now: float, until: float) -> list[float]:
    found = []
    while now < until:
        if keeper.on_tick(now) is Step.OPEN:
            found.append(now)
            keeper.on_failed(now, "broken")
        now += 0.05
    return found


def test_attempts_get_rarer_up_to_a_limit() -> None:
    attempts = attempts_of_a_broken_source(SourceKeeper(0.0), 0.0, 60.0)
    gaps = [round(later - earlier, 2) for earlier, later in itertools.pairwise(attempts)]
    assert gaps == sorted(gaps)
    assert gaps[0] < 0.5
    assert MAX_BACKOFF_S <= gaps[-1] < MAX_BACKOFF_S + 0.2


def test_after_a_good_time_the_backoff_begins_again() -> None:
    keeper = SourceKeeper(0.0)
    attempts_of_a_broken_source(keeper, 0.0, 30.0)
    now = 60.0
    assert keeper.on_tick(now) is Step.OPEN
    keeper.on_opened(now)
    while now < 60.0 + SETTLED_S + 1:
        now += 1
        keeper.on_frame(now)
    keeper.on_failed(now, "again")
    assert keeper.on_tick(now + FIRST_BACKOFF_S) is Step.OPEN


def test_a_fault_begins_when_it_has_lasted_and_ends_with_a_picture() -> None:
    keeper = running()
    keeper.on_failed(1.0, "the cable is loose")
    assert keeper.fault(SILENT_S) is None
    assert keeper.fault(SILENT_S + 0.1) == "the cable is loose"
    keeper.on_frame(5.0)
    assert keeper.fault(5.0) is None
