"""Every command by every path: REST, `/ws`, data channel, relay and bus lead to the same processes, which answer."""

from __future__ import annotations

import http.client
import itertools
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.demo_driver import until
from bench.motion_links import ChannelDriver, Loop, SocketDriver
from bench.motion_relay import Relay
from bench.motion_robot import Robot, Simulator
from bus.topics import COMMAND_TOPICS
from contract.commands import COMMANDS
from contract.errors import ContractError
from contract.rest import ROBOT_ROWS, Row
from contract.validate import convert

PATIENCE_S = 60.0
"""No figure of merit: a liveness limit for a machine that is busy with other things."""

BODIES: dict[str, dict[str, Any]] = {
    "motor": {"left": 0.0, "right": 0.0},
    "servo": {"pan": 5.0, "tilt": -5.0},
    "servo_center": {},
    "stop": {},
    "emergency_stop": {},
    "release": {},
    "treat": {},
    "carousel_rotate": {},
    "treat_refill": {"count": 30},
    "led": {"pattern": "rainbow"},
    "audio": {"file": "good_dog.mp3"},
    "audio_stop": {},
    "audio_toggle": {},
    "audio_next": {},
    "audio_previous": {},
    "audio_volume": {"level": 20},
    "audio_files": {},
    "audio_current": {},
    "mode": {"mode": "manual"},
    "mode_get": {},
    "mission_list": {},
    "mission_get": {"mission_id": "@mission"},
    "mission_start": {"mission_id": "@mission"},
    "mission_stop": {"mission_id": "@mission"},
    "get_status": {},
}
REST_BODIES: dict[str, dict[str, Any]] = {
    "POST /servo/pan": {"angle": 5.0},
    "POST /servo/tilt": {"angle": 5.0},
    "POST /led/color": {"r": 1, "g": 2, "b": 3},
}
"""Of the rows whose body is not the command's own."""
BY_TELEMETRY = {"get_status"}
"""What REST has under another name: GET /telemetry."""
ANYBODYS_CODES = {"UNAVAILABLE", "RATE_LIMITED"}
"""What a door may say by itself: it proves no process."""
COMMAND_ROWS = [row for row in ROBOT_ROWS if row.command is not None]
OTHER_NAMES = [(alias, spec.name) for spec in COMMANDS.values() for alias in spec.aliases]


