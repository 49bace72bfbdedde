"""The history: numbered under the robot's lock, read by cursor, caught up over the socket, and deleted by age."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from relay import history
from relay.crypto import Sealer
from relay.store import NewEvent, Store
from tests.relay.conftest import MASTER_KEY, until


@pytest.fixture
def store(relay: Any) -> Iterator[Store]:
    made = Store(relay.database_url, Sealer(MASTER_KEY))
    made.open()
    yield made
    made.close()


def _event(robot: Any, name: str, **data: Any) -> NewEvent:
    return NewEvent(robot.device_id, name, "treat", data, "2026-01-01T00:00:00.000Z")


def _catch_up(app: Any, robot: Any, after: int) -> list[int]:
    """The numbers that all pages bring."""
    app.send({"type": "catch_up", "device_id": robot.device_id, "after": after})
    found: list[int] = []
    while True:
        page = app.get("caught_up", device_id=robot.device_id)
        assert page["after"] == (found[-1] if found else after)
        found += [event["seq"] for event in page["events"]]
        assert page["next_after"] == (found[-1] if found else after)
        if not page["more"]:
            return found


def test_catching_up_brings_pages_until_there_is_no_more(relay: Any, store: Store) -> None:
    account = relay.account()
    robot = relay.robot(account)
    store.add_events([_event(robot, f"e{number}", remaining=1) for number in range(450)])
    app = relay.app(account)
    assert _catch_up(app, robot, 0) == list(range(1, 451))
    assert _catch_up(app, robot, 440) == list(range(441, 451))
    assert _catch_up(app, robot, 450) == []
    app.send({"type": "catch_up", "after": 449})
    (event,) = app.get("caught_up")["events"]
    same = relay.get(f"/api/events?device_id={robot.device_id}&after=449", token=account.token).json["events"]
    assert [event] == same
    assert set(event) == {"seq", "id", "device_id", "event", "data", "timestamp"}


def test_a_page_is_bounded_in_bytes_too(relay: Any, store: Store) -> None:
    account = relay.account()
    robot = relay.robot(account)
    store.add_events([_event(robot, f"e{number}", filler="x" * 20_000) for number in range(10)])
    app = relay.app(account, max_size=65_536)
    assert _catch_up(app, robot, 0) == list(range(1, 11))


def test_catching_up_is_for_who_may_see_the_robot(relay: Any, store: Store) -> None:
    owner, stranger = relay.account(), relay.account()
    robot = relay.robot(owner)
    store.add_events([_event(robot, "e1")])
    app = relay.app(stranger)
    app.send({"type": "catch_up", "device_id": robot.device_id, "after": 0})
    assert app.get("error")["code"] == "NOT_AUTHORIZED"
    app.send({"type": "catch_up", "after": 0})
    assert app.get("error")["code"] == "NOT_PAIRED"
    for after in (-1, 1.5, "0", None, 2**60):
        app.send({"type": "catch_up", "device_id": robot.device_id, "after": after})
        assert app.get("error")["code"] == "INVALID_PARAMETER"
    assert not [seen for seen in app.sync() if seen.get("type") == "caught_up"]


def test_nothing_is_missed_and_nothing_comes_twice_while_two_workers_write(relay: Any) -> None:
    """A robot that reconnects to the other worker all the time, while an app on each worker catches up all the time."""
    account = relay.account()
    robot = relay.robot(account)
    first = relay.device(robot)
    apps = [relay.on_worker(relay.pid_of(first), lambda: relay.app(account), other=other) for other in (False, True)]
    names = itertools.count(1)
    stop = threading.Event()
    sent: list[str] = []

    def write(opened: Any) -> None:
        """A burst, acknowledged in the end."""
        burst = [f"n{next(names)}" for _ in range(40)]
        for name in burst:
            opened.send({"event": "treat", "data": {"dispensed": True, "remaining": 1}, "id": name})
        sent.extend(burst)
        waiting = set(burst)
        while waiting:
            waiting -= set(opened.get("event_ack")["ids"])

    def robots() -> None:
        opened = first
        for _ in range(6):
            write(opened)
            opened = relay.open("/ws/device", robot.headers())
            opened.get("paired")
        write(opened)
        stop.set()

    writer = threading.Thread(target=robots)
    writer.start()
    received: list[list[int]] = [[] for _ in apps]
    deadline = time.monotonic() + 60
    while not stop.is_set():
        assert time.monotonic() < deadline
        for app, numbers in zip(apps, received, strict=True):
            _take(app, robot, numbers)
    writer.join(30)
    for app, numbers in zip(apps, received, strict=True):
        _take(app, robot, numbers)
        assert numbers == list(range(1, len(sent) + 1)), "each once, in order, none left out"


def _take(app: Any, robot: Any, numbers: list[int]) -> None:
    """Catch up after the last number; what comes by itself before and after counts as well."""
    app.send({"type": "catch_up", "device_id": robot.device_id, "after": numbers[-1] if numbers else 0})
    start = len(app.seen)
    while app.get("caught_up")["more"]:
        pass
    app.sync()
    for message in app.seen[start:]:
        if message.get("type") == "caught_up":
            # A live event may have come between our request's cursor and its arrival there: the pages repeat it then.
            numbers += [event["seq"] for event in message["events"] if not numbers or event["seq"] > numbers[-1]]
        elif message.get("event") == "treat":
            assert not numbers or message["seq"] > numbers[-1], "what comes by itself is never old"
            numbers.append(message["seq"])


def test_one_catch_up_of_a_robot_at_a_time(relay: Any, store: Store) -> None:
    account = relay.account()
    robot = relay.robot(account)
    store.add_events([_event(robot, f"e{number}") for number in range(300)])
    app = relay.app(account)
    for _ in range(3):
        app.send({"type": "catch_up", "device_id": robot.device_id, "after": 0})
    ends, refusals = 0, 0
    while ends + refusals < 3:
        answer = app.get_any("caught_up", "error")
        refusals += answer.get("code") == "BUSY"
        ends += answer.get("more") is False
    assert ends >= 1


def test_a_database_that_is_away_ends_a_catch_up_with_words(relay: Any, store: Store) -> None:
    account = relay.account()
    robot = relay.robot(account)
    store.add_events([_event(robot, "e1")])
    app = relay.app(account)
    relay.execute("ALTER TABLE events RENAME TO events_away")
    try:
        app.send({"type": "catch_up", "device_id": robot.device_id, "after": 0})
        assert app.get("error", device_id=robot.device_id)["code"] == "UNAVAILABLE"
    finally:
        relay.execute("ALTER TABLE events_away RENAME TO events")
    assert _catch_up(app, robot, 0) == [1]


def test_old_events_are_deleted_in_batches_by_one_worker_at_a_time(
    relay: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "EXPIRE_BATCH", 10)
    robot = relay.robot(relay.account())
    store.add_events([_event(robot, f"e{number}") for number in range(30)])
    relay.execute(
        # Too young for the relays that run beside this.
        "UPDATE events SET stored_at = now() - interval '10 days' WHERE device_id = %s AND seq <= 25",
        robot.device_id,
    )
    deleted = [store.expire_events(5) for _ in range(4)]
    assert deleted == [10, 10, 5, 0]
    assert [row.seq for row in store.events([robot.device_id], after=0)] == [26, 27, 28, 29, 30]
    assert [row.seq for _, row in store.add_events([_event(robot, "new")]) if row] == [31], "numbers go on"


def test_a_running_relay_deletes_what_is_too_old(make_relay: Callable[..., Any]) -> None:
    relay = make_relay(RETENTION_DAYS="15")
    robot = relay.robot(relay.account())
    store = Store(relay.database_url, Sealer(MASTER_KEY))
    store.open()
    store.add_events([_event(robot, f"e{number}") for number in range(3)])
    store.close()
    relay.execute("UPDATE events SET stored_at = now() - interval '20 days' WHERE device_id = %s", robot.device_id)
    relay.stop()
    relay.start()
    until(lambda: not relay.rows("SELECT 1 FROM events WHERE device_id = %s", robot.device_id), "they are deleted")
    relay.stop()
