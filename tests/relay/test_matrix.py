"""Every REST row and every message, from everybody: nothing leaks and nothing moves.

What each may do is written down here for every row, command and frame of the contract; one that is added there and not
here fails.
"""

from __future__ import annotations

import base64
import contextlib
import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from websockets.exceptions import ConnectionClosed

from contract import frames
from contract.commands import COMMANDS
from contract.rest import RELAY_ROWS, Row
from relay.auth import Tokens
from tests.relay.conftest import PASSWORD, SECRET, Account, Reply

SECRET_WORDS = "a name that only its people know"
STRANGERS = ("other tenant", "unpaired")
SIGNED_OUT = ("no token", "expired", "tampered", "alg none", "ended", "deleted")
MEMBERS = ("viewer", "driver", "owner")


@dataclass
class House:
    """A robot with its people, and what everybody else has for a token."""

    relay: Any
    robot: Any
    opened: Any
    people: dict[str, Account]
    tokens: dict[str, str | None] = field(default_factory=dict)


def _unsigned(account: Account) -> str:
    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    claims = {"sub": account.user_id, "ver": 0, "iat": 1, "exp": int(time.time()) + 60}
    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}."


@pytest.fixture
def house(relay: Any) -> House:
    people = {who: relay.account() for who in (*MEMBERS, "other tenant", "unpaired", "ended", "deleted")}
    robot = relay.robot(people["owner"])
    relay.execute("UPDATE devices SET name = %s WHERE device_id = %s", SECRET_WORDS, robot.device_id)
    for role in ("viewer", "driver"):
        relay.share(people["owner"], robot, people[role], role)
    relay.robot(people["other tenant"])
    former = relay.robot(people["unpaired"])
    relay.call("DELETE", f"/api/device/{former.device_id}", token=people["unpaired"].token)
    relay.post("/api/auth/logout", token=people["ended"].token)
    relay.call("DELETE", "/api/auth/me", {"password": PASSWORD}, token=people["deleted"].token)
    opened = relay.device(robot)
    opened.send({"event": "treat", "data": {"dispensed": True, "remaining": 1, "note": SECRET_WORDS}, "id": "e1"})
    opened.get("event_ack")
    owner = people["owner"]
    body, signature = owner.token.rsplit(".", 1)
    past = {"sub": owner.user_id, "ver": 0, "iat": 1, "exp": int(time.time()) - 1}
    tokens: dict[str, str | None] = {who: account.token for who, account in people.items()}
    tokens |= {
        "no token": None,
        "expired": jwt.encode(past, SECRET, algorithm="HS256"),
        "tampered": f"{body}.{'A' * len(signature)}",
        "alg none": _unsigned(owner),
    }
    return House(relay, robot, opened, people, tokens)


# -- REST ------------------------------------------------------------------------------------------

ANYONE: dict[str, int] = dict.fromkeys((*STRANGERS, *MEMBERS), 200)
OWN = {"viewer": 200, "driver": 200, "owner": 200, "other tenant": 404, "unpaired": 404}
OWNERS = {"viewer": 403, "driver": 403, "owner": 200, "other tenant": 404, "unpaired": 404}
OPEN: dict[str, int] | None = None
"""A row that takes no token: everybody gets the same."""

