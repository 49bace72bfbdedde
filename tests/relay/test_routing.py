"""What messages mean, without a socket."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from contract.errors import ContractError
from relay.routing import (
    AppSender,
    Reply,
    Result,
    Seen,
    ShowCode,
    Signal,
    Status,
    Store,
    ToAudience,
    ToRobot,
    Unknown,
    Watch,
    added,
    choose_device,
    device_status,
    error_frame,
    flattened,
    refusal,
    route_app,
    route_robot,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def _sender(**roles: Any) -> AppSender:
    return AppSender("w.s", "u_1", roles or {"r1": "owner"}, webrtc={"w.v": "r1"}, ended=["w.old"])


def _app(message: Any, sender: AppSender | None = None) -> Any:
    return route_app(sender or _sender(), json.dumps(message).encode(), 1_700_000_000_000)


def _robot(message: Any) -> Any:
    return route_robot("r1", json.dumps(message).encode(), NOW)


def _code(action: Any) -> str:
    assert isinstance(action, Reply)
    answer = json.loads(action.payload)
    return str(answer["code"] if answer["type"] == "error" else answer["error"]["code"])


@pytest.mark.parametrize(
    "message",
    [
        {"command": "motor", "left": 0.5, "right": -1, "t": 12.5},
        {"type": "command", "command": "motor", "data": {"left": 0.5, "right": -1}, "device_id": "r1", "t": 12.5},
        {"command": "motor", "left": 0.5, "right": -1, "t": 12.5, "role": "god", "user_id": "x", "id": None},
    ],
)
def test_motion_is_rebuilt_from_its_fields_with_who_sent_it(message: Any) -> None:
    action = _app(message)
    assert isinstance(action, ToRobot)
    assert (action.device_id, action.key, action.urgent, action.id) == ("r1", "motor:w.s", False, None)
    assert json.loads(action.payload) == {
        "type": "command",
        "command": "motor",
        "data": {"left": 0.5, "right": -1.0},
        "device_id": "r1",
        "user_id": "u_1",
        "role": "owner",
        "session": "w.s",
        "timestamp": 1_700_000_000_000,
        "t": 12.5,
    }


def test_a_command_with_an_id_is_never_replaced_by_a_later_one() -> None:
    action = _app({"command": "motor", "left": 0, "right": 0, "id": 5})
    assert (action.key, action.id, json.loads(action.payload)["id"]) == (None, 5, 5)


def test_stop_is_urgent_and_names_go_on_as_they_were_written() -> None:
    assert _app({"command": "stop"}).urgent
    assert _app({"command": "emergency"}).urgent
    assert json.loads(_app({"command": "dispense_treat"}).payload)["command"] == "dispense_treat"
    servo = json.loads(_app({"command": "servo", "pan": 10}).payload)
    assert servo["data"] == {"pan": 10.0}


def test_roles_limit_commands() -> None:
    viewer = _sender(r1="viewer")
    assert _code(_app({"command": "motor", "left": 0, "right": 0}, viewer)) == "NOT_AUTHORIZED"
    assert isinstance(_app({"command": "emergency_stop"}, viewer), ToRobot)
    assert isinstance(_app({"command": "treat"}, _sender(r1="driver")), ToRobot)


def test_a_changed_role_shows_in_the_next_command() -> None:
    sender = _sender()
    assert json.loads(_app({"command": "stop"}, sender).payload)["role"] == "owner"
    sender.set_roles({"r1": "viewer"})
    assert json.loads(_app({"command": "stop"}, sender).payload)["role"] == "viewer"


def test_choosing_a_robot() -> None:
    assert choose_device({"a": "owner"}, None) == "a"
    assert choose_device({"a": "owner", "b": "owner"}, "b") == "b"
    for roles, device_id, code in (
        ({}, None, "NOT_PAIRED"),
        ({"a": "owner", "b": "owner"}, None, "NO_DEVICE"),
        ({"a": "owner"}, "c", "NOT_AUTHORIZED"),
    ):
        with pytest.raises(ContractError) as refused:
            choose_device(roles, device_id)  # type: ignore[arg-type]
        assert refused.value.code == code


def test_app_frames() -> None:
    assert json.loads(_app({"type": "ping", "t": 3}).payload) == {"type": "pong", "t": 3.0}
    assert json.loads(_app({"type": "session_hello", "session_id": "s"}).payload)["type"] == "session_ack"
    assert _app({"type": "get_status"}) == Status(None)
    assert _app({"type": "get_status", "device_id": "r1"}) == Status("r1")
    assert _app({"type": "webrtc_request"}) == Watch("r1")
    assert _app({"type": "auth", "token": "x"}) is None
    assert _code(_app({"type": "event"})) == "INVALID_PARAMETER"


def test_signalling_is_heard_only_for_ones_own_sessions() -> None:
    close = {"type": "webrtc_close", "session_id": "w.v"}
    assert _app(close) == Signal("w.v", json.dumps(close).encode(), ends=True)
    assert not _app({"type": "webrtc_ice", "session_id": "w.v", "candidate": None}).ends
    assert _app({"type": "webrtc_close", "session_id": "w.old"}) is None
    assert _code(_app({"type": "webrtc_close", "session_id": "w.other"})) == "NOT_AUTHORIZED"


def test_events_without_an_id_only_pass_through() -> None:
    action = _robot({"event": "status", "data": {"battery": 1}})
    assert isinstance(action, ToAudience)
    assert json.loads(action.payload)["device_id"] == "r1"
    own = b'{"event":"status","device_id":"r1"}'
    assert route_robot("r1", own, NOW) == ToAudience(own)
    assert isinstance(_robot({"type": "battery", "level": 5}), ToAudience)
    assert isinstance(_robot({"type": "mode_changed", "mode": "idle"}), ToAudience)


@pytest.mark.parametrize(
    ("timestamp", "happened"),
    [
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        (1_767_225_600, "2026-01-01T00:00:00.000Z"),
        (1_767_225_600_000, "2026-01-01T00:00:00.000Z"),
        (1e300, "2026-01-02T03:04:05.000Z"),
        (None, "2026-01-02T03:04:05.000Z"),
    ],
)
def test_events_with_an_id_are_stored_whatever_their_clock_writes(timestamp: Any, happened: str) -> None:
    action = _robot({"event": "treat", "data": {"remaining": 1}, "id": "e", "timestamp": timestamp})
    assert isinstance(action, Store)
    event = action.event
    assert (event.device_id, event.id, event.event, event.data) == ("r1", "e", "treat", {"remaining": 1})
    assert event.happened == happened


def test_flat_fields_of_an_event_become_its_data() -> None:
    action = _robot({"event": "treat_dispensed", "device_id": "r1", "remaining": 11, "dog_id": None, "id": "e"})
    assert action.event.data == {"remaining": 11, "dog_id": None}


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"event": "status", "device_id": "r2"}, "NOT_AUTHORIZED"),
        ({"event": ""}, "INVALID_PARAMETER"),
        ({"event": "x" * 65}, "INVALID_PARAMETER"),
        ({"event": "treat", "id": "has space"}, "INVALID_PARAMETER"),
        ({"event": "treat", "id": "e", "data": {"x": "a\0"}}, "INVALID_PARAMETER"),
        ({"hello": 1}, "INVALID_PARAMETER"),
        ({"type": "webrtc_offer", "session_id": "w.v"}, "INVALID_PARAMETER"),
    ],
)
def test_what_a_robot_may_not_say(message: Any, code: str) -> None:
    assert _code(_robot(message)) == code


def test_robot_frames() -> None:
    offer = {"type": "webrtc_offer", "session_id": "w.v", "sdp": {"type": "offer", "sdp": "v=0"}}
    assert _robot(offer) == Signal("w.v", json.dumps(offer).encode(), ends=False)
    assert _robot({"type": "webrtc_close", "session_id": "w.v"}).ends
    assert _robot({"type": "get_pairing_code"}) == ShowCode()
    assert _robot({"type": "robot_connected", "version": "1", "timestamp": 1.5}) == Seen("1", None)
    assert _robot({"type": "command_ack", "command": "treat"}) == Unknown()
    assert _robot({"type": "from the future"}) == Unknown()
    result = {"type": "command_result", "id": "c", "command": "treat", "success": True}
    assert _robot(result) == Result("c", None, json.dumps(result).encode())
    assert _robot(result | {"session": "w.s"}).session == "w.s"


def test_a_robots_video_failure_is_told_as_an_error() -> None:
    action = _robot({"type": "webrtc_error", "session_id": "w.v", "error": "full", "code": "VIEWER_LIMIT"})
    told = json.loads(action.payload)
    assert (action.ends, told["type"], told["code"], told["message"]) == (True, "error", "VIEWER_LIMIT", "full")
    unknown = _robot({"type": "webrtc_error", "session_id": "w.v", "error": "?", "code": "WHATEVER"})
    assert json.loads(unknown.payload)["code"] == "UNAVAILABLE"


def test_making_messages() -> None:
    assert json.loads(added(b'{"a":1} \n', b'"seq":2')) == {"a": 1, "seq": 2}
    wrapped = _app({"command": "set_mode", "data": {"mode": "coach"}}).payload
    assert json.loads(flattened(wrapped)) == {"command": "mode", "mode": "coach"}
    error = ContractError("CLOCK_SKEW", "Wrong.", server_time=5.0)
    assert json.loads(error_frame(error)) == {
        "type": "error",
        "code": "CLOCK_SKEW",
        "message": "Wrong.",
        "server_time": 5.0,
    }
    assert json.loads(refusal(error, "treat", 0))["id"] == 0
    assert json.loads(refusal(error, "treat", None))["type"] == "error"
    assert json.loads(device_status("r1", False, NOW, "viewer"))["data"] == {"device_id": "r1", "is_online": False}
