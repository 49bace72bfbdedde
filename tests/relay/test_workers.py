"""App and robot on different workers of one relay, and what is left when a worker goes."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus


def _apart(relay: Any) -> tuple[Any, Any, Any, Any]:
    """An account, its robot's identity, and both their sockets on different workers."""
    account = relay.account()
    robot = relay.robot(account)
    opened = relay.device(robot)
    app = relay.on_worker(relay.pid_of(opened), lambda: relay.app(account), other=True)
    app.get("device_status", online=True)
    return account, robot, opened, app


def test_commands_results_and_events_cross_workers(relay: Any) -> None:
    account, robot, opened, app = _apart(relay)
    opened.get("user_connected", user_id=account.user_id)
    app.send({"command": "treat", "id": "t-1"})
    command = opened.get("treat", id="t-1")
    assert (command["user_id"], command["role"]) == (account.user_id, "owner")
    assert command["session"]
    opened.send({"type": "command_result", "id": "t-1", "command": "treat", "success": True, "data": {"remaining": 3}})
    assert app.get("command_result", id="t-1")["data"] == {"remaining": 3}
    opened.send({"event": "treat", "data": {"dispensed": True, "remaining": 3}, "id": "e1"})
    event = app.get("treat")
    assert (event["device_id"], event["seq"], event["id"]) == (robot.device_id, 1, "e1")
    assert opened.get("event_ack")["ids"] == ["e1"]


def test_signalling_crosses_workers_and_stays_between_the_two(relay: Any) -> None:
    _, _, opened, app = _apart(relay)
    app.send({"type": "webrtc_request"})
    session = app.get("webrtc_credentials")["session_id"]
    assert opened.get("webrtc_request")["session_id"] == session
    opened.send({"type": "webrtc_offer", "session_id": session, "sdp": {"type": "offer", "sdp": "v=0"}})
    app.get("webrtc_offer", session_id=session)
    app.send({"type": "webrtc_answer", "session_id": session, "sdp": {"type": "answer", "sdp": "v=0"}})
    opened.get("webrtc_answer", session_id=session)
    stranger_account = relay.account()
    stranger_robot = relay.device(relay.robot(stranger_account))
    stranger = relay.app(stranger_account)
    stranger.send({"type": "webrtc_answer", "session_id": session, "sdp": {"type": "answer", "sdp": "evil"}})
    stranger.get("error", code="NOT_AUTHORIZED", session_id=session)
    stranger_robot.send({"type": "webrtc_offer", "session_id": session, "sdp": {"type": "offer", "sdp": "evil"}})
    stranger_robot.sync()
    opened.send({"type": "webrtc_error", "session_id": session, "error": "two viewers", "code": "VIEWER_LIMIT"})
    error = app.get("error")
    assert (error["code"], error["message"], error["session_id"]) == ("VIEWER_LIMIT", "two viewers", session)
    assert not [message for message in app.seen + opened.sync() if "evil" in json.dumps(message)]


def test_what_an_app_drives_stops_with_its_socket_and_its_video_six_seconds_later(relay: Any) -> None:
    _, _, opened, app = _apart(relay)
    app.send({"type": "webrtc_request"})
    session = app.get("webrtc_credentials")["session_id"]
    app.send({"command": "motor", "left": 0.5, "right": 0.5})
    driver = opened.get("motor")["session"]
    app.close()
    assert opened.get("session_ended")["session"] == driver
    gone_at = time.monotonic()
    assert opened.get("webrtc_close")["session_id"] == session
    assert time.monotonic() - gone_at > 5


def test_every_app_of_the_owner_hears_events_and_only_the_asker_the_result(relay: Any) -> None:
    account, _, opened, app = _apart(relay)
    second = relay.app(account)
    third = relay.on_worker(relay.pid_of(opened), lambda: relay.app(account))
    second.send({"command": "led", "pattern": "rainbow", "id": 7})
    opened.get("led", id=7)
    opened.send({"type": "command_result", "id": 7, "command": "led", "success": True})
    second.get("command_result", id=7)
    opened.send({"event": "status", "data": {"battery": 9.0}})
    for one in (app, second, third):
        one.get("status")
    assert not [message for one in (app, third) for message in one.seen if message.get("type") == "command_result"]


def test_a_robot_that_reconnects_to_another_worker_supersedes_itself_and_is_never_offline(relay: Any) -> None:
    _, robot, opened, app = _apart(relay)
    newer = relay.on_worker(relay.pid_of(opened), lambda: relay.device(robot), other=True, close=False)
    assert opened.closed() == 4003
    app.send({"command": "stop", "id": "s"})
    newer.get("stop")
    app.sync()
    assert not [message for message in app.seen if message.get("online") is False]


def test_a_robot_that_reconnects_to_the_same_worker_supersedes_itself(relay: Any) -> None:
    account = relay.account()
    robot = relay.robot(account)
    opened = relay.device(robot)
    relay.on_worker(relay.pid_of(opened), lambda: relay.device(robot), close=False)
    assert opened.closed() == 4003