ROWS: dict[str, tuple[Any, dict[str, int] | None]] = {
    "GET /health": (None, OPEN),
    "GET /ready": (None, OPEN),
    "GET /metrics": (None, OPEN),
    "POST /api/auth/register": ({"email": "taken@example.org", "password": "short"}, OPEN),
    "POST /api/auth/login": ({"email": "x"}, OPEN),
    "POST /api/auth/refresh": (None, ANYONE),
    "POST /api/auth/logout": (None, ANYONE),
    "POST /api/auth/password": ({"password": "wrong", "new_password": "long enough"}, dict.fromkeys(ANYONE, 403)),
    "GET /api/auth/me": (None, ANYONE),
    "DELETE /api/auth/me": ({"password": "wrong"}, dict.fromkeys(ANYONE, 403)),
    "GET /api/auth/validate": (None, ANYONE),
    "POST /api/device/register": ({"device_id": "{device_id}"}, OPEN),
    "POST /api/device/pair": ({"pairing_code": "AAAA2222"}, dict.fromkeys(ANYONE, 404)),
    "POST /api/device/join": ({"share_code": "AAAA2222"}, dict.fromkeys(ANYONE, 404)),
    "GET /api/device/list": (None, ANYONE),
    "GET /api/device/{device_id}": (None, OWN),
    "PATCH /api/device/{device_id}": ({"name": "renamed"}, OWNERS),
    "DELETE /api/device/{device_id}": (None, OWNERS),
    "POST /api/device/{device_id}/share": ({"role": "viewer"}, OWNERS),
    "DELETE /api/device/{device_id}/share": (None, OWNERS),
    "GET /api/device/{device_id}/members": (None, OWNERS),
    "PATCH /api/device/{device_id}/members/{user_id}": ({"role": "driver"}, OWNERS),
    "DELETE /api/device/{device_id}/members/{user_id}": (None, OWNERS | {"viewer": 200}),  # the viewer leaves
    "GET /api/user/devices": (None, ANYONE),
    "POST /api/user/pair-device": ({"device_id": "{device_id}"}, OWN),
    "POST /api/user/unpair-device": ({"device_id": "{device_id}"}, OWN),
    "POST /api/turn/credentials": ({"ttl": 60}, ANYONE),
    "GET /api/events": (None, OWN),
}


def test_every_row_stands_in_the_matrix() -> None:
    assert {f"{row.method} {row.path}" for row in RELAY_ROWS} == set(ROWS)
    assert [name for name, (_, who) in ROWS.items() if who is OPEN] == [
        f"{row.method} {row.path}" for row in RELAY_ROWS if not row.auth
    ]


def _call(house: House, row: Row, who: str) -> Reply:
    body, _ = ROWS[f"{row.method} {row.path}"]
    filled = {"{device_id}": house.robot.device_id, "{user_id}": house.people["viewer"].user_id}
    path = row.path
    for name, value in filled.items():
        path = path.replace(name, value)
    if row.path == "/api/events":
        path += f"?device_id={house.robot.device_id}"
    sent = {key: filled.get(value, value) for key, value in body.items()} if body is not None else None
    answer: Reply = house.relay.call(row.method, path, sent, token=house.tokens[who])
    return answer


def _state(house: House) -> list[Any]:
    """All that a request could have moved."""
    device = house.robot.device_id
    users = [account.user_id for account in house.people.values()]
    return [
        house.relay.rows("SELECT device_id, name, owner_id FROM devices WHERE device_id = %s", device),
        house.relay.rows("SELECT user_id, role FROM members WHERE device_id = %s ORDER BY 1", device),
        house.relay.rows("SELECT role, code_hash FROM share_codes WHERE device_id = %s ORDER BY 1", device),
        house.relay.rows("SELECT seq, id FROM events WHERE device_id = %s", device),
        house.relay.rows(
            "SELECT user_id, token_version, password_hash FROM users WHERE user_id = ANY(%s) ORDER BY 1", users
        ),
    ]


@pytest.mark.parametrize("row", [row for row in RELAY_ROWS if row.auth], ids=lambda row: f"{row.method} {row.path}")
def test_a_row_answers_who_may_and_nobody_else(house: House, row: Row) -> None:
    _, allowed = ROWS[f"{row.method} {row.path}"]
    assert allowed is not None
    before = _state(house)
    for who in SIGNED_OUT:
        refused = _call(house, row, who)
        assert (refused.status, refused.code) == (401, "AUTH_FAILED"), who
        assert not _leaks(house, refused), who
    for who in sorted(allowed, key=lambda one: allowed[one] == 200):
        if allowed[who] == 200:
            continue
        refused = _call(house, row, who)
        assert refused.status == allowed[who], (who, refused.body)
        assert not _leaks(house, refused), who
    assert _state(house) == before, "nothing moves for who may not"
    for who in STRANGERS:
        if allowed[who] == 200:
            assert not _leaks(house, _call(house, row, who)), who
    # The one who may do least comes first: an owner's deed may end what the others have.
    for who in MEMBERS:
        if allowed[who] == 200:
            answer = _call(house, row, who)
            assert answer.status in (200, 404), (who, answer.body)
            assert answer.status == 200 or row.path.endswith("{user_id}"), "the viewer had left by itself"


