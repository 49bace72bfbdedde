"""The count on disk."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from processes.dispenser import store as store_module
from processes.dispenser.limits import Moment
from processes.dispenser.store import TreatStore

AT = "2026-01-31T12:00:00.000Z"
NOON = Moment("boot", 1000.0, 1769860800.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "treats.sqlite"


def opened(path: Path, capacity: int = 3) -> TreatStore:
    return TreatStore(path, capacity, same_treat_ms=60)


def test_the_first_start_begins_with_the_capacity_and_later_ones_do_not(path: Path) -> None:
    store = opened(path)
    assert (store.remaining, store.last_treat_time) == (3, None)
    store.count(store.begin(None, "treat", AT), 1, NOON)
    store.close()
    again = opened(path, capacity=60)
    assert (again.remaining, again.last_treat_time) == (2, AT)


def test_it_is_as_safe_as_sqlite_can_be(path: Path) -> None:
    store = opened(path)
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_remaining_is_never_below_zero(path: Path) -> None:
    store = opened(path, capacity=1)
    deed = store.begin(None, "treat", AT)
    assert store.count(deed, 1_000_000, NOON)
    assert store.count(deed, 2_000_000, NOON)
    assert store.remaining == 0
    assert store.finish(deed, confirmed=True).drops == 2


@pytest.mark.parametrize(("again_us", "counts"), [(0, False), (60_000, False), (61_000, True), (-60_000, False)])
def test_one_treat_that_two_saw_or_that_tumbles_counts_once(path: Path, again_us: int, counts: bool) -> None:
    store = opened(path)
    deed = store.begin(None, "treat", AT)
    store.count(deed, 5_000_000, NOON)
    assert store.count(deed, 5_000_000 + again_us, NOON) is counts


def test_the_pins_clock_may_wrap_within_a_treat(path: Path) -> None:
    store = opened(path)
    deed = store.begin(None, "treat", AT)
    store.count(deed, 2**32 - 10_000, NOON)
    assert not store.count(deed, 10_000, NOON)


def test_two_processes_count_on_one_file(path: Path) -> None:
    mine, witness = opened(path), opened(path)
    deed = mine.begin("id", "treat", AT)
    seen = witness.unfinished()
    assert seen == deed
    witness.count(seen, 1, NOON)
    assert opened(path).remaining == 2


def test_a_request_is_known_by_its_id_with_what_came_of_it(path: Path) -> None:
    store = opened(path)
    deed = store.begin("id", "treat", AT)
    assert store.find("id") == deed
    store.count(deed, 1, NOON)
    finished = store.finish(deed, confirmed=True)
    store.close()
    assert opened(path).find("id") == finished
    assert (finished.remaining, finished.confirmed, finished.drops) == (2, True, 1)
    assert opened(path).find(None) is None


def test_a_forgotten_deed_may_be_begun_again(path: Path) -> None:
    store = opened(path)
    store.forget(store.begin("id", "treat", AT))
    assert store.find("id") is None
    assert store.unfinished() is None
    store.begin("id", "treat", AT)


def test_a_request_cannot_be_begun_twice(path: Path) -> None:
    store = opened(path)
    store.begin("id", "treat", AT)
    with pytest.raises(sqlite3.IntegrityError):
        store.begin("id", "treat", AT)


def test_what_is_remembered_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "KEPT_DEEDS", 5)
    store = opened(path)
    for number in range(12):
        deed = store.begin(f"id{number}", "treat", AT)
        store.count(deed, number, NOON)
        store.finish(deed, confirmed=True)
    assert store._db.execute("SELECT count(*) FROM deeds").fetchone() == (5,)
    assert store._db.execute("SELECT count(*) FROM drops").fetchone() == (5,)
    assert store.find("id11") is not None


def test_the_times_of_treats_are_kept_and_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "KEPT_TREATS", 3)
    store = opened(path)
    for number in range(5):
        store.count(store.begin(None, "treat", AT), 1, Moment("boot", float(number), 1769860800.0 + number))
    store.close()
    assert [given.monotonic_s for given in opened(path).given] == [2.0, 3.0, 4.0]


def test_what_another_process_counted_is_known_once_the_deed_is_finished(path: Path) -> None:
    mine, witness = opened(path), opened(path)
    deed = mine.begin("id", "treat", AT)
    witness.count(deed, 1, NOON)
    assert mine.finish(deed, confirmed=True).remaining == mine.remaining == 2


def test_a_deed_needs_room_on_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(path)
    monkeypatch.setattr(store_module, "SPARE_BYTES", 2**80)
    with pytest.raises(sqlite3.OperationalError, match="the disk is full"):
        store.begin("id", "treat", AT)
    assert store.find("id") is None


def test_power_lost_at_any_byte_of_a_write_leaves_a_whole_count(path: Path, tmp_path: Path) -> None:
    """What is cut off is the end of the log. What a method returned from was synced, and is never missing."""
    store = opened(path)
    wal = path.with_name(path.name + "-wal")
    written = [wal.stat().st_size]
    for number in range(3):
        store.count(store.begin(f"id{number}", "treat", AT), number, NOON)
        written.append(wal.stat().st_size)
    log = wal.read_bytes()
    for cut in (*range(written[0], len(log), 97), *written):
        copy = tmp_path / f"cut{cut}.sqlite"
        copy.write_bytes(path.read_bytes())
        copy.with_name(copy.name + "-wal").write_bytes(log[:cut])
        counted = 3 - opened(copy).remaining
        assert counted == sum(cut >= end for end in written[1:])


def test_a_file_of_an_older_version_goes_on(path: Path) -> None:
    old = sqlite3.connect(path)
    old.executescript(
        "CREATE TABLE carousel (only INTEGER PRIMARY KEY CHECK (only = 1), remaining INTEGER NOT NULL, "
        "last_treat_time TEXT); INSERT INTO carousel VALUES (1, 7, NULL);"
    )
    old.close()
    store = opened(path)
    assert (store.remaining, store.told, list(store.given)) == (7, "ok", [])
