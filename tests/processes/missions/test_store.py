"""What is written is there after a restart, and nothing grows without end."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from processes.missions import store as store_module
from processes.missions.store import KeptMode, MissionStore

DAY, NEXT = "2026-03-02", "2026-03-03"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "missions.sqlite"


def reopened(store: MissionStore, path: Path) -> MissionStore:
    store.close()
    return MissionStore(path)


def test_the_mode_is_kept(path: Path) -> None:
    store = MissionStore(path)
    assert store.mode() is None
    kept = KeptMode("guardian", "Asked for.", "lan", "2026-03-02T12:00:00.000Z")
    store.keep_mode(KeptMode("idle", "", "start", ""))
    store.keep_mode(kept)
    assert reopened(store, path).mode() == kept


def test_counts_are_those_of_the_day_and_of_the_whole_life(path: Path) -> None:
    store = MissionStore(path)
    store.know("sit", "first")
    store.know("sit", "later")
    store.begin("sit", "idle", "run")
    for day in (DAY, DAY, NEXT):
        store.succeed("sit", day)
    store.fail("sit", DAY)
    store.ask("a", "sit", DAY)
    store.given("a")
    tally = reopened(store, path).tally("sit", DAY)
    assert (tally.created_at, tally.last_run) == ("first", "run")
    assert (tally.successes, tally.fails, tally.rewards, tally.counted, tally.all_successes) == (2, 1, 1, 1, 3)


def test_a_treat_counts_from_the_moment_it_is_asked_for_unless_it_surely_did_not_fall(path: Path) -> None:
    store = MissionStore(path)
    for name in "abcd":
        store.ask(name, "sit", DAY)
    assert store.tally("sit", DAY).counted == 4
    store.given("a")
    store.refused("b")
    store.unknown("c")
    store = reopened(store, path)
    assert store.unknown() == 1, "d, of which nobody heard"
    tally = store.tally("sit", DAY)
    assert (tally.rewards, tally.counted) == (1, 3)
    assert store.tally("sit", NEXT).counted == 0


def test_no_treat_is_asked_for_twice(path: Path) -> None:
    store = MissionStore(path)
    store.ask("a", "sit", DAY)
    with pytest.raises(sqlite3.IntegrityError):
        reopened(store, path).ask("a", "sit", DAY)


def test_a_run_that_was_cut_off_is_found(path: Path) -> None:
    store = MissionStore(path)
    store.begin("sit", "guardian", "now")
    store = reopened(store, path)
    assert store.cut_off() == ("sit", "guardian")
    store.end()
    assert reopened(store, path).cut_off() is None


def test_a_planned_start_is_claimed_once(path: Path) -> None:
    store = MissionStore(path)
    assert store.claim("sit", DAY, "08:30")
    assert not reopened(store, path).claim("sit", DAY, "08:30")


def test_what_is_old_is_forgotten(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KEPT_REWARDS", "KEPT_DAYS", "KEPT_STARTS"):
        monkeypatch.setattr(store_module, name, 3)
    store = MissionStore(path)
    for number in range(10):
        day = f"2026-03-{number + 1:02d}"
        store.ask(str(number), "sit", day)
        store.succeed("sit", day)
        assert store.claim("sit", day, "08:30")
    store.close()
    with sqlite3.connect(path) as database:
        for table in ("rewards", "days", "starts"):
            assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (3,), table
    database.close()


def test_a_day_long_ago_is_counted_while_the_clock_is_wrong(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "KEPT_DAYS", 2)
    store = MissionStore(path)
    for day in (DAY, NEXT, "1970-01-01"):
        store.fail("sit", day)
    assert store.tally("sit", "1970-01-01").fails == 1
