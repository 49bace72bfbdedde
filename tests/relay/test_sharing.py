"""Sharing a robot: who may do what, and how soon it ends."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.relay.conftest import until


@pytest.fixture
def family(relay: Any) -> tuple[Any, Any, Any, Any, Any]:
    """An owner, a driver, a viewer, their robot and its socket."""
    owner, driver, viewer = relay.account(), relay.account(), relay.account()
    robot = relay.robot(owner)
    relay.share(owner, robot, driver, "driver")
    relay.share(owner, robot, viewer, "viewer")
    return owner, driver, viewer, robot, relay.device(robot)


def _path(robot: Any, *more: str) -> str:
    return "/".join(["/api/device", robot.device_id, *more])


def test_a_code_makes_one_other_person_a_member(relay: Any) -> None:
    owner, friend, late = relay.account(), relay.account(), relay.account()
    robot = relay.robot(owner)
    offer = relay.post(_path(robot, "share"), {"role": "driver"}, token=owner.token).json
    assert (len(offer["share_code"]), offer["role"], offer["expires_in_s"]) == (8, "driver", 86_400)
    listed = relay.get(_path(robot, "members"), token=owner.token).json
    assert [(member["user_id"], member["role"]) for member in listed["members"]] == [(owner.user_id, "owner")]
    assert [invitation["role"] for invitation in listed["invitations"]] == ["driver"]
    own = relay.post("/api/device/join", {"share_code": offer["share_code"]}, token=owner.token)
    assert (own.status, own.code) == (409, "CONFLICT")
    spoken = offer["share_code"].lower()
    spoken = f"{spoken[:4]}-{spoken[4:]}"
    joined = relay.post("/api/device/join", {"share_code": spoken}, token=friend.token)
    assert joined.json == {"success": True, "device_id": robot.device_id, "role": "driver"}
    again = relay.post("/api/device/join", {"share_code": offer["share_code"]}, token=late.token)
    assert (again.status, again.code) == (404, "NOT_FOUND"), "single use"
    (mine,) = relay.get("/api/device/list", token=friend.token).json["devices"]
    assert (mine["role"], mine["owner_id"]) == ("driver", owner.user_id)
    listed = relay.get(_path(robot, "members"), token=owner.token).json
    assert [member["email"] for member in listed["members"]] == [owner.email, friend.email]
    assert listed["invitations"] == []


def test_a_code_ends_by_a_newer_one_by_withdrawal_and_by_age(relay: Any) -> None:
    owner, friend = relay.account(), relay.account()
    robot = relay.robot(owner)

    def offer() -> str:
        made = relay.post(_path(robot, "share"), {"role": "viewer"}, token=owner.token).json
        return str(made["share_code"])

    def refused(code: str) -> bool:
        return bool(relay.post("/api/device/join", {"share_code": code}, token=friend.token).status == 404)

    first, second = offer(), offer()
    assert refused(first)
    assert relay.call("DELETE", _path(robot, "share"), token=owner.token).status == 200
    assert refused(second)
    third = offer()
    relay.execute("UPDATE share_codes SET expires_at = now() WHERE device_id = %s", robot.device_id)
    assert refused(third)
    assert relay.get(_path(robot, "members"), token=owner.token).json["invitations"] == []


def test_everybody_sees_events_and_each_sends_what_the_role_may(relay: Any, family: Any) -> None:
    owner, driver, viewer, robot, opened = family
    apps = [relay.app(account) for account in (owner, driver, viewer)]
    for app, role in zip(apps, ("owner", "driver", "viewer"), strict=True):
        app.get("device_status", online=True, role=role)
    opened.send({"event": "treat", "data": {"dispensed": True, "remaining": 5}, "id": "e1"})
    for app in apps:
        app.get("treat", seq=1)
    for app, role in zip(apps, ("owner", "driver", "viewer"), strict=True):
        app.send({"command": "stop", "id": f"stop-{role}"})
        assert opened.get("stop", id=f"stop-{role}")["role"] == role
        app.send({"type": "webrtc_request"})
        assert opened.get("webrtc_request")["role"] == role
    apps[2].send({"command": "treat", "id": "no"})
    assert apps[2].get("command_result", id="no")["error"]["code"] == "NOT_AUTHORIZED"
    assert relay.get(f"/api/events?device_id={robot.device_id}", token=viewer.token).json["events"][0]["seq"] == 1


def test_a_role_taken_away_ends_its_session_within_a_second_across_workers(relay: Any, family: Any) -> None:
    owner, driver, _, robot, opened = family
    app = relay.on_worker(relay.pid_of(opened), lambda: relay.app(driver), other=True)
    app.get("device_status", online=True)
    app.send({"type": "webrtc_request"})
    session = opened.get("webrtc_request")["session_id"]
    app.send({"command": "motor", "left": 0.5, "right": 0.5})
    socket_session = opened.get("motor")["session"]
    began = time.monotonic()
    gone = relay.call("DELETE", _path(robot, "members", driver.user_id), token=owner.token)
    assert gone.status == 200
    app.get("webrtc_close", session_id=session, timeout_s=5)
    app.get("error", code="NOT_AUTHORIZED", device_id=robot.device_id, timeout_s=5)
    until(
        lambda: {"webrtc_close", "session_ended", "access_changed"} <= {seen.get("type") for seen in _all(opened)},
        "the robot is told on every way",
        5,
    )
    assert time.monotonic() - began < 10, "a liveness limit; how soon is the drill's business"
    ended = [seen for seen in opened.seen if seen.get("type") == "session_ended"]
    assert ended[0]["session"] == socket_session
    app.send({"command": "motor", "left": 0.5, "right": 0.5, "id": "late", "device_id": robot.device_id})
    assert app.get("command_result", id="late")["error"]["code"] == "NOT_AUTHORIZED"
    opened.send({"event": "status", "data": {"battery": 4.0}})
    opened.sync()
    assert not [
        seen for seen in [*opened.seen, *app.sync()] if seen.get("event") == "status" or seen.get("id") == "late"
    ]


def _all(opened: Any) -> list[Any]:
    opened.sync()
    return list(opened.seen)


def test_a_driver_who_becomes_a_viewer_drives_no_more_and_watches_anew(relay: Any, family: Any) -> None:
    owner, driver, _, robot, opened = family
    app = relay.on_worker(relay.pid_of(opened), lambda: relay.app(driver), other=True)
    app.get("device_status", online=True, role="driver")
    app.send({"type": "webrtc_request"})
    session = opened.get("webrtc_request")["session_id"]
    changed = relay.call("PATCH", _path(robot, "members", driver.user_id), {"role": "viewer"}, token=owner.token)
    assert changed.status == 200
    app.get("webrtc_close", session_id=session, timeout_s=5)
    app.get("device_status", role="viewer", timeout_s=5)
    assert opened.get("access_changed") == {"type": "access_changed", "user_id": driver.user_id, "role": "viewer"}
    app.send({"command": "treat", "id": "t"})
    assert app.get("command_result", id="t")["error"]["code"] == "NOT_AUTHORIZED"
    app.send({"type": "webrtc_request"})
    assert opened.get("webrtc_request")["role"] == "viewer"


def test_who_has_lost_a_role_is_told_by_the_robots_worker_too(relay: Any, family: Any) -> None:
    """A change that only the robot's worker has heard of still holds."""
    _, driver, _, robot, opened = family
    app = relay.on_worker(relay.pid_of(opened), lambda: relay.app(driver), other=True)
    app.get("device_status", online=True)
    relay.execute("UPDATE members SET role = 'viewer' WHERE user_id = %s", driver.user_id)
    later = relay.on_worker(relay.pid_of(opened), lambda: relay.device(robot), close=False)
    app.send({"command": "treat", "id": "t"})
    assert app.get("command_result", id="t")["error"]["code"] == "NOT_AUTHORIZED"
    assert not [seen for seen in later.sync() if "command" in seen]


