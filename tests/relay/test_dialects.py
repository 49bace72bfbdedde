"""Robots and apps that are already out there, replayed as they were observed on the wire."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from relay.auth import sign

STATUS_F = {
    "battery": 78.5,
    "temperature": 42.0,
    "mode": "idle",
    "is_charging": False,
    "treats_remaining": 12,
    "connection_type": "wifi",
    "volume": 70,
    "camera_ok": True,
    "camera_error": None,
}


@pytest.fixture
def pair(relay: Any) -> tuple[Any, str, Any, Any]:
    """An account, its robot's id, robot F and app M, both connected as they do it."""
    account = relay.account()
    robot = relay.robot(account)
    device = robot.device_id
    field_robot = relay.open("/ws/device", robot.headers())
    field_robot.send({"type": "robot_connected", "device_id": device, "version": "1.0.0", "timestamp": time.time()})
    field_robot.send({"type": "get_profiles", "device_id": device})
    assert field_robot.get("profiles") == {"type": "profiles", "profiles": []}

    app = relay.open(f"/ws/app?token={account.token}")
    app.send({"type": "session_hello", "session_id": "s1", "device_id": device, "user_id": account.user_id})
    first = app.get("auth_result")
    assert first == {"type": "auth_result", "success": True, "user_id": account.user_id}
    assert app.seen == [first], "the first message is the sign-in"
    status = app.get("device_status")
    assert status["device_id"] == device
    assert (status["type"], status["status"], status["online"]) == ("device_status", "online", True)
    assert status["data"] == {"device_id": device, "is_online": True}
    assert app.get("session_ack") == {"type": "session_ack", "session_id": "s1"}
    assert field_robot.get("user_connected")["user_id"] == account.user_id
    return account, device, field_robot, app


def test_robot_f_reports_to_app_m(pair: Any) -> None:
    _, device, field_robot, app = pair
    field_robot.send({"event": "status", "device_id": device, "data": STATUS_F, "timestamp": "2026-01-01T00:00:00Z"})
    assert app.get("status")["data"] == STATUS_F
    treat = {"event": "treat_dispensed", "device_id": device, "remaining": 11, "dog_id": None}
    field_robot.send(treat | {"id": "9f" * 16, "timestamp": "2026-01-01T00:00:01Z"})
    told = app.get("treat_dispensed")
    assert (told["remaining"], told["seq"]) == (11, 1)
    assert field_robot.get("event_ack") == {"type": "event_ack", "ids": ["9f" * 16]}
    field_robot.send({"type": "mode_changed", "mode": "manual", "previous_mode": "idle", "locked": False})
    assert app.get("mode_changed")["device_id"] == device
    field_robot.send({"type": "battery", "level": 78.5, "voltage": 15.1, "charging": False})
    assert app.get("battery")["level"] == 78.5
    field_robot.send({"type": "heartbeat", "device_id": device, "timestamp": time.time()})
    field_robot.send({"type": "robot_disconnecting", "device_id": device, "reason": "shutdown"})
    field_robot.close()
    assert app.get("device_status", online=False)["status"] == "offline"


def test_app_m_commands_robot_f(pair: Any) -> None:
    _, device, field_robot, app = pair
    app.send({"type": "command", "command": "dispense_treat", "data": {}, "device_id": device})
    command = field_robot.get("command")
    assert (command["command"], command["data"], command["device_id"]) == ("dispense_treat", {}, device)
    assert isinstance(command["timestamp"], int)
    assert abs(command["timestamp"] / 1000 - time.time()) < 60
    field_robot.send({"type": "command_ack", "command": "dispense_treat", "success": True})
    app.send({"type": "command", "command": "set_mode", "data": {"mode": "silent_guardian"}, "device_id": device})
    assert field_robot.get("set_mode")["data"] == {"mode": "silent_guardian"}
    app.send({"type": "get_status"})
    app.get("status_response", device_paired=True, robot_online=True)
    assert not [message for message in app.seen if message.get("type") in ("command_ack", "command_result")]