def test_apps_hear_when_the_robot_of_another_worker_goes_and_commands_are_refused_at_once(relay: Any) -> None:
    _, robot, opened, app = _apart(relay)
    opened.close()
    app.get("device_status", online=False)
    app.send({"command": "treat", "id": "t"})
    result = app.get("command_result", id="t")
    assert (result["success"], result["error"]["code"]) == (False, "DEVICE_OFFLINE")
    app.send({"command": "treat"})
    assert app.get("error")["code"] == "DEVICE_OFFLINE"
    app.send({"type": "webrtc_request"})
    assert app.get("error")["code"] == "DEVICE_OFFLINE"
    back = relay.device(robot)
    app.get("device_status", online=True)
    assert not [message for message in back.sync() if "command" in message], "nothing was kept for it"


def test_pairing_by_the_code_reaches_robot_and_apps_at_once(relay: Any) -> None:
    account = relay.account()
    robot = relay.robot()
    opened = relay.open("/ws/device", robot.headers())
    opened.get("paired", paired=False)
    code = opened.get("pairing_code")["code"]
    app = relay.app(account)
    app.send({"command": "treat", "id": 1})
    assert app.get("command_result")["error"]["code"] == "NOT_PAIRED"
    opened.send({"type": "get_pairing_code"})
    fresh = opened.get("pairing_code")
    assert (fresh["code"] != code, fresh["expires_in_s"]) == (True, 600)
    assert relay.post("/api/device/pair", {"pairing_code": code}, token=account.token).code == "NOT_FOUND"
    spoken = f"{fresh['code'][:4]}-{fresh['code'][4:]}".lower()
    paired = relay.post("/api/device/pair", {"pairing_code": spoken}, token=account.token)
    assert paired.json == {"device_id": robot.device_id, "success": True}
    opened.get("paired", paired=True)
    opened.get("user_connected", user_id=account.user_id)
    app.get("device_status", device_id=robot.device_id, online=True)
    app.send({"command": "treat", "id": 2})
    opened.get("treat", id=2)
    again = relay.post("/api/device/pair", {"pairing_code": fresh["code"]}, token=relay.account().token)
    assert again.code == "NOT_FOUND", "single use"
    assert relay.call("DELETE", f"/api/device/{robot.device_id}", token=account.token).status == 200
    opened.get("paired", paired=False)
    opened.get("pairing_code")
    app.send({"command": "treat", "device_id": robot.device_id, "id": 3})
    assert app.get("command_result", id=3)["error"]["code"] == "NOT_AUTHORIZED"


@pytest.fixture(scope="module")
def doomed(make_relay: Callable[..., Any]) -> Any:
    """A relay of its own for tests that break it."""
    return make_relay()


def test_killing_a_worker_has_everybody_back(doomed: Any) -> None:
    account, robot, opened, app = _apart(doomed)
    began = time.monotonic()
    os.kill(doomed.pid_of(opened), signal.SIGKILL)
    assert opened.closed() == 1006
    back = doomed.on_worker(doomed.pid_of(app), lambda: doomed.device(robot), other=True, close=False)
    while "motor" not in [message.get("command") for message in back.sync()]:
        app.send({"command": "motor", "left": 0.1, "right": 0.1})
    assert time.monotonic() - began < 20, "a liveness limit; how soon is the drill's business"
    os.kill(doomed.pid_of(app), signal.SIGKILL)
    assert app.closed() == 1006
    again = doomed.app(account)
    again.get("device_status", online=True)
    again.send({"command": "stop", "id": "x"})
    back.get("stop", id="x")
    doomed.close_all()


def test_a_killed_worker_takes_its_robots_offline_for_apps_elsewhere(doomed: Any) -> None:
    _, _, opened, app = _apart(doomed)
    os.kill(doomed.pid_of(opened), signal.SIGKILL)
    app.get("device_status", online=False)
    app.send({"command": "treat", "id": "t"})
    assert app.get("command_result", id="t")["error"]["code"] == "DEVICE_OFFLINE"
    doomed.close_all()


def test_a_restart_tells_every_client_and_ends_soon(make_relay: Callable[..., Any]) -> None:
    relay = make_relay()
    account = relay.account()
    sockets = [relay.app(account) for _ in range(5)] + [relay.device(relay.robot(account)) for _ in range(5)]
    took_s = relay.stop()
    assert {one.closed() for one in sockets} == {1012}
    assert took_s < 10, "a liveness limit; how soon is the drill's business"


def test_killing_the_master_ends_the_workers(make_relay: Callable[..., Any]) -> None:
    relay = make_relay()
    opened = relay.device(relay.robot())
    pids = relay.worker_pids()
    relay.process.kill()
    relay.process.wait(10)
    assert opened.closed() == 1006
    for pid in pids:
        for _ in range(500):
            if not os.path.exists(f"/proc/{pid}"):
                break
            time.sleep(0.02)
        else:
            raise AssertionError(f"worker {pid} lives on")


def test_a_peer_that_falls_silent_is_closed_with_4002(make_relay: Callable[..., Any]) -> None:
    relay = make_relay(ROBOT_TIMEOUT_S="0.6", APP_TIMEOUT_S="0.6")
    robot = relay.robot(relay.account())
    lively = relay.device(robot)
    with pytest.raises(InvalidStatus):
        relay.open("/health")
    silent = relay.account()
    quiet = relay.raw(silent)
    received = b""
    while chunk := quiet.recv(4096):
        received += chunk
    quiet.close()
    assert (4002).to_bytes(2, "big") in received
    lively.sync()
