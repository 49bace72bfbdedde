"""A robot's link without a socket: who it is told of, and to whom its results go."""

from __future__ import annotations

import json
import time
from typing import Any

import gevent
import pytest

from relay import robots
from relay.metrics import Metrics
from relay.presence import Claim
from relay.robots import MAX_PENDING, RobotLink


class Wire:
    """Remembers what is sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send(self, data: bytes, key: str | None = None, *, urgent: bool = False) -> None:
        self.sent.append(json.loads(data))


class Worker:
    """Remembers what results and events are handed to its delivery."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.delivery = self
        self.results: list[tuple[str, str]] = []
        self.told: list[tuple[str, str]] = []

    def to_session(self, session_id: str, device_id: str, payload: bytes) -> None:
        self.results.append((session_id, device_id))

    def to_user(self, worker: str, user_id: str, device_id: str, payload: bytes, seq: int | None = None) -> None:
        self.told.append((worker, user_id))


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def link(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(robots, "USER_GONE_GRACE_S", 0.02)
    wire: Any = Wire()
    node: Any = worker
    return RobotLink(node, wire, "r1", Claim("w", 1, 1), {"u_1": "owner"}, bare=False)


def _types(link: Any) -> list[str]:
    return [message["type"] for message in link.connection.sent]


def _wait_for(link: Any, types: list[str]) -> None:
    deadline = time.monotonic() + 10
    while _types(link) != types:
        assert time.monotonic() < deadline, _types(link)
        gevent.sleep(0.005)


def test_the_robot_hears_of_the_first_app_and_of_the_last_after_a_grace(link: Any) -> None:
    link.watch("u_1", "w1", True)
    link.watch("u_1", "w2", True)
    link.watch("u_stranger", "w2", True)
    assert _types(link) == ["user_connected"]
    link.watch("u_1", "w1", False)
    link.watch("u_1", "w2", False)
    assert _types(link) == ["user_connected"]
    _wait_for(link, ["user_connected", "user_disconnected"])


def test_an_app_that_comes_back_within_the_grace_was_never_gone(link: Any) -> None:
    link.watch("u_1", "w1", True)
    link.watch("u_1", "w1", False)
    link.watch("u_1", "w1", True)
    gevent.sleep(0.05)
    assert _types(link) == ["user_connected"]


def test_what_redis_says_about_who_looks_replaces_what_was_known(link: Any, worker: Worker) -> None:
    link.watch("u_1", "w1", True)
    link.set_audience({"u_1": {"w2", "w3"}, "u_stranger": {"w4"}})
    link.to_audience(b"{}")
    assert sorted(worker.told) == [("w2", "u_1"), ("w3", "u_1")]
    link.set_audience({})
    _wait_for(link, ["user_connected", "user_disconnected"])


def _result(link: Any, **more: Any) -> None:
    link.received(
        json.dumps({"type": "command_result", "id": "c", "command": "treat", "success": True} | more).encode()
    )


def test_results_go_to_who_asked_in_the_order_of_asking(link: Any, worker: Worker) -> None:
    for session in ("w.a", "w.b"):
        link.command(session, b"{}", None, False, "c")
    for _ in range(3):
        _result(link)
    assert worker.results == [("w.a", "r1"), ("w.b", "r1")]
    assert worker.metrics.value("wimz_relay_dropped_total", 'reason="result_unasked"') == 1


def test_a_robot_may_say_whose_result_it_is(link: Any, worker: Worker) -> None:
    for session in ("w.a", "w.b"):
        link.command(session, b"{}", None, False, "c")
    _result(link, session="w.b")
    _result(link)
    assert worker.results == [("w.b", "r1"), ("w.a", "r1")]


def test_who_waits_for_results_is_bounded(link: Any, worker: Worker) -> None:
    link.command("w.a", b"{}", None, False, "c")
    for number in range(MAX_PENDING):
        link.command("w.a", b"{}", None, False, number)
    _result(link)
    assert worker.results == []
