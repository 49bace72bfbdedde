"""How soon after one treat, and how many a day. Pure; `now` is passed in.

The cooldown is measured by the monotonic clock alone: no change of the wall clock shortens or lengthens it. After a
reboot, what passed while the machine was off is not known and not counted, so that it lasts `cooldown_s` from the
boot at most.

The daily limit goes by the local date, which only the wall clock knows, and a Raspberry Pi may set its own right
minutes after the boot. So treats are dated by their age, not by the stamp they once got: what was given in this boot
is dated by the clock as it is now. A clock that is set or jumps re-dates all of them alike; whole days ahead or a year
back, the treats of today stay those of today. What was given in an earlier boot has its stamp, and was given before
this boot at the latest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo

from contract.errors import ContractError


@dataclass(frozen=True)
class Moment:
    """An instant, by both clocks.

    Attributes:
        boot: which boot of the machine (the kernel's boot_id).
        monotonic_s: CLOCK_MONOTONIC, which begins with the boot.
        utc_s: unix time, as right as the machine knew it.
    """

    boot: str
    monotonic_s: float
    utc_s: float


class Limits:
    """Whether one more treat may be given.

    Args:
        cooldown_s: from one treat to the next.
        daily_limit: treats from midnight to midnight; None: any number.
        zone: whose midnight; None: the machine's own time zone.
    """

    def __init__(self, cooldown_s: float, daily_limit: int | None, zone: tzinfo | None = None) -> None:
        self._cooldown_s = cooldown_s
        self._daily_limit = daily_limit
        self._zone = zone

    def check(self, given: Sequence[Moment], now: Moment) -> None:
        """Args:
            given: when treats fell, the latest last.

        Raises:
            ContractError: DAILY_LIMIT or COOLDOWN, with the time left.
        """
        today = self.today(given, now)
        if self._daily_limit is not None and today >= self._daily_limit:
            left_s = self._midnight_s(now.utc_s, 1) - now.utc_s
            raise ContractError(
                "DAILY_LIMIT",
                f"{today} treats were given today, and {self._daily_limit} a day are allowed. "
                f"The next one may be given after midnight, in {for_people(left_s)}.",
                retry_after_s=round(left_s, 3),
            )
        left_s = self.cooldown_left_s(given, now)
        if left_s > 0:
            raise ContractError(
                "COOLDOWN",
                f"A treat was just given. The next one may be given in {for_people(left_s)}.",
                retry_after_s=round(left_s, 3),
            )

    def today(self, given: Sequence[Moment], now: Moment) -> int:
        """How many were given since the last midnight."""
        midnight_s = self._midnight_s(now.utc_s, 0)
        return sum(dated_s(one, now) >= midnight_s for one in given)

    def cooldown_left_s(self, given: Sequence[Moment], now: Moment) -> float:
        """How long until the next one may be given; 0 when it may."""
        if not given:
            return 0.0
        since_s = now.monotonic_s - (given[-1].monotonic_s if given[-1].boot == now.boot else 0.0)
        return min(max(self._cooldown_s - since_s, 0.0), self._cooldown_s)

    def _midnight_s(self, utc_s: float, days: int) -> float:
        """The beginning of that local day, or of one `days` later, as unix time."""
        date = datetime.fromtimestamp(utc_s, self._zone).date() + timedelta(days=days)
        return datetime.combine(date, time.min, self._zone).timestamp()


def dated_s(given: Moment, now: Moment) -> float:
    """The unix time of a treat, as far as `now` can tell."""
    if given.boot == now.boot:
        return now.utc_s - (now.monotonic_s - given.monotonic_s)
    return min(given.utc_s, now.utc_s - now.monotonic_s)


def for_people(seconds: float) -> str:
    """
    >>> for_people(0.4), for_people(90), for_people(20000)
    ('1 s', '2 min', '5 h 34 min')
    """
    if seconds <= 60:
        return f"{math.ceil(seconds)} s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