@pytest.mark.parametrize("row", [row for row in RELAY_ROWS if not row.auth], ids=lambda row: f"{row.method} {row.path}")
def test_an_open_row_tells_everybody_the_same(house: House, row: Row) -> None:
    answers = {who: _call(house, row, who) for who in (*SIGNED_OUT, *STRANGERS, *MEMBERS)}
    assert len({answer.status for answer in answers.values()}) == 1
    assert not [who for who, answer in answers.items() if _leaks(house, answer)]


def _leaks(house: House, answer: Reply) -> bool:
    """Whether it holds what only the robot's people may know."""
    text = answer.body.decode()
    private = (SECRET_WORDS, house.people["owner"].email, house.people["viewer"].email, house.robot.secret)
    return any(word in text for word in private)


# -- messages --------------------------------------------------------------------------------------

FIELDS: dict[str, dict[str, Any]] = {
    "motor": {"left": 0.1, "right": 0.1},
    "servo": {"pan": 1},
    "led": {"pattern": "rainbow"},
    "audio": {"file": "a.mp3"},
    "audio_volume": {"level": 5},
    "mode": {"mode": "manual"},
    "treat_refill": {"count": 3},
    "mission_get": {"mission_id": "m"},
    "mission_start": {"mission_id": "m"},
    "mission_stop": {"mission_id": "m"},
}
VIEWERS = frozenset(
    {"stop", "emergency_stop", "get_status", "audio_files", "audio_current", "mode_get", "mission_list", "mission_get"}
)
"""What a viewer may send: what changes nothing, and what stops."""
SDP = {"type": "answer", "sdp": "v=0"}
FRAMES: dict[str, tuple[dict[str, Any], str | None]] = {
    "auth": ({}, None),
    "ping": ({}, None),
    "session_hello": ({"session_id": "s"}, None),
    "get_status": ({"device_id": "{device_id}"}, "status_response"),
    "catch_up": ({"device_id": "{device_id}", "after": 0}, "caught_up"),
    "webrtc_request": ({"device_id": "{device_id}"}, "webrtc_credentials"),
    "webrtc_answer": ({"session_id": "{session_id}", "sdp": SDP}, None),
    "webrtc_ice": ({"session_id": "{session_id}", "candidate": {"candidate": ""}}, None),
    "webrtc_close": ({"session_id": "{session_id}"}, None),
}
"""Each frame of an app, and what a member gets for it (None: nothing about the robot)."""


def test_every_message_stands_in_the_matrix() -> None:
    assert {type_.__struct_config__.tag for type_ in frames.APP_TO_RELAY} == set(FRAMES)
    assert {name for name, spec in COMMANDS.items() if spec.role == "viewer"} == VIEWERS
    assert {spec.role for name, spec in COMMANDS.items() if name not in VIEWERS} == {"driver"}


def _command(house: House, name: str, id_: str) -> dict[str, Any]:
    return {"command": name, "device_id": house.robot.device_id, "id": id_, **FIELDS.get(name, {})}


def _at_the_robot(house: House) -> list[Any]:
    """What the robot has got since the last look."""
    return [seen for seen in house.opened.sync() if seen.get("type") not in ("user_connected", "user_disconnected")]


@pytest.mark.parametrize("who", SIGNED_OUT)
def test_no_socket_without_a_good_token(house: House, who: str) -> None:
    token = house.tokens[who]
    _at_the_robot(house)
    for path, headers in (("/ws/app", {"Authorization": f"Bearer {token}"}), (f"/ws/app?token={token}", None)):
        opened = house.relay.open(path, headers if token is not None else None)
        with contextlib.suppress(ConnectionClosed):
            for name in COMMANDS:
                opened.send(_command(house, name, name))
            opened.send({"type": "catch_up", "device_id": house.robot.device_id, "after": 0})
        assert opened.closed() == 4001
        assert [seen["code"] for seen in opened.seen] == ["AUTH_FAILED"]
    assert _at_the_robot(house) == []