def test_app_m_watches_robot_f(pair: Any) -> None:
    account, device, field_robot, app = pair
    app.send({"type": "webrtc_request", "device_id": device})
    credentials = app.get("webrtc_credentials")
    assert credentials["ice_servers"] == {"iceServers": []}
    request = field_robot.get("webrtc_request")
    session = request["session_id"]
    assert session == credentials["session_id"]
    assert (request["user_id"], request["role"]) == (account.user_id, "owner")
    field_robot.send({"type": "webrtc_offer", "session_id": session, "sdp": {"type": "offer", "sdp": "v=0"}})
    assert app.get("webrtc_offer")["sdp"] == {"type": "offer", "sdp": "v=0"}
    app.send({"type": "webrtc_answer", "session_id": session, "sdp": {"type": "answer", "sdp": "v=0"}})
    assert field_robot.get("webrtc_answer")["sdp"] == {"type": "answer", "sdp": "v=0"}
    ice = {"candidate": "candidate:1 1 udp 1 192.0.2.1 9 typ host", "sdpMid": "0", "sdpMLineIndex": 0}
    app.send({"type": "webrtc_ice", "session_id": session, "candidate": ice})
    assert field_robot.get("webrtc_ice")["candidate"] == ice
    app.send({"type": "webrtc_close", "session_id": session})
    assert field_robot.get("webrtc_close")["session_id"] == session
    field_robot.send({"type": "webrtc_close", "session_id": session})
    assert not [message for message in app.sync() if message.get("type") == "webrtc_close"], "never echoed"


def test_robot_f_may_use_the_same_signature_again_within_the_second(relay: Any) -> None:
    robot = relay.robot(relay.account())
    headers = robot.headers()
    for _ in range(2):
        relay.open("/ws/device", headers).get("paired", paired=True)


def test_robot_f_ping_frames_are_answered(relay: Any) -> None:
    opened = relay.device(relay.robot())
    assert opened.connection.ping().wait(5)


def test_robot_0_gets_flat_commands_under_their_contract_names(relay: Any) -> None:
    account = relay.account()
    robot = relay.robot(account)
    opened = relay.open(f"/ws/device?device_id={robot.device_id}&sig={sign(robot.secret, robot.device_id)}")
    opened.get("paired")
    app = relay.app(account)
    app.send({"command": "motor", "left": 0.5, "right": 0.5})
    assert opened.get("motor") == {"command": "motor", "left": 0.5, "right": 0.5}
    app.send({"type": "command", "command": "set_mode", "data": {"mode": "manual"}})
    assert opened.get("mode") == {"command": "mode", "mode": "manual"}
    opened.send({"event": "status", "data": {"battery": 50.0}, "timestamp": "2026-01-01T00:00:00Z"})
    assert app.get("status")["device_id"] == robot.device_id, "the relay says which robot it was"


def test_app_m_rest_calls(relay: Any) -> None:
    account = relay.account()
    robot = relay.robot(account)
    validated = relay.get("/api/auth/validate", token=account.token)
    assert validated.json == {"valid": True, "user_id": account.user_id, "email": account.email}
    listed = relay.get("/api/user/devices", token=account.token).json["devices"]
    assert [(one["device_id"], one["is_online"]) for one in listed] == [(robot.device_id, False)]
    own = relay.post("/api/user/pair-device", {"device_id": robot.device_id}, token=account.token)
    assert own.json == {"device_id": robot.device_id, "success": True}
    foreign = relay.post("/api/user/pair-device", {"device_id": relay.robot().device_id}, token=account.token)
    assert (foreign.status, foreign.code) == (404, "NOT_FOUND")
    assert relay.get("/health").json == {"status": "ok"}
    gone = relay.post("/api/user/unpair-device", {"device_id": robot.device_id}, token=account.token)
    assert gone.json == {"success": True}
    assert relay.get("/api/user/devices", token=account.token).json == {"devices": []}


def test_text_pings_are_answered_with_the_same_t(relay: Any) -> None:
    app = relay.app(relay.account())
    app.send({"type": "ping"})
    assert json.loads(app.connection.recv(timeout=5)) == {"type": "pong"}
    app.send({"type": "ping", "t": 12.5})
    assert app.get("pong")["t"] == 12.5
