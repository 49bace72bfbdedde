"""`wimz bus replay`: what was recorded is said again, as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bus.codec import Message
from bus.messages import Beat, DispenserState, RobotEvent
from bus.recording import Writer
from bus.topics import DISPENSER_STATE, EVENTS, MOTION_BEAT, MOTION_STATE, TOPICS, Topic
from bus.zeromq import ZmqBus
from cli.main import main
from tests.cli.bus.conftest import PATIENCE_S, Robot, interrupt, until

EVENT = EVENTS["dispenser"]
STATE = DispenserState(3, "idle", None, "off")
Said = list[tuple[float, Topic[Any], Any]]


def event(number: int) -> RobotEvent:
    return RobotEvent("treat", {"n": number}, str(number), "")


def written(path: Path, said: Said) -> Path:
    """A recording of what was said, at these seconds."""
    writer = Writer([MOTION_BEAT, MOTION_STATE, EVENT, DISPENSER_STATE], "2026-01-01T00:00:00.000Z", 0)
    messages = [(topic, Message(value, "x#1", at, round(at_s * 1e9))) for at, (at_s, topic, value) in enumerate(said)]
    path.write_bytes(writer.header() + b"".join(writer.line(topic, message) for topic, message in messages))
    return path


def hears(heard: list[Any], *topics: Topic[Any]) -> Callable[[ZmqBus], None]:
    def wire(bus: ZmqBus) -> None:
        for topic in topics:
            bus.subscribe(topic, lambda message: heard.append(message.value), every_value=True)

    return wire


def replay(robot: Robot, file: Path, *words: str) -> int:
    return main(["bus", "replay", str(file), "--data", str(robot.data), *words])


def test_a_recording_is_played_in_the_place_of_an_owner_that_does_not_run(
    robot: Robot, short_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: list[Any] = []
    robot.bus("cloudlink", hears(heard, EVENT))
    file = written(short_dir / "a", [(at / 100, EVENT, event(at)) for at in range(100)])
    assert replay(robot, file, "--json", "--wait", str(PATIENCE_S)) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["played"], summary["in_place_of"]) == (100, ["dispenser"])
    until(lambda: len(heard) >= 100, "all were heard")
    assert heard == [event(number) for number in range(100)]


def test_nothing_is_played_before_its_time(robot: Robot, short_dir: Path) -> None:
    times_s: dict[str, float] = {}

    def note(message: Message[RobotEvent]) -> None:
        times_s[message.value.id] = message.sent_ns / 1e9

    def wire(bus: ZmqBus) -> None:
        bus.subscribe(EVENT, note)

    robot.bus("cloudlink", wire)
    file = written(short_dir / "a", [(0.0, EVENT, event(0)), (1.0, EVENT, event(1)), (4.0, EVENT, event(2))])
    assert replay(robot, file, "--speed", "10", "--wait", str(PATIENCE_S)) == 0
    until(lambda: len(times_s) == 3, "all were heard")
    assert times_s["1"] - times_s["0"] > 0.05  # a busy machine may have said the first one late
    assert times_s["2"] - times_s["0"] > 0.3


def test_an_owner_that_runs_plays_its_part_itself(robot: Robot, short_dir: Path) -> None:
    heard: list[Any] = []
    robot.bus("dispenser").publish(DISPENSER_STATE, STATE)
    robot.bus("local_api", hears(heard, DISPENSER_STATE))
    until(lambda: heard == [STATE], "the listener has found the dispenser")
    other = DispenserState(2, "idle", None, "off")
    file = written(short_dir / "a", [(0.0, DISPENSER_STATE, other)])
    assert replay(robot, file) == 0
    until(lambda: heard == [STATE, other], "the dispenser has said it")


def test_signs_of_life_and_the_parts_of_absent_guardians_are_left_out_in_words(
    robot: Robot, short_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: list[Any] = []
    robot.bus("cloudlink", hears(heard, MOTION_BEAT, EVENT))
    file = written(short_dir / "a", [(0.0, MOTION_BEAT, Beat(7)), (0.0, EVENT, event(1)), (0.0, MOTION_BEAT, Beat(7))])
    assert replay(robot, file, "--wait", str(PATIENCE_S)) == 0
    until(lambda: len(heard) == 1, "the event was heard")
    assert heard == [event(1)]
    out, err = capsys.readouterr()
    assert "left out: motion/beat (signs of life" in err
    assert "left out: motion/state (said by a process that does not run" in err
    assert "1 message of 1 topic played, in the place of dispenser" in out
    assert replay(robot, file, "--topic", "motion/*") == 1
    assert "holds no message that can be played" in capsys.readouterr().err


def test_a_motion_that_runs_is_asked_for_no_sign_of_life(robot: Robot, short_dir: Path) -> None:
    heard: list[Any] = []
    robot.bus("motion", hears([]))
    robot.bus("guard", hears(heard, MOTION_BEAT))
    file = written(short_dir / "a", [(0.0, MOTION_BEAT, Beat(7))])
    assert replay(robot, file) == 1
    assert heard == []


def test_a_loop_goes_on_until_ctrl_c(robot: Robot, short_dir: Path) -> None:
    heard: list[Any] = []
    robot.bus("cloudlink", hears(heard, EVENT))
    file = written(short_dir / "a", [(0.0, EVENT, event(1)), (0.01, EVENT, event(2))])
    tool = robot.tool("replay", str(file), "--loop", "--wait", str(PATIENCE_S))
    until(lambda: len(heard) >= 7, "it was played again and again")
    interrupt(tool)
    assert heard[:6] == [event(1), event(2)] * 3


def test_a_broken_recording_is_refused_before_anything_is_played(
    robot: Robot, short_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: list[Any] = []
    robot.bus("cloudlink", hears(heard, EVENT))
    file = written(short_dir / "a", [(0.0, EVENT, event(1)), (0.0, EVENT, event(2))])
    file.write_bytes(file.read_bytes().replace(b'"n":2', b'"n":2,'))
    assert replay(robot, file) == 1
    assert f"wimz bus: {file}, line 3: JSON is malformed" in capsys.readouterr().err
    assert heard == []


def test_another_version_of_a_type_is_refused_unless_it_is_left_out(
    robot: Robot, short_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(short_dir / "a", [(0.0, EVENT, event(1))])
    old = str(TOPICS[DISPENSER_STATE.name].schema).encode()
    file.write_bytes(file.read_bytes().replace(old, b"1"))
    assert replay(robot, file) == 1
    assert "dispenser/state was recorded with another version of its type, DispenserState" in capsys.readouterr().err
    assert replay(robot, file, "-t", "dispenser/event", "--wait", "0") == 0


def test_what_cannot_be_played_is_told_in_words(
    robot: Robot, short_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(short_dir / "a", [(0.0, EVENT, event(1))])
    assert replay(robot, file, "-t", "dispenser/evnt") == 1
    assert "there is no topic 'dispenser/evnt'. Near it: dispenser/event" in capsys.readouterr().err
    assert replay(robot, short_dir / "none") == 1
    assert "cannot read" in capsys.readouterr().err
    (short_dir / "b").write_text("hello\n")
    assert replay(robot, short_dir / "b") == 1
    assert "line 1: not the header of a recording" in capsys.readouterr().err
