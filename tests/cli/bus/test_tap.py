from __future__ import annotations

import pytest

from bus.messages import Beat, RobotEvent
from bus.topics import EVENTS, MOTION_BEAT
from cli.bus import tap as tap_module
from cli.bus.tap import Gaps, Tap
from tests.cli.bus.conftest import PATIENCE_S, Robot, until

EVENT = EVENTS["dispenser"]


def event(number: int) -> RobotEvent:
    return RobotEvent("treat", {}, str(number), "")


def test_what_is_missing_between_two_messages_is_counted_and_a_restart_is_no_gap() -> None:
    gaps = Gaps()
    said = [("a", 5), ("a", 6), ("a", 9), ("b", 4), ("b", 5)]
    assert [gaps.missed_before(sender, seq) for sender, seq in said] == [0, 0, 2, 0, 0]


def test_every_value_of_a_state_is_heard_not_only_the_latest(robot: Robot) -> None:
    motion = robot.bus("motion")
    motion.publish(MOTION_BEAT, Beat(1))
    with Tap(robot.run_dir, [MOTION_BEAT]) as tap:
        first = tap.take(PATIENCE_S)
        assert first is not None  # the last value, from before the tap
        for pid in range(2, 200):
            motion.publish(MOTION_BEAT, Beat(pid))
        heard = [first]
        while len(heard) < 199 and (one := tap.take(PATIENCE_S)) is not None:
            heard.append(one)
    assert [one.message.value.pid for one in heard] == list(range(1, 200))
    assert tap.missed.total() == 0


def test_whoever_is_too_slow_loses_messages_that_are_counted(robot: Robot, monkeypatch: pytest.MonkeyPatch) -> None:
    dispenser = robot.bus("dispenser")
    with Tap(robot.run_dir, [EVENT]) as tap:
        said = 0
        heard = None
        while heard is None:  # an EVENT is not kept for a tap that is not connected yet
            said += 1
            dispenser.publish(EVENT, event(said))
            heard = tap.take(0.05)
        while heard is None or heard.message.seq < said:
            heard = tap.take(PATIENCE_S)
        monkeypatch.setattr(tap_module, "MAX_WAITING", 10)
        for number in range(50):
            dispenser.publish(EVENT, event(number))
        until(lambda: tap.missed[EVENT.name] == 40, "what did not fit was counted")
        assert [one.message.value.id for one in tap.take_all(0)] == [str(number) for number in range(10)]
