"""Tools are heard in the name of a topic's owner."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from bus.codec import Message
from bus.lock import lock_path, try_lock
from bus.messages import DispenserState, RobotEvent
from bus.topics import DISPENSER_STATE, EVENTS, MOTION_STATE, Topic
from bus.zeromq import ZmqBus
from cli.bus.place import joined
from cli.bus.publishing import NEVER_TAKEN, Voices
from cli.errors import CommandError
from tests.cli.bus.conftest import PATIENCE_S, Robot, until

EVENT = EVENTS["dispenser"]
STATE = DispenserState(3, "idle", None, "off")


def event(number: int) -> RobotEvent:
    return RobotEvent("treat", {}, str(number), "")


class Listener:
    """A process that listens to some topics."""

    def __init__(self, robot: Robot, name: str, *topics: Topic[Any]) -> None:
        self.heard: list[Message[Any]] = []
        self.bus = robot.bus(name, self._wire(topics))

    def _wire(self, topics: tuple[Topic[Any], ...]) -> Any:
        def wire(bus: ZmqBus) -> None:
            for topic in topics:
                bus.subscribe(topic, self.heard.append, every_value=True)

        return wire


def never() -> bool:
    return False


def test_what_is_said_last_in_a_place_is_heard_although_the_tool_leaves_at_once(robot: Robot) -> None:
    listeners = [Listener(robot, name, EVENT) for name in ("cloudlink", "local_api", "webrtc", "monitor")]
    with joined(robot.run_dir) as bus:
        voices = Voices(bus, robot.run_dir, ["dispenser"])
        voices.wait_for_listeners([EVENT], PATIENCE_S, never)
        for number in range(100):
            voices.publish(EVENT, event(number))
        voices.close()
    for listener in listeners:
        until(lambda listener=listener: len(listener.heard) >= 100, "all were heard")  # type: ignore[misc]
        assert [message.value.id for message in listener.heard] == [str(number) for number in range(100)]


def test_a_listener_that_comes_late_gets_a_state_from_the_place(robot: Robot) -> None:
    with joined(robot.run_dir) as bus:
        voices = Voices(bus, robot.run_dir, ["dispenser"])
        voices.publish(DISPENSER_STATE, STATE)
        late = Listener(robot, "local_api", DISPENSER_STATE)
        until(lambda: bool(late.heard) or not voices.wait(time.monotonic() + 0.01, never), "the state was heard")
        voices.close()
    assert [message.value for message in late.heard] == [STATE]


def test_the_place_is_free_again_afterwards(robot: Robot) -> None:
    with joined(robot.run_dir) as bus:
        voices = Voices(bus, robot.run_dir, ["dispenser"])
        assert voices.taken == ["dispenser"]
        voices.close()
    descriptor = os.open(lock_path(robot.run_dir, "dispenser"), os.O_RDWR)
    assert try_lock(descriptor)
    os.close(descriptor)


def test_an_owner_that_runs_says_it_itself_in_order(robot: Robot) -> None:
    robot.bus("dispenser")
    listener = Listener(robot, "cloudlink", DISPENSER_STATE, EVENT)
    with joined(robot.run_dir) as bus:
        voices = Voices(bus, robot.run_dir, ["dispenser"])
        assert voices.taken == []
        until(lambda: _heard_a_state(voices, listener), "the listener has found the dispenser")
        for number in range(500):
            voices.publish(EVENT, event(number))
        voices.close()
    until(lambda: listener.heard[-1].value == event(499), "all were heard")
    events = [message for message in listener.heard if isinstance(message.value, RobotEvent)]
    assert [message.value.id for message in events] == [str(number) for number in range(500)]
    assert {message.sender.partition("#")[0] for message in events} == {"dispenser"}


def _heard_a_state(voices: Voices, listener: Listener) -> bool:
    voices.publish(DISPENSER_STATE, STATE)
    return bool(listener.heard)


def test_a_refusal_of_the_owner_is_told(robot: Robot) -> None:
    robot.bus("dispenser")
    with joined(robot.run_dir) as bus:
        voices = Voices(bus, robot.run_dir, ["dispenser"])
        wrong: Any = {"remaining": -1}
        voices.publish(DISPENSER_STATE, wrong)
        with pytest.raises(CommandError, match="dispenser did not publish it: `remaining`"):
            voices.close()


@pytest.mark.parametrize("owner", sorted(NEVER_TAKEN))
def test_the_places_that_the_motors_safety_needs_are_never_taken(robot: Robot, owner: str) -> None:
    with joined(robot.run_dir) as bus:
        with pytest.raises(CommandError, match=f"{owner} does not run, and nobody may take its place"):
            Voices(bus, robot.run_dir, ["dispenser", owner])
        assert not lock_path(robot.run_dir, owner).exists()
        voices = Voices(bus, robot.run_dir, ["dispenser"])  # its place was given back
        voices.close()


def test_motion_itself_says_what_a_tool_asks(robot: Robot) -> None:
    robot.bus("motion")
    with joined(robot.run_dir) as bus:
        voices = Voices(bus, robot.run_dir, [MOTION_STATE.owner])
        assert voices.taken == []
        voices.close()
