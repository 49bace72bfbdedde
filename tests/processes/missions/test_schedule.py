"""Planned starts by local time, on the days when the clock is changed too."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from bus.errors import SettingsError
from processes.missions.definition import Definition
from processes.missions.schedule import due, local_date, open_zone
from tests.processes.missions.traces import mission

BERLIN = ZoneInfo("Europe/Berlin")


def plan(at: str, days: str = "[mon, tue, wed, thu, fri, sat, sun]") -> dict[str, Definition]:
    return {"sit": mission(schedule=f"[{{at: {at}, days: {days}}}]")}


def starts(plans: dict[str, Definition], begin: datetime, hours: float, zone: ZoneInfo = BERLIN) -> list[datetime]:
    """When it starts, as UTC, if somebody looks every minute."""
    found: dict[tuple[str, str, str], datetime] = {}
    for minute in range(round(hours * 60)):
        for occurrence in due(plans, begin + timedelta(minutes=minute), zone, 90.0):
            found.setdefault(occurrence.key, occurrence.due)
    return list(found.values())


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


def test_local_time_means_another_utc_in_summer_and_in_winter() -> None:
    assert starts(plan("08:30"), utc(2026, 1, 15), 24) == [utc(2026, 1, 15, 7, 30)]
    assert starts(plan("08:30"), utc(2026, 7, 15), 24) == [utc(2026, 7, 15, 6, 30)]


def test_a_time_that_does_not_exist_is_once_and_an_hour_later_by_the_new_clock() -> None:
    (start,) = starts(plan("02:30"), utc(2026, 3, 28, 22), 12)
    assert start == utc(2026, 3, 29, 1, 30)
    assert start.astimezone(BERLIN).strftime("%H:%M") == "03:30"


def test_a_time_that_exists_twice_is_meant_once_the_first_time() -> None:
    assert starts(plan("02:30"), utc(2026, 10, 24, 22), 12) == [utc(2026, 10, 25, 0, 30)]


def test_only_on_its_days() -> None:
    assert starts(plan("23:59", "[mon, fri]"), utc(2026, 3, 1), 7 * 24 + 24) == [
        utc(2026, 3, 2, 22, 59),
        utc(2026, 3, 6, 22, 59),
    ]


def test_the_local_day_counts_where_it_differs_from_that_of_utc() -> None:
    zone = ZoneInfo("Pacific/Auckland")
    assert starts(plan("07:00", "[mon]"), utc(2026, 3, 1), 24, zone) == [utc(2026, 3, 1, 18)]
    assert local_date(utc(2026, 3, 1, 18), zone).isoformat() == "2026-03-02"


def test_it_is_due_for_its_window_and_no_longer() -> None:
    moment = utc(2026, 1, 15, 7, 30)
    late_s = 300.0
    for offset_s, is_due in ((-1, False), (0, True), (299, True), (300, False)):
        assert bool(due(plan("08:30"), moment + timedelta(seconds=offset_s), BERLIN, late_s)) == is_due


def test_just_after_midnight_the_start_of_yesterday_is_still_made_up_for() -> None:
    (occurrence,) = due(plan("23:58"), utc(2026, 1, 14, 23, 1), BERLIN, 300.0)
    assert occurrence.day.isoformat() == "2026-01-14"


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"time_zone.*Accepted"):
        open_zone("Europe/Woofington")


def test_the_machines_own_zone_is_the_default(tmp_path: Path) -> None:
    source = next(Path(root) / "Europe/Berlin" for root in zoneinfo.TZPATH if Path(root).is_dir())
    assert open_zone(None, source).utcoffset(datetime(2026, 7, 1)) == timedelta(hours=2)
    assert open_zone(None, tmp_path / "none").utcoffset(datetime(2026, 7, 1)) == timedelta(0)