class Door:
    """A robot, and someone at each of its doors.

    Args:
        sections: added to the robot's configuration.
    """

    def __init__(self, directory: Path, stack: ExitStack, sections: dict[str, Any] | None = None) -> None:
        loop = Loop()
        stack.callback(loop.close)
        simulator = Simulator(directory / "simulator")
        stack.callback(simulator.close)
        self.relay = Relay()
        stack.callback(self.relay.close)
        quick = {"dispenser": {"cooldown_s": 0}, "audio": {"output": "simulated"}} | (sections or {})
        environment = self.relay.robot_environment(self.relay.port)
        self.robot = Robot(directory / "robot", simulator.port, environment, quick)
        stack.callback(self.robot.close)
        self.robot.wait_until_up()
        self.relay.wait_for_robot()
        url = f"ws://127.0.0.1:{self.robot.port}/ws"
        self.sockets = {
            "/ws": SocketDriver(url),
            "relay": SocketDriver(f"ws://127.0.0.1:{self.relay.port}/ws/app", self.relay.token),
        }
        for socket in self.sockets.values():
            socket.open()
            stack.callback(socket.close)
        self.channel = ChannelDriver(loop, url)
        stack.callback(self.channel.close)
        self._ids = itertools.count(1)
        until(lambda: isinstance(self.ask("bus", "mission_list"), dict), PATIENCE_S, "missions answers")
        self.mission: str = self.ask("bus", "mission_list")["missions"][0]["id"]

    def body(self, command: str) -> dict[str, Any]:
        return {key: self.mission if value == "@mission" else value for key, value in BODIES[command].items()}

    def ask(self, path: str, command: str, name: str | None = None) -> Any:
        """The data of a command's result, or the code of its refusal."""
        if path == "bus":
            spec = COMMANDS[command]
            try:
                return msgspec.to_builtins(
                    self.robot.bus.request(COMMAND_TOPICS[command], convert(spec.body, self.body(command))).result(
                        PATIENCE_S
                    )
                )
            except ContractError as error:
                return error.code
        id_ = f"try-{next(self._ids)}"
        text = json.dumps({"command": name or command, "id": id_, **self.body(command)})
        if path == "data channel":
            try:
                self.channel.say(text, "events")
            except ConnectionError:  # a viewer that says nothing for a while is shown out
                self.channel.open()
                self.channel.say(text, "events")
            heard = self.channel.answers
        else:
            self.sockets[path].say(text)
            heard = self.sockets[path].frames
        result: dict[str, Any] = until(
            lambda: next((frame for frame in list(heard) if frame.get("id") == id_), None),
            PATIENCE_S,
            f"{text} by {path}",
        )
        assert (result["type"], result["command"]) == ("command_result", command)
        return result.get("data") or {} if result["success"] else result["error"]["code"]

    def call(self, row: Row) -> Any:
        """The reply of a REST row, or the code of its refusal."""
        assert row.command is not None
        body = REST_BODIES.get(f"{row.method} {row.path}", self.body(row.command.name))
        connection = http.client.HTTPConnection("127.0.0.1", self.robot.port, timeout=PATIENCE_S)
        path = row.path.replace("{id}", self.mission)
        headers = {"Content-Type": "application/json"}
        connection.request(row.method, path, json.dumps(body) if row.method == "POST" else None, headers)
        answer = connection.getresponse()
        reply = json.loads(answer.read())
        connection.close()
        return reply if answer.status == 200 else reply["error"]["code"]


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    directory = Path(tempfile.mkdtemp(prefix="wz-"))
    directory.chmod(0o711)
    try:
        with ExitStack() as stack:
            yield Door(directory, stack)
    finally:
        shutil.rmtree(directory)


def own_codes(command: str) -> set[str]:
    """What the process itself may refuse a command with."""
    return {code for row in COMMAND_ROWS if row.command is COMMANDS[command] for code in row.codes} - ANYBODYS_CODES


def assert_answered_by_its_process(command: str, answer: Any) -> None:
    if isinstance(answer, str):
        assert answer in own_codes(command), f"{command} was refused with {answer}"
    else:
        result = COMMANDS[command].result
        if result is not None:
            convert(result, answer)


def test_every_command_is_tried_here() -> None:
    assert set(BODIES) == set(COMMANDS)


def test_every_command_has_a_process_and_a_rest_row_and_every_row_a_command() -> None:
    assert set(COMMAND_TOPICS) == set(COMMANDS)
    with_row = {row.command.name for row in COMMAND_ROWS if row.command is not None}
    assert with_row == set(COMMANDS) - BY_TELEMETRY
    assert all(row.command is COMMANDS[row.command.name] for row in COMMAND_ROWS if row.command is not None)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("path", ["bus", "/ws", "data channel", "relay"])
def test_a_command_is_answered_by_its_process(door: Door, path: str, command: str) -> None:
    assert_answered_by_its_process(command, door.ask(path, command))


@pytest.mark.parametrize("row", COMMAND_ROWS, ids=lambda row: f"{row.method} {row.path}")
def test_a_rest_row_is_answered_by_the_process_of_its_command(door: Door, row: Row) -> None:
    assert row.command is not None
    answer = door.call(row)
    if isinstance(answer, str):
        assert answer in own_codes(row.command.name)
    else:
        convert(row.reply, answer)


@pytest.mark.parametrize(("alias", "command"), OTHER_NAMES)
@pytest.mark.parametrize("path", ["/ws", "data channel", "relay"])
def test_another_name_is_the_same_command(door: Door, path: str, alias: str, command: str) -> None:
    assert_answered_by_its_process(command, door.ask(path, command, alias))
    door.ask("bus", "release")
