"""What a socket may carry, and what becomes of one that carries anything else."""

from __future__ import annotations

import time
from typing import Any

import pytest


@pytest.fixture
def pair(relay: Any) -> tuple[Any, Any, str]:
    """A robot and its owner's app, and the robot's id."""
    account = relay.account()
    robot = relay.robot(account)
    opened = relay.device(robot)
    app = relay.app(account)
    app.get("device_status", online=True)
    return opened, app, robot.device_id


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "INVALID_JSON"),
        ('{"command":"motor","left":NaN,"right":0}', "INVALID_JSON"),
        ('{"command":"motor","left":Infinity,"right":0}', "INVALID_JSON"),
        ('{"command":"motor","left":1e999,"right":0}', "INVALID_JSON"),
        ('{"command":"motor","left":1.5,"right":0}', "INVALID_PARAMETER"),
        ('{"command":"motor","left":"1","right":0}', "INVALID_PARAMETER"),
        ('{"command":"motor","left":1}', "INVALID_PARAMETER"),
        ('{"command":"servo"}', "INVALID_PARAMETER"),
        ('{"command":"audio","file":"../etc/passwd"}', "INVALID_PARAMETER"),
        ('{"command":"fly"}', "UNKNOWN_COMMAND"),
        ('{"type":"command","command":"led","data":[]}', "INVALID_PARAMETER"),
        ('{"type":"fly"}', "INVALID_PARAMETER"),
        ("{}", "INVALID_PARAMETER"),
        ("[]", "INVALID_PARAMETER"),
        ("17", "INVALID_PARAMETER"),
        ('{"type":["ping"]}', "INVALID_PARAMETER"),
        ('{"type":"webrtc_answer","session_id":"x"}', "INVALID_PARAMETER"),
        ('{"command":"motor","left":0,"right":0,"x":' + "[" * 80 + "]" * 80 + "}", "INVALID_PARAMETER"),
        ('{"command":"motor","left":0,"right":0,"x":' + "[" * 30_000 + "]" * 30_000 + "}", "INVALID_JSON"),
    ],
)
def test_bad_messages_get_an_error_and_reach_nobody(pair: Any, message: str, code: str) -> None:
    opened, app, _ = pair
    app.send(message)
    assert app.get("error")["code"] == code
    assert not [seen for seen in opened.sync() if "command" in seen]
    app.sync()


def test_a_refused_command_with_an_id_gets_exactly_one_result(pair: Any) -> None:
    _, app, _ = pair
    for message, code in (
        ('{"command":"motor","left":2,"right":0,"id":"a"}', "INVALID_PARAMETER"),
        ('{"command":"fly","id":"b"}', "UNKNOWN_COMMAND"),
        ('{"command":"treat","id":"c","device_id":"wimz_not_mine"}', "NOT_AUTHORIZED"),
    ):
        app.send(message)
        result = app.get("command_result")
        assert (result["success"], result["error"]["code"]) == (False, code)
    assert [message.get("type") for message in app.sync()] == []


def test_nobody_gives_himself_a_role_or_another_name(pair: Any) -> None:
    opened, app, _ = pair
    app.send('{"command":"motor","left":0.1,"right":0.2,"user_id":"root","role":"god","session":"x","timestamp":1}')
    command = opened.get("motor")
    assert command["data"] == {"left": 0.1, "right": 0.2}
    assert command["role"] == "owner"
    assert command["user_id"].startswith("u_")
    assert (command["session"] != "x", command["timestamp"] > 1) == (True, True)


def test_a_robot_speaks_only_for_itself(pair: Any) -> None:
    opened, app, _ = pair
    opened.send({"event": "status", "device_id": "wimz_other", "data": {"battery": 1}})
    opened.get("error", code="NOT_AUTHORIZED")
    opened.send('{"event":"status","data":{"battery":NaN}}')
    opened.get("error", code="INVALID_JSON")
    opened.send({"type": "never heard of"})
    opened.sync()
    assert not [message for message in app.sync() if message.get("event") == "status"]


def test_a_message_that_is_too_large_closes_with_1009(pair: Any) -> None:
    _, app, _ = pair
    app.send('{"type":"ping","x":"' + "a" * 60_000 + '"}')
    app.get("pong")
    app.send("x" * 70_000)
    assert app.closed() == 1009


def test_binary_and_broken_text_are_closed_with_their_codes(relay: Any) -> None:
    account = relay.account()
    binary, broken = relay.app(account), relay.app(account)
    binary.connection.send(b"{}")
    assert binary.closed() == 1003
    broken.connection.send(b'{"type":"\xff"}', text=True)
    assert broken.closed() == 1007


def test_fragments_are_put_together(pair: Any) -> None:
    opened, app, _ = pair
    app.connection.send(iter(['{"command":', '"treat",', '"id":"parts"}']))
    opened.get("treat", id="parts")


def test_compression_is_declined(relay: Any) -> None:
    app = relay.app(relay.account(), compression="deflate")
    assert app.connection.protocol.extensions == []


def test_an_app_with_several_robots_says_which(relay: Any) -> None:
    account = relay.account()
    robots = [relay.robot(account), relay.robot(account)]
    opened = [relay.device(robot) for robot in robots]
    app = relay.app(account)
    app.send({"command": "treat"})
    assert app.get("error")["code"] == "NO_DEVICE"
    app.send({"command": "treat", "device_id": robots[1].device_id})
    opened[1].get("treat")
    assert not [message for message in opened[0].sync() if "command" in message]


def test_a_reader_that_stops_reading_is_closed_and_harms_nobody(relay: Any) -> None:
    account, other_account = relay.account(), relay.account()
    opened = relay.device(relay.robot(account))
    other = relay.device(relay.robot(other_account))
    other_app = relay.app(other_account)
    with relay.raw(account):
        event = {"event": "status", "data": {"filler": "x" * 30_000}}
        deadline = time.monotonic() + 20
        while not _too_slow(relay):
            assert time.monotonic() < deadline
            for _ in range(50):
                opened.send(event)
            opened.sync()
            other_app.send({"command": "motor", "left": 0.1, "right": 0.1})
            other.get("motor")


def _too_slow(relay: Any) -> bool:
    """Whether a connection was closed with 4008; the workers' figures are shared every two seconds."""
    lines = relay.get("/metrics").body.decode().splitlines()
    return any('code="4008",kind="app"' in line and not line.endswith(" 0") for line in lines)


def test_events_are_acknowledged_again_but_told_once(pair: Any) -> None:
    opened, app, _ = pair
    event = {"event": "treat", "data": {"dispensed": True, "remaining": 1}, "id": "once"}
    for _ in range(3):
        opened.send(event)
        opened.get("event_ack", ids=["once"])
    app.get("treat", id="once", seq=1)
    assert not [message for message in app.sync() if message.get("event") == "treat"]


def test_no_more_than_eight_video_sessions_at_a_time(pair: Any) -> None:
    _, app, _ = pair
    for _ in range(8):
        app.send({"type": "webrtc_request"})
        app.get("webrtc_credentials")
    app.send({"type": "webrtc_request"})
    assert app.get("error")["code"] == "VIEWER_LIMIT"
