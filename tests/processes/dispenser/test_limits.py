"""Cooldown and daily limit under clocks that jump, are wrong, and change to summer time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest

from contract.errors import ContractError
from processes.dispenser.limits import Limits, Moment, dated_s, for_people

BERLIN = ZoneInfo("Europe/Berlin")
HOUR_S = 3600.0
DAY_S = 24 * HOUR_S


class Clocks:
    """A machine's two clocks. `boot` begins a new boot."""

    def __init__(self, at: datetime, up_s: float = 1000.0) -> None:
        self.now = Moment("boot 1", up_s, at.timestamp())
        self.given: list[Moment] = []

    def pass_(self, seconds: float) -> None:
        self.now = Moment(self.now.boot, self.now.monotonic_s + seconds, self.now.utc_s + seconds)

    def jump(self, seconds: float) -> None:
        """The wall clock is set."""
        self.now = Moment(self.now.boot, self.now.monotonic_s, self.now.utc_s + seconds)

    def boot(self, wall_s: float) -> None:
        """Off and on again; the wall clock then differs by so much from what it last was."""
        self.now = Moment(f"{self.now.boot}'", 20.0, self.now.utc_s + wall_s)

    def give(self, times: int = 1) -> None:
        self.given += [self.now] * times


def at(text: str, zone: tzinfo = UTC) -> Clocks:
    return Clocks(datetime.fromisoformat(text).replace(tzinfo=zone))


def refusal(limits: Limits, clocks: Clocks) -> ContractError | None:
    try:
        limits.check(clocks.given, clocks.now)
    except ContractError as error:
        return error
    return None


def code(limits: Limits, clocks: Clocks) -> str | None:
    error = refusal(limits, clocks)
    return error.code if error else None


COOLDOWN = Limits(60.0, None, UTC)
DAILY = Limits(0.0, 3, UTC)


def test_the_cooldown_tells_the_time_left() -> None:
    clocks = at("2026-01-31 12:00")
    assert refusal(COOLDOWN, clocks) is None
    clocks.give()
    clocks.pass_(20.5)
    error = refusal(COOLDOWN, clocks)
    assert error is not None
    assert (error.code, error.status, error.retry_after_s) == ("COOLDOWN", 429, 39.5)
    assert "in 40 s" in error.message
    clocks.pass_(39.5)
    assert refusal(COOLDOWN, clocks) is None


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S, 365 * DAY_S, -365 * DAY_S])
def test_a_clock_that_jumps_neither_shortens_nor_lengthens_the_cooldown(jump_s: float) -> None:
    clocks = at("2026-01-31 12:00")
    clocks.give()
    clocks.pass_(20.0)
    clocks.jump(jump_s)
    assert COOLDOWN.cooldown_left_s(clocks.given, clocks.now) == 40.0


@pytest.mark.parametrize("wall_s", [0.0, HOUR_S, -365 * DAY_S, 365 * DAY_S])
def test_after_a_reboot_the_cooldown_begins_with_the_boot_at_the_latest(wall_s: float) -> None:
    clocks = at("2026-01-31 12:00")
    clocks.give()
    clocks.boot(wall_s)
    assert COOLDOWN.cooldown_left_s(clocks.given, clocks.now) == 40.0  # the boot was 20 s ago
    clocks.pass_(40.0)
    assert refusal(COOLDOWN, clocks) is None


def test_the_daily_limit_holds_until_midnight_and_tells_how_long_that_is() -> None:
    clocks = at("2026-01-31 18:00")
    clocks.give(2)
    assert refusal(DAILY, clocks) is None
    clocks.give()
    error = refusal(DAILY, clocks)
    assert error is not None
    assert (error.code, error.status, error.retry_after_s) == ("DAILY_LIMIT", 429, 6 * HOUR_S)
    assert "6 h 0 min" in error.message
    clocks.pass_(6 * HOUR_S - 1)
    assert code(DAILY, clocks) == "DAILY_LIMIT"
    clocks.pass_(1)
    assert refusal(DAILY, clocks) is None
    assert DAILY.today(clocks.given, clocks.now) == 0


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S, DAY_S, -DAY_S, 365 * DAY_S, -365 * DAY_S])
def test_a_clock_that_jumps_takes_the_treats_of_today_along(jump_s: float) -> None:
    clocks = at("2026-01-31 12:00")
    clocks.give(3)
    clocks.pass_(HOUR_S)
    clocks.jump(jump_s)
    assert code(DAILY, clocks) == "DAILY_LIMIT"
    clocks.pass_(DAY_S)
    assert refusal(DAILY, clocks) is None


def test_a_clock_set_right_soon_after_the_boot_dates_what_was_given_before_it_was() -> None:
    clocks = at("2026-01-30 22:00")
    clocks.give(2)
    clocks.boot(5.0)  # no battery clock: it goes on where it was switched off
    clocks.give(1)
    assert DAILY.today(clocks.given, clocks.now) == 3
    clocks.jump(10 * HOUR_S)  # the network knows that it is the next morning
    assert DAILY.today(clocks.given, clocks.now) == 1


def test_treats_of_an_earlier_boot_that_lie_in_the_future_count_as_given_at_the_boot() -> None:
    clocks = at("2026-01-31 12:00")
    clocks.give(3)
    clocks.boot(-365 * DAY_S)
    assert code(DAILY, clocks) == "DAILY_LIMIT"
    assert dated_s(clocks.given[0], clocks.now) == clocks.now.utc_s - 20.0
    clocks.pass_(DAY_S)
    assert refusal(DAILY, clocks) is None


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-01", 24)])
def test_a_day_is_as_long_as_it_is_there(day: str, hours: int) -> None:
    limits = Limits(0.0, 1, BERLIN)
    clocks = at(f"{day} 00:00", BERLIN)
    clocks.give()
    error = refusal(limits, clocks)
    assert error is not None
    assert error.retry_after_s == hours * HOUR_S
    clocks.pass_(hours * HOUR_S - 1)
    assert code(limits, clocks) == "DAILY_LIMIT"
    clocks.pass_(1)
    assert refusal(limits, clocks) is None


def test_midnight_is_that_of_the_machines_own_zone_where_none_is_given() -> None:
    midnight = datetime.combine(datetime.now().date(), datetime.min.time())
    clocks = Clocks(midnight - timedelta(seconds=1))
    clocks.give()
    limits = Limits(0.0, 1)
    assert code(limits, clocks) == "DAILY_LIMIT"
    clocks.pass_(1)
    assert refusal(limits, clocks) is None


def test_without_a_limit_any_number_is_given() -> None:
    clocks = at("2026-01-31 12:00")
    clocks.give(500)
    limits = Limits(0.0, None, UTC)
    assert refusal(limits, clocks) is None
    assert limits.today(clocks.given, clocks.now) == 500


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.1, "1 s"), (60, "60 s"), (61, "2 min"), (3600, "1 h 0 min"), (20_000, "5 h 34 min")]
)
def test_time_left_for_people(seconds: float, words: str) -> None:
    assert for_people(seconds) == words
