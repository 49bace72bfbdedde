"""A tool speaks through the owner of a topic."""

from __future__ import annotations

from typing import Any

import pytest

from bus.base import Latest
from bus.codec import Message
from bus.injection import SIGNS_OF_LIFE, serve_injections
from bus.memory import MemoryHub
from bus.messages import Beat, DispenserState, Publication
from bus.topics import DISPENSER_STATE, EVENTS, PROCESSES, PUBLISH, TOPICS, Kind
from contract.errors import ContractError

EVENT = EVENTS["dispenser"]
TREAT = {"event": "treat", "data": {"n": 1}, "id": "1", "timestamp": "2026-01-01T00:00:00.000Z"}


class World:
    """A dispenser that lets tools speak, one that listens, and a tool."""

    def __init__(self) -> None:
        self.hub = MemoryHub()
        self.dispenser = self.hub.bus("dispenser")
        serve_injections(self.dispenser)
        self.tool = self.hub.bus("bus-1")
        self.heard: list[Message[Any]] = []
        self.hub.bus("local_api").subscribe(EVENT, self.heard.append)

    def ask(self, topic: str, value: dict[str, Any], owner: str = "dispenser") -> None:
        """Raises ContractError when it was refused."""
        asked = self.tool.request(PUBLISH[owner], Publication(topic, value))
        self.hub.advance(3.0)
        asked.result(0)


def test_the_owner_says_what_it_is_asked_to_in_its_own_name_and_order() -> None:
    world = World()
    for number in (1, 2, 3):
        world.ask(EVENT.name, TREAT | {"id": str(number)})
    assert [message.value.id for message in world.heard] == ["1", "2", "3"]
    assert [message.seq for message in world.heard] == [1, 2, 3]
    assert {message.sender for message in world.heard} == {"dispenser#1"}


def test_a_state_stays_for_those_who_come_later() -> None:
    world = World()
    state = {"remaining": 3, "phase": "idle", "last_treat_time": None, "led": "off"}
    world.ask(DISPENSER_STATE.name, state)
    late = Latest(world.hub.bus("monitor"), DISPENSER_STATE)
    world.hub.run()
    assert late.message is not None
    assert isinstance(late.message.value, DispenserState)
    assert late.message.value.remaining == 3


@pytest.mark.parametrize("topic", ["motion/event", "dispenser/treat", "dispenser/dance", ""])
def test_what_the_process_does_not_publish_is_refused(topic: str) -> None:
    world = World()
    with pytest.raises(ContractError, match="dispenser publishes no topic"):
        world.ask(topic, TREAT)
    assert world.heard == []


def test_a_value_of_the_wrong_type_is_refused_with_what_is_accepted() -> None:
    world = World()
    with pytest.raises(ContractError, match=r"`id`: expected `str`.* Accepted: an object with event text"):
        world.ask(EVENT.name, TREAT | {"id": 7})
    assert world.heard == []


def test_the_signs_of_life_are_every_heartbeat_and_the_beats_between_motion_and_guard() -> None:
    """A new beat that is to hold the motors or the watchdog must not be forgotten there."""
    named = {name for name, topic in TOPICS.items() if topic.payload is Beat or name.endswith("/heartbeat")}
    assert named == SIGNS_OF_LIFE
    assert {f"{process}/heartbeat" for process in PROCESSES} < SIGNS_OF_LIFE
    assert all(TOPICS[name].kind is Kind.STATE for name in SIGNS_OF_LIFE)


@pytest.mark.parametrize("name", sorted(SIGNS_OF_LIFE))
def test_nobody_says_a_sign_of_life_for_a_process(name: str) -> None:
    hub = MemoryHub()
    owner = TOPICS[name].owner
    serve_injections(hub.bus(owner))
    heard: list[Message[Any]] = []
    hub.bus("local_api" if owner != "local_api" else "monitor").subscribe(TOPICS[name], heard.append)
    alive = {"pid": 7, "uptime_s": 1.0, "loop_lag_ms": 0.0}
    asked = hub.bus("bus-1").request(PUBLISH[owner], Publication(name, alive))
    hub.advance(3.0)
    with pytest.raises(ContractError, match="sign of life: nobody else may say it"):
        asked.result(0)
    assert heard == []
