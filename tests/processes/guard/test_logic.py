"""When guard puts motion down."""

from __future__ import annotations

import pytest

from processes.guard.config import GuardConfig
from processes.guard.logic import Watch

CHECK_S = 0.01


class Watching:
    def __init__(self) -> None:
        self.now = 10.0
        self.watch = Watch(GuardConfig())

    def beat(self, pid: int = 7, age_s: float = 0.0) -> bool:
        return self.watch.on_beat(pid, self.now - age_s, self.now)

    def wait(self, seconds: float, *, ended: bool = False) -> list[int]:
        """Check every 10 ms; whom it put down."""
        down = []
        for _ in range(round(seconds / CHECK_S)):
            self.now += CHECK_S
            pid = self.watch.on_check(self.now, ended=ended)
            if pid is not None:
                down.append(pid)
        return down


@pytest.fixture
def watching() -> Watching:
    return Watching()


def test_nobody_is_put_down_before_a_beat_was_heard(watching: Watching) -> None:
    assert watching.wait(10.0) == []


def test_a_beating_motion_is_left_alone(watching: Watching) -> None:
    assert watching.beat()
    for _ in range(100):
        assert watching.wait(0.05) == []
        assert not watching.beat()


def test_silence_of_200_ms_ends_it_once(watching: Watching) -> None:
    watching.beat()
    assert watching.wait(0.2) == []
    assert watching.wait(0.02) == [7]
    assert watching.wait(5.0) == []


def test_a_process_that_has_ended_is_not_waited_for(watching: Watching) -> None:
    watching.beat()
    assert watching.wait(0.01, ended=True) == [7]


def test_late_beats_of_the_dead_mean_nothing(watching: Watching) -> None:
    watching.beat()
    watching.wait(0.3)
    assert not watching.beat(7)
    assert not watching.beat(8, age_s=0.3)
    assert watching.wait(1.0) == []


def test_a_new_motion_is_followed(watching: Watching) -> None:
    watching.beat(7)
    watching.wait(0.3)
    assert watching.beat(8)
    assert watching.wait(0.3) == [8]


def test_a_motion_that_was_replaced_before_it_was_missed_is_followed_no_more(watching: Watching) -> None:
    watching.beat(7)
    assert watching.beat(8)
    assert watching.watch.pid == 8


def test_a_beat_counts_from_when_it_was_sent(watching: Watching) -> None:
    watching.beat(age_s=0.15)
    assert watching.wait(0.07) == [7]


def test_a_guard_that_stood_still_itself_lets_the_beats_come_through_first(watching: Watching) -> None:
    watching.beat()
    watching.wait(0.05)
    watching.now += 3.0
    assert watching.wait(0.02) == []
    assert not watching.beat()
    assert watching.wait(0.15) == []


def test_a_guard_that_stood_still_does_not_wait_for_ever(watching: Watching) -> None:
    watching.beat()
    watching.wait(0.05)
    watching.now += 3.0
    assert watching.wait(0.08) == [7]
