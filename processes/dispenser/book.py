"""The book of treats: what was asked for, what fell, what is left, and whether another one may be given."""

from __future__ import annotations

import logging
import sqlite3
from collections import deque
from collections.abc import Callable

from contract.commands import Dispensed
from contract.errors import ContractError
from processes.dispenser.config import DispenserConfig
from processes.dispenser.limits import Limits, Moment
from processes.dispenser.logic import Kind, Stock, stock_of
from processes.dispenser.store import CLOCK_SET_S, Deed, TreatStore, iso

log = logging.getLogger(__name__)

MAX_UNWRITTEN = 64
"""Treats that fell while the disk failed and wait to be written; one deed lets fall a few, and no other begins."""


class TreatBook:
    """The count on disk with the rules that hold for it.

    Args:
        now: this instant, by both clocks.

    Raises:
        sqlite3.Error: from every method that says "writes": the disk is full or broken.
    """

    def __init__(
        self, store: TreatStore, config: DispenserConfig, now: Callable[[], Moment], *, beam_fitted: bool
    ) -> None:
        self._store = store
        self._config = config
        self._now = now
        self._beam_fitted = beam_fitted
        self._limits = Limits(config.cooldown_s, config.daily_limit)
        self._unwritten: deque[tuple[Deed, int, Moment]] = deque(maxlen=MAX_UNWRITTEN)
        self._seen = now()
        self._dated = False

    @property
    def remaining(self) -> int:
        return self._store.remaining

    @property
    def last_treat_time(self) -> str | None:
        """ISO-8601 UTC; None before the first."""
        return self._store.last_treat_time

    def today(self) -> int:
        """How many treats fell since midnight."""
        return self._limits.today(self._store.given, self._now())

    def cooldown_left_s(self) -> float:
        return self._limits.cooldown_left_s(self._store.given, self._now())

    def check_limits(self) -> None:
        """Raises:
        ContractError: DAILY_LIMIT or COOLDOWN.
        """
        self._limits.check(self._store.given, self._now())

    def done(self, request_id: str | None, kind: str) -> Deed | None:
        """What came of that request, if it was carried out.

        Raises:
            ContractError: CONFLICT: the id is that of another command, or of a turn whose treat may have fallen unseen.
        """
        deed = self._store.find(request_id)
        if deed is None or deed.confirmed is None:
            return None
        if deed.kind != kind:
            raise ContractError("CONFLICT", f"The id of this request was used for another command, {deed.kind!r}.")
        if kind != "refill" and self._beam_fitted and not deed.confirmed:
            raise ContractError(
                "CONFLICT",
                "That turn was cut off, and nobody saw whether a treat fell. It is not done again; "
                "ask for another one with a new id.",
            )
        return deed

    def begin(self, request_id: str | None, kind: Kind) -> Deed:
        """Write down that a deed begins."""
        return self._store.begin(request_id, kind, iso(self._now().utc_s))

    def count(self, deed: Deed, at_us: int) -> None:
        """Write down that a treat fell; when the disk fails, it is kept until `finish` or `settle` can write it."""
        now = self._now()
        try:
            self._store.count(deed, at_us, now)
        except sqlite3.Error:
            self._unwritten.append((deed, at_us, now))
            raise

    def finish(self, deed: Deed, *, given: bool) -> Deed:
        """Write down that a deed is done; one that gave nothing is forgotten, and may be asked for again."""
        self._write_down()
        if given:
            return self._store.finish(deed, confirmed=self._beam_fitted)
        self._store.forget(deed)
        return deed

    def refill(self, request_id: str | None, count: int) -> int:
        """Write down that `count` treats are in the carousel now, and return them.

        Raises:
            ContractError: INVALID_PARAMETER when it cannot hold so many.
        """
        if count > self._config.capacity:
            raise ContractError(
                "INVALID_PARAMETER",
                f"`count` is {count}. Accepted: 0 to {self._config.capacity}, which is all that the carousel holds.",
            )
        self._store.refill(request_id, count, iso(self._now().utc_s))
        return count

    def settle(self) -> list[Deed]:
        """Write down what could not be written, and close the deeds that were cut off, as far as is known of them.

        The witness has seen to those of a killed dispenser: what it saw fall is counted, and where it saw that nothing
        fell there is no deed any more. What is left was watched by nobody to its end (power loss, lost pins), and is
        not done again.

        Returns:
            The deeds by which treats fell.
        """
        self._write_down()
        if not self._dated:
            self._store.redate(self._now())
            self._dated = True
        gave = []
        while (cut_off := self._store.unfinished()) is not None:
            if cut_off.kind == "treat" and not self._beam_fitted and not cut_off.drops:
                self._store.count(cut_off, 0, self._now())  # it may have fallen: better one less than one twice
            finished = self._store.finish(cut_off, confirmed=self._beam_fitted and cut_off.drops > 0)
            log.warning("a turn of the carousel was cut off; it gave %d", finished.drops)
            if finished.drops:
                gave.append(finished)
        return gave

    def try_disk(self) -> None:
        """Write something that changes nothing: whether a disk that failed takes writes again."""
        self._store.check_room()
        self._store.tell(self._store.told)

    def _write_down(self) -> None:
        while self._unwritten:
            deed, at_us, then = self._unwritten[0]
            self._store.count(deed, at_us, then)
            self._unwritten.popleft()

    def mind_the_clock(self) -> None:
        """Write the treats' times anew when the wall clock was set."""
        now = self._now()
        expected_s = self._seen.utc_s + (now.monotonic_s - self._seen.monotonic_s)
        if abs(now.utc_s - expected_s) > CLOCK_SET_S:
            dated_anew = self._store.redate(now)
            log.warning("the clock was set by %+.0f s; %d treats dated anew", now.utc_s - expected_s, dated_anew)
        self._seen = now

    def stock_change(self) -> tuple[Stock, Stock] | None:
        """How the stock stood when it was last told, and how it stands now, where that differs."""
        before: Stock = self._store.told  # type: ignore[assignment]
        after = stock_of(self._store.remaining, before, self._config)
        return None if after == before else (before, after)

    def stock_told(self, stock: Stock) -> None:
        """Write down that it was told, so that a restart does not tell it again."""
        self._store.tell(stock)


def dispensed(deed: Deed) -> Dispensed:
    """The result of a treat that was given."""
    assert deed.remaining is not None
    return Dispensed(deed.remaining, bool(deed.confirmed))
