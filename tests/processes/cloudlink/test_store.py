from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
import pytest

from bus.messages import RobotEvent
from processes.cloudlink.store import MAX_EVENT_BYTES, Outbox


def event(number: int) -> RobotEvent:
    return RobotEvent("treat", {"dispensed": True, "remaining": number}, f"id{number}", "2026-01-31T12:00:00.000Z")


def ids(outbox: Outbox) -> list[str]:
    return [stored.id for stored in outbox.after(0, 1000)]


def test_events_survive_in_order(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", 100)
    for number in range(5):
        outbox.add(event(number))
    outbox.close()
    again = Outbox(tmp_path / "outbox.db", 100)
    assert ids(again) == ["id0", "id1", "id2", "id3", "id4"]
    assert msgspec.json.decode(again.after(0, 1)[0].body, type=RobotEvent) == event(0)
    assert len(again) == 5


def test_the_same_event_is_kept_once(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", 100)
    assert outbox.add(event(1)) + outbox.add(event(1)) == 0
    assert len(outbox) == 1


def test_what_is_acknowledged_is_gone_and_unknown_ids_harm_nobody(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", 100)
    for number in range(4):
        outbox.add(event(number))
    outbox.remove(["id1", "id2", "what"])
    assert ids(outbox) == ["id0", "id3"]
    assert len(outbox) == 2


def test_a_full_outbox_drops_the_oldest_and_says_so(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", 3)
    dropped = [outbox.add(event(number)) for number in range(5)]
    assert dropped == [0, 0, 0, 1, 1]
    assert ids(outbox) == ["id2", "id3", "id4"]


def test_an_event_too_large_for_the_relay_is_not_kept(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", 3)
    assert outbox.add(RobotEvent("x", {"text": "a" * MAX_EVENT_BYTES}, "big", "t")) == 1
    assert len(outbox) == 0


def test_a_broken_database_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    path.write_bytes(b"this is no database, but long enough to be taken for one" * 100)
    outbox = Outbox(path, 3)
    outbox.add(event(1))
    assert ids(outbox) == ["id1"]
    assert path.with_suffix(".broken").exists()


def test_a_disk_that_cannot_be_written_is_an_error_and_no_loss(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        Outbox(tmp_path / "missing" / "outbox.db", 3)
