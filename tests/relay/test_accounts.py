"""Accounts: what ends their tokens and sockets, and what is left of one that is deleted."""

from __future__ import annotations

import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cli.embedded import EmbeddedValkey
from contract.errors import ContractError
from relay import limits
from relay.auth import Tokens
from relay.limits import Limit, Limits
from relay.node import SESSION_GRACE_S
from relay.presence import connect
from tests.relay.conftest import MASTER_KEY, PASSWORD, SECRET, until


def _everywhere(relay: Any, account: Any) -> list[Any]:
    """An app of the account on each worker."""
    first = relay.app(account)
    return [first, relay.on_worker(relay.pid_of(first), lambda: relay.app(account), other=True)]


def _live_robot(relay: Any, account: Any) -> tuple[Any, Any]:
    robot = relay.robot(account)
    return robot, relay.device(robot)


def test_a_token_is_exchanged_for_a_fresh_one(relay: Any) -> None:
    account = relay.account()
    fresh = relay.post("/api/auth/refresh", token=account.token).json
    assert (fresh["user_id"], fresh["expires_in"]) == (account.user_id, 604_800)
    assert relay.get("/api/auth/me", token=fresh["token"]).json["email"] == account.email


def test_signing_out_ends_every_token_and_every_socket_on_every_worker(relay: Any) -> None:
    account, other = relay.account(), relay.account()
    bystander = relay.app(other)
    apps = _everywhere(relay, account)
    assert relay.post("/api/auth/logout", token=account.token).json == {"success": True}
    for app in apps:
        assert app.closed(timeout_s=5) == 4001
        assert app.seen[-1]["code"] == "AUTH_FAILED"
    assert relay.get("/api/auth/me", token=account.token).status == 401
    assert relay.post("/api/auth/refresh", token=account.token).status == 401
    again = relay.post("/api/auth/login", {"email": account.email, "password": PASSWORD}).json
    assert relay.get("/api/auth/me", token=again["token"]).status == 200
    bystander.sync()


def test_signing_out_ends_video_whose_app_has_just_gone(relay: Any) -> None:
    account = relay.account()
    _, opened = _live_robot(relay, account)
    app = relay.on_worker(relay.pid_of(opened), lambda: relay.app(account), other=True)
    app.send({"type": "webrtc_request"})
    session = opened.get("webrtc_request")["session_id"]
    closed_s = time.monotonic()
    app.close()
    opened.get("session_ended")
    relay.post("/api/auth/logout", token=account.token)
    told = [opened.get_any("webrtc_close", "access_changed") for _ in range(2)]  # in any order
    by_type = {message["type"]: message for message in told}
    assert by_type["webrtc_close"]["session_id"] == session
    assert by_type["access_changed"]["user_id"] == account.user_id
    assert time.monotonic() - closed_s < SESSION_GRACE_S, "by the signing out, not by the app's going"


def test_a_new_password_ends_what_the_old_one_opened(relay: Any) -> None:
    account = relay.account()
    apps = _everywhere(relay, account)
    body = {"password": PASSWORD, "new_password": "another good one"}
    wrong = relay.post("/api/auth/password", body | {"password": "not it"}, token=account.token)
    assert (wrong.status, wrong.code) == (403, "NOT_AUTHORIZED")
    apps[0].sync()
    changed = relay.post("/api/auth/password", body, token=account.token).json
    for app in apps:
        assert app.closed(timeout_s=5) == 4001
    assert relay.get("/api/auth/me", token=account.token).status == 401
    account.token = changed["token"]
    relay.app(account).sync()
    assert relay.post("/api/auth/login", {"email": account.email, "password": PASSWORD}).status == 401
    assert relay.post("/api/auth/login", {"email": account.email, "password": "another good one"}).status == 200


