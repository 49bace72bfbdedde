"""When missions start by themselves: local times of a zone, with summer time. Pure; `now` is passed in as UTC.

A time that does not exist (the clock goes from 02:00 to 03:00, and it says 02:30) is taken as if the clock had not been
changed yet: 03:30 by the new time. One that exists twice is meant once, the first time.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from bus.errors import SettingsError
from processes.missions.definition import DAYS, Definition, Planned

LOCALTIME = Path("/etc/localtime")


@dataclass(frozen=True, order=True)
class Occurrence:
    """One planned start. `key` names it for good: it happens once, whatever the clock does.

    Attributes:
        due: UTC.
        day: local date.
        at: local time as written in the mission's file.
    """

    due: datetime
    mission: str
    day: date
    at: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self.mission, self.day.isoformat(), self.at


def open_zone(name: str | None, localtime: Path = LOCALTIME) -> ZoneInfo:
    """The zone of that name; None: the machine's own, or UTC where it has none.

    Raises:
        SettingsError: there is no such zone.
    """
    if name is None:
        try:
            with localtime.open("rb") as stream:
                return ZoneInfo.from_file(stream, "localtime")
        except (OSError, ValueError):
            return ZoneInfo("UTC")
    try:
        return ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SettingsError(
            f"missions.time_zone: there is no zone {name!r}. Accepted: a name as in `timedatectl list-timezones`, "
            "such as Europe/Berlin, or null for the machine's own."
        ) from error


def local_date(now: datetime, zone: ZoneInfo) -> date:
    return now.astimezone(zone).date()


def due(plans: Mapping[str, Definition], now: datetime, zone: ZoneInfo, late_s: float) -> list[Occurrence]:
    """Those that are due, and not longer than `late_s`, the earliest first."""
    today = local_date(now, zone)
    found = [
        occurrence
        for mission, definition in plans.items()
        for planned in definition.schedule
        for day in (today - timedelta(days=1), today, today + timedelta(days=1))
        for occurrence in _on(mission, planned, day, zone)
        if occurrence.due <= now < occurrence.due + timedelta(seconds=late_s)
    ]
    return sorted(found)


def _on(mission: str, planned: Planned, day: date, zone: ZoneInfo) -> Iterator[Occurrence]:
    if DAYS[day.weekday()] in planned.days:
        local = datetime.combine(day, time.fromisoformat(planned.at), zone)
        yield Occurrence(local.astimezone(UTC), mission, day, planned.at)
