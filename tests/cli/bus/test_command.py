"""`wimz bus` as people and programs use it, on a real process."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from typing import Any

import pytest

from bus.codec import Message
from bus.messages import Beat, RobotEvent
from bus.topics import COMMAND_TOPICS, EVENTS, MOTION_BEAT, TOPICS
from cli.main import main
from contract.commands import Driven
from contract.errors import ContractError
from tests.cli.bus.conftest import PATIENCE_S, Robot, interrupt, until

EVENT = EVENTS["dispenser"]
TREAT = '{"event": "treat", "data": {}, "id": "e1", "timestamp": ""}'


def wimz(robot: Robot, tool: str, *words: str) -> int:
    return main(["bus", tool, "--data", str(robot.data), *words])


def lines_until(tool: subprocess.Popen[str], count: int) -> list[str]:
    assert tool.stdout is not None
    return [tool.stdout.readline().rstrip("\n") for _ in range(count)]


# -- list -----------------------------------------------------------------------------------------


def test_the_table_is_printed_without_a_robot_too(robot: Robot, capsys: pytest.CaptureFixture[str]) -> None:
    assert wimz(robot, "list") == 0
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()[1:]] == list(TOPICS)
    assert "lan datachannel cloud: viewer, any rate" in out
    assert "No robot runs" in err


def test_the_table_tells_who_runs_and_how_old_a_state_is(robot: Robot, capsys: pytest.CaptureFixture[str]) -> None:
    robot.bus("motion").publish(MOTION_BEAT, Beat(7))
    assert wimz(robot, "list", "*/beat", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    motion, guard = found["topics"]
    assert found["running"] is True
    assert (motion["topic"], motion["kind"], motion["rate_hz"], motion["owner_runs"]) == (
        "motion/beat",
        "state",
        20.0,
        True,
    )
    assert 0 <= motion["age_s"] < PATIENCE_S
    assert (guard["owner_runs"], guard["age_s"]) == (False, None)


# -- echo -----------------------------------------------------------------------------------------


def test_echo_prints_the_messages_of_several_topics(robot: Robot, capsys: pytest.CaptureFixture[str]) -> None:
    robot.bus("motion").publish(MOTION_BEAT, Beat(7))
    robot.bus("guard").publish(TOPICS["guard/beat"], Beat(8))
    assert wimz(robot, "echo", "*/beat", "-n", "2", "--json") == 0
    heard = sorted((json.loads(line) for line in capsys.readouterr().out.splitlines()), key=lambda one: one["topic"])
    assert [(one["topic"], one["seq"], one["value"]) for one in heard] == [
        ("guard/beat", 1, {"pid": 8}),
        ("motion/beat", 1, {"pid": 7}),
    ]
    assert wimz(robot, "echo", "motion/beat", "-n", "1") == 0
    assert capsys.readouterr().out.rstrip().endswith('#1  {"pid": 7}')


def test_echo_says_what_it_waits_for_and_ends_with_ctrl_c(robot: Robot) -> None:
    tool = robot.tool("echo", "dispenser/event")
    assert tool.stderr is not None
    assert tool.stderr.readline() == "waiting for dispenser/event; not running: dispenser. Ctrl-C ends it.\n"
    interrupt(tool)


def test_a_tool_goes_on_when_the_owner_is_started_again(robot: Robot) -> None:
    robot.bus("motion").publish(MOTION_BEAT, Beat(1))
    tool = robot.tool("echo", "--json", "motion/beat")
    assert json.loads(lines_until(tool, 1)[0])["value"] == {"pid": 1}
    robot.end("motion")
    robot.bus("motion").publish(MOTION_BEAT, Beat(2))
    assert json.loads(lines_until(tool, 1)[0])["value"] == {"pid": 2}
    interrupt(tool)


# -- hz -------------------------------------------------------------------------------------------


def test_hz_measures_what_is_published(robot: Robot) -> None:
    motion = robot.bus("motion")
    tool = robot.tool("hz", "--json", "motion/beat")
    timer = motion.every(0.01, lambda: motion.publish(MOTION_BEAT, Beat(7)))
    reports: list[dict[str, Any]] = []
    until(lambda: _messages(tool, reports) > 100, "a hundred messages were heard")
    timer.cancel()
    until(lambda: _messages(tool, reports) >= 0 and reports[-1]["silent_s"] > 1, "the silence was noticed")
    interrupt(tool)
    last = reports[-1]
    assert last["nominal_hz"] == 20.0
    assert last["missed"] == 0
    assert last["interval_min_ms"] <= 1000 / last["rate_hz"] <= last["interval_max_ms"]
    # 36 bytes of names and numbers and the value: far from nothing, far from a kilobyte.
    assert 30 < last["bytes_per_s"] / last["rate_hz"] < 100


def _messages(tool: subprocess.Popen[str], reports: list[dict[str, Any]]) -> int:
    reports.append(json.loads(lines_until(tool, 1)[0]))
    return int(reports[-1]["messages"])


def test_hz_tells_people_that_nothing_comes(robot: Robot, capsys: pytest.CaptureFixture[str]) -> None:
    assert wimz(robot, "hz", "guard/beat", "-n", "1") == 0
    assert "guard/beat: nothing for 1.0" in capsys.readouterr().out


# -- call -----------------------------------------------------------------------------------------


def test_call_prints_the_reply_of_a_real_process(robot: Robot, capsys: pytest.CaptureFixture[str]) -> None:
    robot.start_simulator()
    assert wimz(robot, "call", "simulator/fault", '{"jam": true, "refill": 9}') == 0
    assert json.loads(capsys.readouterr().out)["carousel"]["treats_left"] == 9
    assert wimz(robot, "call", "simulator/read", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["success"] is True
    assert answer["reply"]["carousel"]["jammed"] is True


def test_what_is_not_accepted_is_told_before_anybody_is_asked(robot: Robot, capsys: pytest.CaptureFixture[str]) -> None:
    assert wimz(robot, "call", "motion/motor", '{"left": 5, "right": 0}') == 1
    assert (
        "INVALID_PARAMETER: `left`: expected `float` <= 1.0. Accepted: an object with left" in capsys.readouterr().err
    )
    assert wimz(robot, "call", "motion/motor", "{", "--json") == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "INVALID_JSON"


def test_nobody_there_is_said_at_once_and_a_refusal_in_the_owners_words(
    robot: Robot, capsys: pytest.CaptureFixture[str]
) -> None:
    assert wimz(robot, "call", "motion/motor", '{"left": 0, "right": 0}') == 1
    assert "UNAVAILABLE: motion does not run" in capsys.readouterr().err
    refusal = ContractError("BUSY", "Somebody else drives.", retry_after_s=0.4)

    def refuse(_: object) -> None:
        raise refusal

    robot.bus("motion", lambda bus: bus.serve(COMMAND_TOPICS["motor"], refuse))
    assert wimz(robot, "call", "motion/motor", '{"left": 0, "right": 0}') == 1
    assert "wimz bus: BUSY: Somebody else drives. Again in 0.4 s.\n" in capsys.readouterr().err


def test_a_call_comes_from_the_console_and_a_repeated_id_is_done_once(
    robot: Robot, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    def drive(request: Any) -> Driven:
        asked.append(request)
        return Driven(request.body.left, request.body.right)

    robot.bus("motion", lambda bus: bus.serve(COMMAND_TOPICS["motor"], drive))
    for _ in range(2):
        assert wimz(robot, "call", "motion/motor", '{"left": 0.5, "right": -0.5}', "--id", "a") == 0
        assert json.loads(capsys.readouterr().out) == {"left": 0.5, "right": -0.5}
    assert len(asked) == 1
    assert asked[0].origin.source == "console"


def test_a_call_without_an_answer_ends_at_its_deadline_and_says_what_is_not_known(
    robot: Robot, capsys: pytest.CaptureFixture[str]
) -> None:
    hung = threading.Event()

    def hang() -> None:
        hung.wait(PATIENCE_S)

    robot.bus("dispenser", lambda bus: bus.call_soon(hang))
    assert wimz(robot, "call", "dispenser/treat", "--timeout", "0.3") == 1
    hung.set()
    err = capsys.readouterr().err
    assert "UNAVAILABLE" in err
    assert "Whether it was carried out is not known" in err


# -- pub ------------------------------------------------------------------------------------------


def test_pub_speaks_through_a_real_process(robot: Robot, capsys: pytest.CaptureFixture[str]) -> None:
    robot.start_simulator()
    heard: list[Message[RobotEvent]] = []
    robot.bus("cloudlink", lambda bus: bus.subscribe(EVENTS["simulator"], heard.append))

    def said_and_heard() -> bool:
        assert wimz(robot, "pub", "simulator/event", TREAT) == 0
        assert capsys.readouterr().out == "simulator/event: published 1 time by simulator\n"
        return bool(heard)

    until(said_and_heard, "the simulator said it")
    assert heard[0].sender.startswith("simulator#")
    assert heard[0].value.id == "e1"


def test_pub_takes_the_place_of_an_owner_that_does_not_run(robot: Robot, capsys: pytest.CaptureFixture[str]) -> None:
    heard: list[RobotEvent] = []
    robot.bus("cloudlink", lambda bus: bus.subscribe(EVENT, lambda message: heard.append(message.value)))
    assert wimz(robot, "pub", "dispenser/event", TREAT, "-n", "3", "--rate", "100") == 0
    assert capsys.readouterr().out == "dispenser/event: published 3 times in the place of dispenser\n"
    until(lambda: len(heard) == 3, "all three were heard")


def test_pub_to_nobody_fails_and_says_so(robot: Robot, capsys: pytest.CaptureFixture[str]) -> None:
    assert wimz(robot, "pub", "dispenser/event", TREAT, "--wait", "0.1") == 1
    assert "nobody listens to dispenser/event" in capsys.readouterr().err
    assert wimz(robot, "pub", "dispenser/event", TREAT, "--wait", "0", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"topic": "dispenser/event", "published": 1, "in_place": True}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("motion/beat", '{"pid": 1}'), "motion/beat is a sign of life: nobody else may say it"),
        (("dispenser/event", '{"event": 1}'), "dispenser/event: `event`: expected `str`"),
        (("motion/motor", "{}"), "`wimz bus call`"),
        (("dispenser/evnt", "{}"), "Near it: dispenser/event"),
        (("motion/fault", '{"code":"a","message":"b","severity":"info"}'), "nobody may take its place"),
    ],
)
def test_pub_refuses_in_words(
    robot: Robot, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], complaint: str
) -> None:
    assert wimz(robot, "pub", *words) == 1
    assert complaint in capsys.readouterr().err


# -- all ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [["echo", "motion/beat"], ["hz", "motion/beat"], ["call", "motion/stop"], ["pub", "dispenser/event", TREAT]],
)
def test_every_tool_says_how_to_get_a_robot(
    words: list[str], short_dir: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bus", *words, "--data", str(short_dir / "none")]) == 1
    assert "no robot runs with" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["bus"],
        ["bus", "dance"],
        ["bus", "echo"],
        ["bus", "hz", "motion/beat", "--window", "1"],
        ["bus", "pub", "x", "--rate", "nan"],
        ["bus", "echo", "x", "-n", "0"],
        ["bus", "replay", "x", "--speed", "0"],
    ],
)
def test_wrong_usage_ends_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(words)
    assert exit_.value.code == 2
    assert "usage: wimz bus" in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_ends_echo_well(robot: Robot) -> None:
    motion = robot.bus("motion")
    timer = motion.every(0.005, lambda: motion.publish(MOTION_BEAT, Beat(7)))
    tool = robot.tool("echo", "motion/beat")
    assert tool.stdout is not None
    lines_until(tool, 1)
    tool.stdout.close()
    assert tool.wait(PATIENCE_S) == 0
    timer.cancel()


def test_sigterm_ends_a_tool_like_ctrl_c(robot: Robot) -> None:
    robot.bus("motion").publish(MOTION_BEAT, Beat(7))
    tool = robot.tool("echo", "motion/beat")
    lines_until(tool, 1)
    tool.send_signal(signal.SIGTERM)
    assert tool.wait(PATIENCE_S) == 0