def test_of_two_password_changes_at_once_one_counts(relay: Any) -> None:
    account = relay.account()

    def change(number: int) -> int:
        body = {"password": PASSWORD, "new_password": f"new password {number}"}
        return int(relay.post("/api/auth/password", body, token=account.token).status)

    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(change, range(4)))
    assert statuses.count(200) == 1
    assert set(statuses) <= {200, 401, 403}


def test_a_deleted_account_leaves_nothing_and_frees_its_robots(relay: Any) -> None:
    account, friend = relay.account(), relay.account()
    robot, opened = _live_robot(relay, account)
    borrowed = relay.robot(friend)
    relay.share(friend, borrowed, account, "driver")
    relay.share(account, robot, friend, "viewer")
    opened.send({"event": "treat", "data": {"dispensed": True, "remaining": 3}, "id": "e1"})
    opened.get("event_ack")
    apps, friends_app = _everywhere(relay, account), relay.app(friend)
    refused = relay.call("DELETE", "/api/auth/me", {"password": "not it"}, token=account.token)
    assert (refused.status, refused.code) == (403, "NOT_AUTHORIZED")
    assert relay.call("DELETE", "/api/auth/me", {"password": PASSWORD}, token=account.token).status == 200
    for app in apps:
        assert app.closed(timeout_s=5) == 4001
    opened.get("paired", paired=False)
    opened.get("pairing_code")
    friends_app.get("error", code="NOT_AUTHORIZED", device_id=robot.device_id)
    for table, column in (("users", "user_id"), ("members", "user_id"), ("events", "owner_id")):
        assert relay.rows(f"SELECT 1 FROM {table} WHERE {column} = %s", account.user_id) == []
    assert relay.rows("SELECT owner_id FROM devices WHERE device_id = %s", robot.device_id) == [(None,)]
    assert relay.rows("SELECT 1 FROM events WHERE device_id = %s", robot.device_id) == []
    assert relay.rows("SELECT 1 FROM members WHERE device_id = %s", robot.device_id) == []
    assert relay.get("/api/device/list", token=friend.token).json["devices"][0]["device_id"] == borrowed.device_id
    assert relay.post("/api/auth/login", {"email": account.email, "password": PASSWORD}).status == 401


def test_many_guesses_at_once_are_counted_as_many(relay: Any) -> None:
    account = relay.account()

    def guess(number: int) -> int:
        return int(relay.post("/api/auth/login", {"email": account.email, "password": f"guess {number}"}).status)

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(guess, range(24)))
    assert statuses.count(401) == 10
    assert statuses.count(429) == 14
    relay.forgive_addresses()


def test_the_password_of_a_session_is_guessed_ten_times(relay: Any) -> None:
    account = relay.account()
    for _ in range(10):
        wrong = relay.call("DELETE", "/api/auth/me", {"password": "no"}, token=account.token)
        assert wrong.code == "NOT_AUTHORIZED"
    limited = relay.call("DELETE", "/api/auth/me", {"password": PASSWORD}, token=account.token)
    assert (limited.status, limited.code) == (429, "RATE_LIMITED")
    assert relay.get("/api/auth/me", token=account.token).status == 200


def test_codes_are_guessed_ten_times(relay: Any) -> None:
    account = relay.account()
    for number in range(10):
        path, name = (("pair", "pairing_code"), ("join", "share_code"))[number % 2]
        assert relay.post(f"/api/device/{path}", {name: "AAAA2222"}, token=account.token).code == "NOT_FOUND"
    for path, name in (("pair", "pairing_code"), ("join", "share_code")):
        assert relay.post(f"/api/device/{path}", {name: "AAAA2222"}, token=account.token).code == "RATE_LIMITED"
    relay.forgive_addresses()


def test_an_unknown_account_takes_as_long_as_a_wrong_password(relay: Any) -> None:
    account = relay.account()

    def took_s(email: str) -> float:
        began = time.monotonic()
        assert relay.post("/api/auth/login", {"email": email, "password": "wrong"}).status == 401
        return time.monotonic() - began

    known, unknown = [], []
    for number in range(8):
        known.append(took_s(account.email))
        unknown.append(took_s(f"nobody{number}@example.org"))
    ratio = statistics.median(unknown) / statistics.median(known)
    assert 0.4 < ratio < 2.5, "without a hash to compare it would be a tenth"
    relay.forgive_addresses()