@pytest.mark.parametrize("who", STRANGERS)
def test_strangers_reach_nothing_and_hear_nothing(house: House, who: str) -> None:
    owner_app = house.relay.app(house.people["owner"])
    owner_app.get("device_status", online=True)
    owner_app.send({"type": "webrtc_request"})
    session = house.opened.get("webrtc_request")["session_id"]
    _at_the_robot(house)
    app = house.relay.app(house.people[who])
    for name in COMMANDS:
        app.send(_command(house, name, name))
        result = app.get("command_result", id=name)
        assert (result["success"], result["error"]["code"]) == (False, "NOT_AUTHORIZED"), name
    for kind, (fields, _) in FRAMES.items():
        app.send({"type": kind, **_filled(fields, house, session)})
    house.opened.send({"event": "treat", "data": {"note": SECRET_WORDS}, "id": "e2"})
    house.opened.send({"event": "status", "data": {"note": SECRET_WORDS}})
    owner_app.get("treat", id="e2")
    seen = app.sync()
    refused = [message for message in seen if message.get("code") == "NOT_AUTHORIZED"]
    assert len(refused) == sum(
        "{device_id}" in str(fields) or "{session_id}" in str(fields) for fields, _ in FRAMES.values()
    )
    assert SECRET_WORDS not in json.dumps(app.seen)
    assert [message for message in _at_the_robot(house) if message.get("type") != "event_ack"] == []


@pytest.mark.parametrize("who", MEMBERS)
def test_members_send_what_their_role_may(house: House, who: str) -> None:
    app = house.relay.app(house.people[who])
    app.get("device_status", online=True)
    _at_the_robot(house)
    for name in COMMANDS:
        app.send(_command(house, name, name))
        if name in VIEWERS or who != "viewer":
            command = house.opened.get(name, id=name)
            assert (command["role"], command["user_id"]) == (who, house.people[who].user_id)
        else:
            assert app.get("command_result", id=name)["error"]["code"] == "NOT_AUTHORIZED"
    assert [seen for seen in _at_the_robot(house) if seen.get("type") == "command"] == []
    for kind, (fields, answer) in FRAMES.items():
        if "{session_id}" in str(fields):
            continue
        app.send({"type": kind, **_filled(fields, house, "")})
        if answer is not None:
            app.get(answer)
    session = house.opened.get("webrtc_request")["session_id"]
    for kind in ("webrtc_answer", "webrtc_ice", "webrtc_close"):
        app.send({"type": kind, **_filled(FRAMES[kind][0], house, session)})
        house.opened.get(kind, session_id=session)


def _filled(fields: dict[str, Any], house: House, session: str) -> dict[str, Any]:
    values = {"{device_id}": house.robot.device_id, "{session_id}": session}
    return {key: values.get(value, value) if isinstance(value, str) else value for key, value in fields.items()}


# -- robots ----------------------------------------------------------------------------------------


def test_a_robot_of_another_house_reaches_no_app_and_no_session(house: House) -> None:
    app = house.relay.app(house.people["owner"])
    app.get("device_status", online=True)
    app.send({"type": "webrtc_request"})
    session = app.get("webrtc_credentials")["session_id"]
    app.send({"command": "treat", "id": "mine"})
    app_session = house.opened.get("treat")["session"]
    foreign = house.relay.device(house.relay.robot(house.people["other tenant"]))
    offer = {"type": "offer", "sdp": "evil"}
    for type_ in frames.ROBOT_TO_RELAY:
        kind = str(type_.__struct_config__.tag)
        foreign.send(
            {"type": kind, "session_id": session, "device_id": house.robot.device_id, "sdp": offer, "error": "evil"}
        )
        foreign.send({"type": kind, "session_id": session, "sdp": offer, "error": "evil", "reason": "evil"})
    foreign.send({"event": "treat", "data": {"evil": 1}, "id": "e9", "device_id": house.robot.device_id})
    foreign.send({"event": "treat", "data": {"evil": 1}, "id": "e1"})
    result = {"type": "command_result", "id": "mine", "command": "treat", "success": True, "data": "evil"}
    foreign.send(result | {"session": app_session})
    foreign.sync()
    app.sync()
    assert "evil" not in json.dumps(app.seen)
    assert house.relay.rows("SELECT data FROM events WHERE device_id = %s AND id = 'e9'", house.robot.device_id) == []


def test_an_account_that_is_deleted_while_its_token_is_good_is_nobody(house: House) -> None:
    token = Tokens(SECRET).issue(house.people["deleted"].user_id, 0, datetime.now(UTC))
    assert house.relay.get("/api/auth/me", token=token).code == "AUTH_FAILED"