def test_members_leave_by_themselves_and_may_do_nothing_else_of_the_owners(relay: Any, family: Any) -> None:
    owner, driver, viewer, robot, _ = family
    for account in (driver, viewer):
        for method, path, body in (
            ("PATCH", _path(robot), {"name": "mine"}),
            ("DELETE", _path(robot), None),
            ("POST", _path(robot, "share"), {"role": "viewer"}),
            ("DELETE", _path(robot, "share"), None),
            ("GET", _path(robot, "members"), None),
            ("PATCH", _path(robot, "members", account.user_id), {"role": "driver"}),
            ("DELETE", _path(robot, "members", owner.user_id), None),
        ):
            refused = relay.call(method, path, body, token=account.token)
            assert (refused.status, refused.code) == (403, "NOT_AUTHORIZED"), path
    assert relay.call("DELETE", _path(robot, "members", viewer.user_id), token=viewer.token).status == 200
    assert relay.get(_path(robot), token=viewer.token).status == 404
    assert relay.post("/api/user/unpair-device", {"device_id": robot.device_id}, token=driver.token).status == 200
    assert relay.get(_path(robot), token=driver.token).status == 404
    assert relay.get(_path(robot), token=owner.token).json["role"] == "owner"
    itself = relay.call("DELETE", _path(robot, "members", owner.user_id), token=owner.token)
    assert (itself.status, itself.code) == (404, "NOT_FOUND")


def test_unpairing_ends_all_sharing(relay: Any, family: Any) -> None:
    owner, driver, viewer, robot, opened = family
    apps = [relay.app(driver), relay.app(viewer)]
    code = relay.post(_path(robot, "share"), {"role": "viewer"}, token=owner.token).json["share_code"]
    assert relay.call("DELETE", _path(robot), token=owner.token).status == 200
    for app in apps:
        app.get("error", code="NOT_AUTHORIZED", device_id=robot.device_id)
    opened.get("paired", paired=False)
    late = relay.account()
    assert relay.post("/api/device/join", {"share_code": code}, token=late.token).code == "NOT_FOUND"
    assert relay.rows("SELECT 1 FROM members WHERE device_id = %s", robot.device_id) == []


def test_a_robot_is_shared_with_sixteen_at_most(relay: Any) -> None:
    owner, robot = relay.account(), None
    robot = relay.robot(owner)
    offers = relay.post(_path(robot, "share"), {"role": "viewer"}, token=owner.token).json
    for _ in range(16):
        member = relay.account()
        relay.execute("INSERT INTO members VALUES (%s, %s, 'viewer')", robot.device_id, member.user_id)
    full = relay.post("/api/device/join", {"share_code": offers["share_code"]}, token=relay.account().token)
    assert (full.status, full.code) == (409, "CONFLICT")
    assert relay.post(_path(robot, "share"), {"role": "viewer"}, token=owner.token).code == "CONFLICT"
    relay.call("DELETE", _path(robot, "members", member.user_id), token=owner.token)
    joined = relay.post("/api/device/join", {"share_code": offers["share_code"]}, token=relay.account().token)
    assert joined.status == 200, "a code that could not be used stays good"