# -- limits ----------------------------------------------------------------------------------------


@pytest.fixture
def valkey() -> Iterator[EmbeddedValkey]:
    with tempfile.TemporaryDirectory(prefix="wz-") as directory:
        server = EmbeddedValkey(Path(directory))
        server.start()
        yield server
        server.stop()


def test_attempts_are_counted_given_back_and_expire(valkey: EmbeddedValkey) -> None:
    counted = Limits(connect(valkey.url))
    limit = Limit("test", 2, 1)
    for _ in range(5):
        counted.take(limit, "good")
        counted.give_back(limit, "good")
    counted.take(limit, "bad")
    counted.take(limit, "bad")
    with pytest.raises(ContractError) as refused:
        counted.take(limit, "bad")
    assert refused.value.code == "RATE_LIMITED"
    assert 0 <= (refused.value.retry_after_s or 0) <= 1
    until(lambda: not connect(valkey.url).keys("wimz:limit:*"), "everything expires, so nothing grows", 5)
    counted.take(limit, "bad")


def test_without_redis_no_attempt_is_accepted_and_robots_get_in(
    make_relay: Callable[..., Any], valkey: EmbeddedValkey
) -> None:
    relay = make_relay(REDIS_URL=valkey.url)
    account = relay.account()
    robot = relay.robot(account)
    os.kill(valkey.child.pid, signal.SIGSTOP)
    try:
        for path, body in (
            ("/api/auth/login", {"email": account.email, "password": PASSWORD}),
            ("/api/auth/register", {"email": "new@example.org", "password": PASSWORD}),
        ):
            refused = relay.post(path, body)
            assert (refused.status, refused.code) == (503, "UNAVAILABLE")
        refused = relay.post("/api/device/pair", {"pairing_code": "AAAA2222"}, token=account.token)
        assert (refused.status, refused.code) == (503, "UNAVAILABLE")
        relay.device(robot)
    finally:
        os.kill(valkey.child.pid, signal.SIGCONT)
    until(lambda: relay.get("/ready").status == 200, "it heals")
    assert relay.post("/api/auth/login", {"email": account.email, "password": PASSWORD}).status == 200
    relay.stop()


def test_keys_are_rotated_without_signing_anybody_out(make_relay: Callable[..., Any], relay: Any) -> None:
    account = relay.account()
    robot = relay.robot(account)
    code = relay.post(f"/api/device/{robot.device_id}/share", {"role": "viewer"}, token=account.token).json
    new = {"JWT_SECRET": "n" * 40, "MASTER_KEY": "k" * 40}
    rotated = make_relay(JWT_SECRET_PREVIOUS=SECRET, MASTER_KEY_PREVIOUS=MASTER_KEY, **new)
    assert rotated.get("/api/auth/me", token=account.token).status == 200
    fresh = rotated.post("/api/auth/refresh", token=account.token).json["token"]
    Tokens("n" * 40).verify(fresh)
    rotated.device(robot)
    friend = relay.account()
    joined = rotated.post("/api/device/join", {"share_code": code["share_code"]}, token=friend.token)
    assert joined.json["role"] == "viewer"
    rotated.close_all()
    rotated.stop()
    without = make_relay(**new)
    assert without.get("/api/auth/me", token=account.token).status == 401
    assert without.get("/api/auth/me", token=fresh).status == 200
    shut_out = without.open("/ws/device", robot.headers())
    assert shut_out.get("error")["code"] == "UNAVAILABLE"
    without.close_all()
    without.stop()


def test_every_limit_has_a_name_of_its_own() -> None:
    names = [limit.name for limit in vars(limits).values() if isinstance(limit, Limit)]
    assert len(names) == len(set(names)) == 7
