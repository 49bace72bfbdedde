"""The REST rows: what they answer, and what they refuse."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import jwt
import pytest

from contract.rest import RELAY_ROWS
from relay.presence import connect
from relay.rest import ACTIONS
from tests.relay.conftest import until


def test_every_row_of_the_contract_has_its_action_and_nothing_else_has() -> None:
    assert {(row.method, row.path) for row in RELAY_ROWS} == set(ACTIONS)


def test_an_account_signs_up_signs_in_and_finds_itself(relay: Any) -> None:
    signed_up = relay.post("/api/auth/register", {"email": "rex@example.org", "password": "correct horse"}).json
    login = relay.post("/api/auth/login", {"email": "REX@example.org", "password": "correct horse"})
    assert set(login.json) == {"token", "expires_in", "user_id"}
    assert login.json["user_id"] == signed_up["user_id"]
    me = relay.get("/api/auth/me", token=login.json["token"]).json
    assert (me["user_id"], me["email"], me["devices"]) == (signed_up["user_id"], "rex@example.org", [])
    taken = relay.post("/api/auth/register", {"email": "rex@example.org", "password": "another one"})
    assert (taken.status, taken.code) == (409, "CONFLICT")


def test_unknown_account_and_wrong_password_get_the_same_answer_and_are_throttled(relay: Any) -> None:
    account = relay.account()
    relay.forgive_addresses()
    wrong = [relay.post("/api/auth/login", {"email": account.email, "password": "nope"}) for _ in range(10)]
    unknown = relay.post("/api/auth/login", {"email": f"no.{account.email}", "password": "nope"})
    assert {reply.body for reply in (*wrong, unknown)} == {unknown.body}
    assert unknown.status == 401
    even_right = relay.post("/api/auth/login", {"email": account.email, "password": "correct horse"})
    assert (even_right.status, even_right.code) == (429, "RATE_LIMITED")
    assert int(even_right.headers["Retry-After"]) > 0


def _unsigned(user_id: str) -> str:
    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    claims = {"sub": user_id, "ver": 0, "iat": 1, "exp": int(time.time()) + 60}
    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}."


@pytest.mark.parametrize("kind", ["none", "empty", "garbage", "alg none", "expired", "tampered", "old version", "gone"])
def test_no_row_and_no_socket_lets_a_bad_token_in(relay: Any, kind: str) -> None:
    account = relay.account()
    body, signature = account.token.rsplit(".", 1)
    token = {
        "none": None,
        "empty": "",
        "garbage": "a.b.c",
        "alg none": _unsigned(account.user_id),
        "expired": _sign(relay, sub=account.user_id, exp=int(time.time()) - 1),
        "tampered": f"{body}.{signature[:-4]}AAAA",
        "old version": _sign(relay, sub=account.user_id, ver=-1),
        "gone": _sign(relay, sub="u_nobody"),
    }[kind]
    for row in RELAY_ROWS:
        if row.auth:
            refused = relay.call(row.method, row.path.replace("{device_id}", "wimz_x"), {}, token=token)
            assert (refused.status, refused.code) == (401, "AUTH_FAILED"), row.path
    opened = relay.open(f"/ws/app?token={token}" if token is not None else "/ws/app")
    assert opened.get("error")["code"] == "AUTH_FAILED"
    assert opened.closed() == 4001


def _sign(relay: Any, **claims: Any) -> str:
    secret = relay.environment["JWT_SECRET"]
    return jwt.encode({"ver": 0, "iat": 1, "exp": int(time.time()) + 60, **claims}, secret, algorithm="HS256")


def test_another_owners_robot_does_not_exist_for_me(relay: Any) -> None:
    mine, theirs = relay.account(), relay.account()
    robot = relay.robot(theirs)
    opened = relay.device(robot)
    path = f"/api/device/{robot.device_id}"
    for method, body in (("GET", None), ("PATCH", {"name": "mine now"}), ("DELETE", None)):
        refused = relay.call(method, path, body, token=mine.token)
        assert (refused.status, refused.code) == (404, "NOT_FOUND")
    assert relay.get(f"/api/events?device_id={robot.device_id}", token=mine.token).code == "NOT_FOUND"
    unpair = relay.post("/api/user/unpair-device", {"device_id": robot.device_id}, token=mine.token)
    assert unpair.code == "NOT_FOUND"
    app = relay.app(mine)
    for message in ({"command": "motor", "left": 1, "right": 1}, {"type": "webrtc_request"}, {"type": "get_status"}):
        app.send(message | {"device_id": robot.device_id})
        assert app.get("error")["code"] == "NOT_AUTHORIZED"
    assert not [message for message in opened.sync() if message.get("type") != "paired"]
    assert relay.get(path, token=theirs.token).json["is_online"] is True


def test_a_robot_is_listed_renamed_and_tells_its_version(relay: Any) -> None:
    account = relay.account()
    robot = relay.robot(account)
    opened = relay.device(robot)
    opened.send({"type": "robot_connected", "version": "2.1.0", "local_ip": "192.0.2.7"})
    opened.sync()
    renamed = relay.call("PATCH", f"/api/device/{robot.device_id}", {"name": "Rex's robot"}, token=account.token)
    assert renamed.json["name"] == "Rex's robot"
    for _ in range(100):
        (listed,) = relay.get("/api/device/list", token=account.token).json["devices"]
        if listed["firmware_version"]:
            break
        time.sleep(0.05)
    assert (listed["firmware_version"], listed["local_ip"], listed["is_online"]) == ("2.1.0", "192.0.2.7", True)
    assert (listed["owner_id"], listed["role"]) == (account.user_id, "owner")


def test_a_robot_registers_with_its_signature(relay: Any) -> None:
    robot = relay.robot()
    body = {"device_id": robot.device_id, "firmware_version": "1.0.0"}
    reply = relay.post("/api/device/register", body, headers=robot.headers())
    assert reply.json == {"success": True, "websocket_url": f"ws://127.0.0.1:{relay.port}/ws/device"}
    skewed = relay.post("/api/device/register", body, headers=robot.headers(timestamp=1_000_000_000))
    assert (skewed.status, skewed.code) == (401, "CLOCK_SKEW")
    assert abs(skewed.json["error"]["server_time"] - time.time()) < 60
    other = relay.post("/api/device/register", {"device_id": "wimz_other"}, headers=robot.headers())
    assert other.code == "NOT_AUTHORIZED"
    assert relay.post("/api/device/register", body).code == "AUTH_FAILED"


def test_wrong_clock_wrong_signature_and_replay_are_refused_readably(relay: Any) -> None:
    robot = relay.robot()
    skewed = relay.open("/ws/device", robot.headers(timestamp=int(time.time()) - 301))
    assert abs(skewed.get("error", code="CLOCK_SKEW")["server_time"] - time.time()) < 60
    assert skewed.closed() == 4001
    forged = relay.open("/ws/device", robot.headers() | {"X-Signature": "0" * 64})
    forged.get("error", code="AUTH_FAILED")
    assert forged.closed() == 4001
    unknown = relay.open("/ws/device", {"X-Device-ID": "wimz_none", "X-Timestamp": "1", "X-Signature": "00"})
    unknown.get("error", code="AUTH_FAILED")
    headers = robot.headers()
    relay.open("/ws/device", headers).get("paired")
    _age_signatures(relay, 6)
    replayed = relay.open("/ws/device", headers)
    replayed.get("error", code="AUTH_FAILED")
    assert replayed.closed() == 4001


def _age_signatures(relay: Any, seconds: int) -> None:
    """Make all signatures look that much older than they are."""
    client = connect(relay.redis_url)
    for key in client.scan_iter("wimz:limit:seen:*"):
        client.pexpire(key, int(client.pttl(key)) - seconds * 1000)


def test_the_first_message_may_carry_the_credentials(relay: Any) -> None:
    account = relay.account()
    robot = relay.robot(account)
    opened = relay.open("/ws")
    headers = robot.headers()
    signed = {"timestamp": int(headers["X-Timestamp"]), "signature": headers["X-Signature"]}
    opened.send({"type": "auth", "device_id": robot.device_id, **signed})
    assert opened.get("auth_result") == {"type": "auth_result", "success": True, "device_id": robot.device_id}
    opened.get("paired")
    app = relay.open("/ws")
    app.send({"type": "auth", "token": account.token})
    app.send({"command": "treat", "id": "at-once"})
    assert app.get("auth_result")["user_id"] == account.user_id
    opened.get("treat", id="at-once")
    for first in ({"type": "ping"}, {"type": "auth"}, {"type": "auth", "token": "x"}, "not json"):
        refused = relay.open("/ws")
        refused.send(first)
        refused.get("error", code="AUTH_FAILED")
        assert refused.closed() == 4001


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/nothing/here", None, 404, "NOT_FOUND"),
        ("POST", "/nothing/here", {}, 404, "NOT_FOUND"),
        ("GET", "/../setup.cfg", None, 404, "NOT_FOUND"),
        ("GET", "/%2e%2e/setup.cfg", None, 404, "NOT_FOUND"),
        ("DELETE", "/health", None, 405, "METHOD_NOT_ALLOWED"),
        ("OPTIONS", "/api/auth/login", None, 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/api/auth/login", b"{", 400, "INVALID_JSON"),
        ("POST", "/api/auth/login", b"", 400, "INVALID_JSON"),
        ("POST", "/api/auth/login", b"\xff\xfe", 400, "INVALID_JSON"),
        ("POST", "/api/auth/login", b"[" * 60_000, 400, "INVALID_JSON"),
        ("POST", "/api/auth/login", {"email": 5, "password": "x"}, 400, "INVALID_PARAMETER"),
        ("POST", "/api/auth/login", {"email": "a@b.c\n", "password": "x"}, 400, "INVALID_PARAMETER"),
        ("POST", "/api/auth/register", {"email": "a@b.c", "password": "short"}, 400, "INVALID_PARAMETER"),
        ("POST", "/api/auth/login", b" " * 70_000, 413, "MESSAGE_TOO_LARGE"),
        ("GET", "/ws/app", None, 400, "INVALID_PARAMETER"),
    ],
)
def test_bad_requests_get_the_one_shape(relay: Any, method: str, path: str, body: Any, status: int, code: str) -> None:
    refused = relay.call(method, path, body)
    assert (refused.status, refused.code) == (status, code)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/turn/credentials", {"ttl": 0}),
        ("/api/turn/credentials", {"ttl": 86_401}),
        ("/api/turn/credentials", {"ttl": 1.5}),
        ("/api/device/pair", {"pairing_code": "x"}),
        ("/api/device/pair", {"pairing_code": "AAAA AAAA"}),
    ],
)
def test_bodies_out_of_range_are_refused(relay: Any, path: str, body: Any) -> None:
    refused = relay.post(path, body, token=relay.account().token)
    assert (refused.status, refused.code) == (400, "INVALID_PARAMETER")


def test_a_name_that_cannot_be_stored_is_refused(relay: Any) -> None:
    account = relay.account()
    robot = relay.robot(account)
    refused = relay.call("PATCH", f"/api/device/{robot.device_id}", {"name": "a\0b"}, token=account.token)
    assert (refused.status, refused.code) == (400, "INVALID_PARAMETER")


def test_turn_credentials_without_a_turn_server_are_an_empty_list(relay: Any) -> None:
    token = relay.account().token
    assert relay.post("/api/turn/credentials", {"ttl": 60}, token=token).json == {"iceServers": []}
    assert relay.post("/api/turn/credentials", token=token).json == {"iceServers": []}


def test_history_is_paged_and_kept_from_the_next_owner(relay: Any) -> None:
    account = relay.account()
    robot = relay.robot(account)
    opened = relay.device(robot)
    for number in (1, 2, 3, 2):
        event = {"event": "treat", "data": {"dispensed": True, "remaining": 9 - number}, "id": f"e{number}"}
        opened.send(event | {"timestamp": "2026-01-01T00:00:00Z"})
        assert opened.get("event_ack")["ids"] == [f"e{number}"]

    def page(query: str = "", token: str = account.token) -> Any:
        return relay.get(f"/api/events?device_id={robot.device_id}{query}", token=token).json

    everything = page()
    assert [event["id"] for event in everything["events"]] == ["e1", "e2", "e3"], "oldest first, each once"
    assert everything["events"][0]["data"] == {"dispensed": True, "remaining": 8}
    first = page("&after=0&limit=2")
    assert [event["id"] for event in first["events"]] == ["e1", "e2"]
    rest = page(f"&after={first['next_after']}")
    assert [event["id"] for event in rest["events"]] == ["e3"]
    assert page(f"&after={rest['next_after']}") == {"events": [], "next_after": None}
    assert [event["id"] for event in page("&limit=1")["events"]] == ["e3"]
    assert page("&type=mission")["events"] == []
    assert len(relay.get("/api/events", token=account.token).json["events"]) == 3
    refused = relay.get("/api/events?limit=many", token=account.token)
    assert (refused.status, refused.code) == (400, "INVALID_PARAMETER")
    heir = relay.account()
    relay.call("DELETE", f"/api/device/{robot.device_id}", token=account.token)
    code = opened.get("pairing_code")["code"]
    assert relay.post("/api/device/pair", {"pairing_code": code}, token=heir.token).status == 200
    assert page(token=heir.token)["events"] == []


def test_the_web_client_is_served_with_its_guards(relay: Any) -> None:
    config = relay.get("/client-config.json")
    assert config.json == {"served_by": "relay"}
    home = relay.get("/")
    assert home.status == 200
    assert home.headers["Content-Type"].startswith("text/html")
    assert "default-src 'self'" in home.headers["Content-Security-Policy"]
    assert home.headers["X-Content-Type-Options"] == "nosniff"
    assert home.headers["Access-Control-Allow-Origin"] is None
    script = relay.get("/app.js")
    assert script.headers["Content-Type"].startswith("text/javascript")
    assert relay.get("/api/auth/me").headers["Cache-Control"] == "no-store"


def test_readiness_and_metrics(relay: Any) -> None:
    assert relay.get("/ready").json == {"ready": True, "checks": {"postgres": "ok", "redis": "ok"}}
    relay.device(relay.robot())
    metrics = relay.get("/metrics")
    assert metrics.headers["Content-Type"].startswith("text/plain")
    assert "# TYPE wimz_relay_connections gauge" in metrics.body.decode()
    assert 'wimz_relay_redis_up{worker="' in metrics.body.decode()


def test_tokens_are_not_logged(relay: Any) -> None:
    account = relay.account()
    relay.open(f"/ws/app?token={account.token}").get("auth_result")
    relay.get(f"/health?token={account.token}")
    relay.get(f"/ws/app?token={account.token}")
    until(lambda: '"GET /health" 200' in relay.log.read_text(), "the requests are logged")
    assert account.token not in relay.log.read_text()
