"""The book of treats: ids, limits, refills, cut-off deeds, and a disk that fails, on a real file."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from contract.errors import ContractError
from processes.dispenser.book import TreatBook
from processes.dispenser.config import DispenserConfig
from processes.dispenser.limits import Moment
from processes.dispenser.store import Deed, TreatStore

NOON_S = 1769860800.0
DAY_S = 86_400.0


class Owner:
    """A book that can be closed and opened again, and its clocks."""

    def __init__(self, path: Path, *, beam_fitted: bool = True, **settings: object) -> None:
        self.path, self.beam_fitted = path, beam_fitted
        self.config = DispenserConfig(**{"capacity": 12, "low_at": 3, "cooldown_s": 0.0} | settings)  # type: ignore[arg-type]
        self.now = Moment("boot", 1000.0, NOON_S)
        self.open()

    def open(self) -> list[Deed]:
        self.store = TreatStore(self.path, self.config.capacity, self.config.same_treat_ms)
        self.book = TreatBook(self.store, self.config, lambda: self.now, beam_fitted=self.beam_fitted)
        return self.book.settle()

    def give(self, request_id: str | None = None) -> Deed:
        deed = self.book.begin(request_id, "treat")
        self.book.count(deed, deed.number * 1_000_000)
        return self.book.finish(deed, given=True)

    def write_protect(self, *, on: bool = True) -> None:
        """SQLite refuses every write, as on a disk that became read-only."""
        self.store._db.execute(f"PRAGMA query_only = {int(on)}")


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    return Owner(tmp_path / "treats.sqlite")


def test_an_id_is_that_of_one_command(owner: Owner) -> None:
    owner.give("id")
    for kind in ("rotate", "refill"):
        with pytest.raises(ContractError, match="used for another command") as refusal:
            owner.book.done("id", kind)
        assert refusal.value.status == 409


def test_a_treat_that_nobody_watched_to_its_end_is_not_given_again_nor_counted(owner: Owner) -> None:
    owner.book.begin("id", "treat")
    owner.store.close()  # the power is lost
    assert owner.open() == []
    assert owner.book.remaining == 12
    for _ in range(2):
        with pytest.raises(ContractError, match="nobody saw whether") as refusal:
            owner.book.done("id", "treat")
        assert refusal.value.code == "CONFLICT"
        owner.open()


def test_a_treat_that_was_seen_before_the_power_was_lost_is_finished(owner: Owner) -> None:
    owner.book.count(owner.book.begin("id", "treat"), 5)
    owner.store.close()
    (finished,) = owner.open()
    assert (finished.drops, finished.confirmed, finished.remaining) == (1, True, 11)
    assert owner.book.done("id", "treat") == finished


def test_without_a_beam_a_treat_that_was_cut_off_is_taken_to_have_fallen(tmp_path: Path) -> None:
    owner = Owner(tmp_path / "treats.sqlite", beam_fitted=False)
    owner.book.begin("id", "treat")
    (finished,) = owner.open()
    assert (finished.confirmed, owner.book.remaining, owner.book.today()) == (False, 11, 1)
    assert owner.book.done("id", "treat") == finished


def test_limits_hold_over_restarts(tmp_path: Path) -> None:
    owner = Owner(tmp_path / "treats.sqlite", daily_limit=2, cooldown_s=10.0)
    owner.give()
    owner.open()
    with pytest.raises(ContractError, match="COOLDOWN"):
        owner.book.check_limits()
    owner.now = Moment("boot", 1010.0, NOON_S + 10)
    owner.book.check_limits()
    owner.give()
    owner.open()
    with pytest.raises(ContractError, match="DAILY_LIMIT"):
        owner.book.check_limits()
    assert owner.book.today() == 2


def test_a_clock_that_is_set_dates_the_treats_of_this_boot_anew_for_the_next(owner: Owner) -> None:
    owner.give()
    owner.now = Moment("boot", 1060.0, NOON_S + 60 + DAY_S)  # a day was missing
    owner.book.mind_the_clock()
    assert owner.book.last_treat_time == "2026-02-01T12:00:00.000Z"
    owner.now = Moment("next boot", 20.0, NOON_S + DAY_S + 600)
    owner.open()
    assert owner.book.today() == 1


def test_a_clock_that_drifts_is_not_taken_for_set(owner: Owner) -> None:
    owner.give()
    owner.now = Moment("boot", 1060.0, NOON_S + 90)
    owner.book.mind_the_clock()
    assert owner.book.last_treat_time == "2026-01-31T12:00:00.000Z"


def test_treats_stamped_by_a_clock_far_ahead_lock_one_day_and_not_all_the_years(tmp_path: Path) -> None:
    owner = Owner(tmp_path / "treats.sqlite", daily_limit=1)
    owner.now = Moment("boot", 1000.0, NOON_S + 4000 * DAY_S)
    owner.give()
    for day, today in enumerate((1, 0, 0)):
        owner.now = Moment(f"boot of day {day}", 30.0, NOON_S + day * DAY_S)
        owner.open()
        assert owner.book.today() == today


def test_a_refill_sets_the_count_and_is_done_once(owner: Owner) -> None:
    owner.give()
    assert owner.book.refill("id", 12) == 12
    owner.give()
    owner.open()
    done = owner.book.done("id", "refill")
    assert done is not None
    assert done.remaining == 12
    assert owner.book.remaining == 11


def test_more_than_the_carousel_holds_is_refused(owner: Owner) -> None:
    with pytest.raises(ContractError, match="0 to 12") as refusal:
        owner.book.refill(None, 13)
    assert refusal.value.code == "INVALID_PARAMETER"
    assert owner.book.remaining == 12


def test_the_stock_is_told_once_for_each_crossing_also_over_restarts(owner: Owner) -> None:
    told = []
    for step in ("", *"ggggggggg", "open", "g", "4", "5", "6", "g", "g", "g", "0", "12"):
        match step:
            case "g":
                owner.give()
            case "open":
                owner.open()
            case "":
                pass
            case count:
                owner.book.refill(None, int(count))
        if (change := owner.book.stock_change()) is not None:
            told.append((step, owner.book.remaining, *change))
            owner.book.stock_told(change[1])
    assert told == [
        ("g", 3, "ok", "low"),
        ("6", 6, "low", "ok"),
        ("g", 3, "ok", "low"),
        ("0", 0, "low", "empty"),
        ("12", 12, "empty", "ok"),
    ]


def test_a_treat_that_fell_while_the_disk_failed_is_counted_when_it_writes_again(owner: Owner) -> None:
    deed = owner.book.begin("id", "treat")
    owner.write_protect()
    for write in (
        lambda: owner.book.count(deed, 7),
        lambda: owner.book.finish(deed, given=True),
        owner.book.settle,
    ):
        with pytest.raises(sqlite3.Error):
            write()
    owner.write_protect(on=False)
    (finished,) = owner.book.settle()
    assert (finished.drops, finished.confirmed, owner.book.remaining) == (1, True, 11)
    assert owner.book.settle() == []
