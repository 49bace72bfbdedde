"""The door from outside: roles, rates, staleness, and exactly one answer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.codec import Request
from bus.gateway import Gateway, Session, Staleness, TokenBucket
from bus.memory import MemoryBus, MemoryHub
from bus.messages import Origin
from bus.topics import COMMAND_TOPICS, DRIVER_GONE
from contract import commands
from contract.commands import COMMANDS, CommandResult
from contract.errors import ContractError
from contract.frames import Error


class Robot:
    """A hub with a motion and a dispenser that note what they were asked."""

    def __init__(self) -> None:
        self.hub = MemoryHub()
        self.lan: MemoryBus = self.hub.bus("local_api")
        self.asked: list[Request[Any]] = []
        self.gone: list[Origin] = []
        self.answers: list[CommandResult | Error] = []
        motion, dispenser = self.hub.bus("motion"), self.hub.bus("dispenser")
        motion.serve(COMMAND_TOPICS["motor"], self._note(commands.Driven(0.1, 0.2)))
        motion.serve(COMMAND_TOPICS["stop"], self._note(None))
        motion.serve(DRIVER_GONE, lambda request: self.gone.append(request.body.origin))
        dispenser.serve(COMMAND_TOPICS["treat"], self._note(commands.Dispensed(4, True)))

    def _note(self, reply: Any) -> Any:
        def serve(request: Request[Any]) -> Any:
            self.asked.append(request)
            return reply

        return serve

    def session(self, role: Any = "owner", session: str = "s1", user_id: str | None = None) -> Session:
        return Gateway(self.lan).open(Origin("lan", session, user_id, role))

    def send(self, session: Session, message: dict[str, Any], **options: Any) -> list[CommandResult | Error]:
        self.answers.clear()
        session.submit(message, self.hub.now, self.answers.append, **options)
        self.hub.run()
        return list(self.answers)


@pytest.fixture
def robot() -> Robot:
    return Robot()


def test_a_command_with_an_id_is_answered_after_the_deed(robot: Robot) -> None:
    session = robot.session()
    session.submit({"command": "motor", "left": 1, "right": 0.5, "id": "7"}, robot.hub.now, robot.answers.append)
    assert not robot.answers
    robot.hub.run()
    assert robot.asked[0].body == commands.Motor(1.0, 0.5)
    assert robot.asked[0].origin == session.origin
    assert robot.answers == [CommandResult(id="7", command="motor", success=True, data=commands.Driven(0.1, 0.2))]


def test_a_command_without_an_id_gets_no_answer_when_it_is_done(robot: Robot) -> None:
    assert robot.send(robot.session(), {"command": "motor", "left": 1, "right": 1}) == []
    assert len(robot.asked) == 1


def test_an_alias_and_the_wrapped_form_mean_the_same(robot: Robot) -> None:
    message = {"type": "command", "command": "dispense_treat", "data": {}, "id": 5, "device_id": "wimz_1"}
    (answer,) = robot.send(robot.session(), message)
    assert answer == CommandResult(id=5, command="treat", success=True, data=commands.Dispensed(4, True))


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"command": "motor", "left": 2, "right": 0}, "INVALID_PARAMETER"),
        ({"command": "motor", "left": "1", "right": 0}, "INVALID_PARAMETER"),
        ({"command": "motor", "left": True, "right": 0}, "INVALID_PARAMETER"),
        ({"command": "motor"}, "INVALID_PARAMETER"),
        ({"command": "fly"}, "UNKNOWN_COMMAND"),
        ({"command": 7}, "INVALID_PARAMETER"),
        ({"command": "audio", "file": "../../etc/passwd"}, "INVALID_PARAMETER"),
    ],
)
def test_a_refusal_is_told_once_with_and_without_an_id(robot: Robot, message: dict[str, Any], code: str) -> None:
    (answer,) = robot.send(robot.session(), message)
    assert isinstance(answer, Error)
    assert answer.code == code
    (answer,) = robot.send(robot.session(), message | {"id": "x"})
    assert isinstance(answer, CommandResult)
    assert (answer.id, answer.success, answer.error.code) == ("x", False, code)
    assert not robot.asked


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_viewer_may_only_look_and_stop(robot: Robot, name: str) -> None:
    session = robot.session(role="viewer")
    bodies = {
        "motor": commands.Motor(0, 0),
        "servo": commands.Servo(pan=0),
        "led": commands.Led(pattern="off"),
        "audio": commands.Audio("a.wav"),
        "audio_volume": commands.Volume(5),
        "mode": commands.ModeChange("idle"),
        "mission_start": commands.MissionRef("sit"),
        "mission_stop": commands.MissionRef("sit"),
    }
    future = session.carry_out(commands.Command(COMMANDS[name], bodies.get(name, commands.Nothing())), robot.hub.now)
    robot.hub.advance(20)
    error = future.exception()
    refused = isinstance(error, ContractError) and error.code == "NOT_AUTHORIZED"
    assert refused == (
        name
        not in (
            "stop",
            "emergency_stop",
            "get_status",
            "audio_files",
            "audio_current",
            "mode_get",
            "mission_list",
            "mission_get",
        )
    )


def test_a_repeated_id_after_a_reconnect_is_not_carried_out_again(robot: Robot) -> None:
    for session in ("s1", "s2"):
        (answer,) = robot.send(robot.session(session=session, user_id="u1"), {"command": "treat", "id": "t1"})
        assert isinstance(answer, CommandResult)
        assert answer.success
    assert len(robot.asked) == 1


def test_one_id_of_two_people_is_two_commands(robot: Robot) -> None:
    for user in ("u1", "u2"):
        robot.send(robot.session(user_id=user), {"command": "treat", "id": "1"})
    assert len(robot.asked) == 2


def test_a_burst_of_held_up_motion_moves_nothing(robot: Robot) -> None:
    session = robot.session()
    robot.send(session, {"command": "motor", "left": 1, "right": 1, "t": 5_000.0})
    robot.hub.advance(2.0)  # the link stalls, then delivers two seconds of commands at once
    for age_ms in range(2000, 0, -50):
        robot.send(session, {"command": "motor", "left": 1, "right": 1, "t": 7_000.0 - age_ms})
    assert len(robot.asked) == 1 + 10
    assert robot.lan.counters["gateway.refused.STALE_COMMAND"] == 30


def test_a_command_is_as_old_as_its_coming_in_however_late_its_turn_was(robot: Robot) -> None:
    received = robot.hub.now
    robot.hub.advance(0.3)
    robot.session().submit({"command": "motor", "left": 1, "right": 1}, received, robot.answers.append)
    robot.hub.run()
    assert [request.sent_ns / 1e9 for request in robot.asked] == [pytest.approx(received)]


def test_motion_without_a_time_is_dropped_while_the_link_is_silent(robot: Robot) -> None:
    session = robot.session()
    drive = {"command": "motor", "left": 1, "right": 1}
    assert robot.send(session, drive, link_fresh=False) == []
    assert robot.asked == []
    (answer,) = robot.send(session, drive | {"id": 1}, link_fresh=False)
    assert isinstance(answer, CommandResult)
    assert answer.error.code == "STALE_COMMAND"
    robot.send(session, {"command": "stop"}, link_fresh=False)
    assert [request.topic.name for request in robot.asked] == ["motion/stop"]


def test_a_flood_is_limited_but_never_a_stop(robot: Robot) -> None:
    session = robot.session()
    for _ in range(500):
        session.submit({"command": "treat"}, robot.hub.now, robot.answers.append)
        session.submit({"command": "stop"}, robot.hub.now, robot.answers.append)
    robot.hub.run()
    names = [request.topic.name for request in robot.asked]
    assert names.count("motion/stop") == 500
    assert names.count("dispenser/treat") <= COMMANDS["treat"].rate_hz
    assert {answer.code for answer in robot.answers if isinstance(answer, Error)} == {"RATE_LIMITED"}


def test_a_closed_session_lets_go_of_the_wheel(robot: Robot) -> None:
    idle, driving = robot.session(session="idle"), robot.session(session="driving")
    robot.send(driving, {"command": "motor", "left": 1, "right": 1})
    for session in (idle, driving, driving):
        session.close()
    robot.hub.run()
    assert robot.gone == [driving.origin]


@given(
    offset_ms=st.floats(0, 1e9),
    delays_ms=st.lists(st.floats(0, 5000), min_size=1, max_size=30),
)
def test_age_is_the_delay_beyond_the_fastest_message(offset_ms: float, delays_ms: list[float]) -> None:
    staleness = Staleness()
    for number, delay_ms in enumerate(delays_ms):
        sent_ms = offset_ms + number * 50
        received = 17.0 + (number * 50 + delay_ms) / 1000
        age_s = staleness.age_s(sent_ms, received)
        assert age_s == pytest.approx((delay_ms - min(delays_ms[: number + 1])) / 1000, abs=1e-6)


@given(gaps_s=st.lists(st.floats(0, 2), max_size=100))
def test_a_bucket_never_lets_more_through_than_its_rate(gaps_s: list[float]) -> None:
    bucket, now, passed = TokenBucket(10.0, 5.0, 0.0), 0.0, 0
    for gap_s in gaps_s:
        now += gap_s
        passed += bucket.take(now) == 0
    assert passed <= 5 + 10 * now + 1
