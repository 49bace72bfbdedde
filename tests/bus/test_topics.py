"""The table of topics holds together with the processes and the commands."""

from __future__ import annotations

import configparser
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from bus.topics import COMMAND_TOPICS, EVENTS, FAULTS, HEARTBEATS, PROCESSES, TOPICS, Kind, Topic
from contract.commands import COMMANDS
from contract.validate import loose_fields

ROOT = Path(__file__).resolve().parents[2]


def supervised() -> dict[str, configparser.SectionProxy]:
    config = configparser.RawConfigParser(inline_comment_prefixes=(";",))
    config.read(ROOT / "supervisord.conf")
    return {name.removeprefix("program:"): config[name] for name in config.sections() if name.startswith("program:")}


def test_the_processes_are_those_of_supervisord_conf() -> None:
    assert set(supervised()) == set(PROCESSES)


def test_every_program_can_be_started() -> None:
    for name, section in supervised().items():
        assert f"-m processes.{name} " in section["command"] + " "
        assert importlib.util.find_spec(f"processes.{name}.__main__") is not None


def test_every_topic_belongs_to_a_process() -> None:
    for name, topic in TOPICS.items():
        assert topic.name == name
        assert topic.owner in PROCESSES
        assert name.startswith(f"{topic.owner}/")


def test_no_topic_is_the_beginning_of_another() -> None:
    """A ZeroMQ subscription matches by prefix; the zero byte behind the name keeps them apart."""

    prefixes = [topic.prefix for topic in TOPICS.values()]
    assert not [(a, b) for a in prefixes for b in prefixes if a is not b and b.startswith(a)]


def test_every_command_of_a_process_that_is_there_has_its_topic() -> None:
    for spec in COMMANDS.values():
        topic = COMMAND_TOPICS.get(spec.name)
        assert (topic is not None) == (spec.service in PROCESSES)
        if topic is not None:
            assert topic.payload is spec.body
            assert topic.kind is (Kind.STOP if spec.urgent else Kind.REQUEST)
            assert TOPICS[topic.name] is topic


def test_every_process_beats_and_may_speak() -> None:
    for table in (HEARTBEATS, EVENTS, FAULTS):
        assert set(table) == set(PROCESSES)


@pytest.mark.parametrize("topic", TOPICS.values(), ids=lambda topic: topic.name)
def test_every_number_in_a_message_has_bounds_or_is_looked_at(topic: Topic[Any]) -> None:
    for type_ in (topic.payload, topic.reply):
        assert set(loose_fields(type_)) <= {"data", "value", "frame"}, "give the number its bounds"
