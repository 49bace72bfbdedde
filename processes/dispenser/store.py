"""What is known of the treats, on disk. Two processes write it: the dispenser and, after its death, its witness."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bus.events import timestamp
from processes.dispenser.limits import Moment, dated_s

KEPT_DEEDS = 5000
"""Finished deeds that are remembered, so that none is done twice: 40 minutes of turning without a pause, months of
ordinary days."""

KEPT_TREATS = 2000
"""Treats whose time is remembered; more than any daily limit."""

SPARE_BYTES = 1_000_000
"""Free space that a deed needs, so that its treat can be written down once it has fallen."""

CLOCK_SET_S = 60.0
"""A clock that differs by more than this from what its last reading foretold was set."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS carousel (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    remaining INTEGER NOT NULL CHECK (remaining >= 0),
    last_treat_time TEXT
);
CREATE TABLE IF NOT EXISTS deeds (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    request_id TEXT UNIQUE,
    kind TEXT NOT NULL,
    begun_at TEXT NOT NULL,
    confirmed INTEGER,
    remaining INTEGER
);
CREATE TABLE IF NOT EXISTS drops (
    deed INTEGER NOT NULL REFERENCES deeds (number) ON DELETE CASCADE,
    at_us INTEGER NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (deed, at_us)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS treats (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    boot TEXT NOT NULL,
    monotonic_s REAL NOT NULL,
    utc_s REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS stock (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    told TEXT NOT NULL
);
"""

TICKS_US = 2**32
"""The pins' clock counts microseconds in 32 bits."""


@dataclass(frozen=True)
class Deed:
    """One turn of the carousel that was asked for, or a refill.

    Attributes:
        number: its own.
        request_id: the asker's name for it.
        kind: "treat", "rotate" or "refill".
        confirmed: whether the beam saw a treat; None while it is not finished.
        remaining: treats left when it was finished.
        drops: treats that fell by it.
    """

    number: int
    request_id: str | None
    kind: str
    confirmed: bool | None
    remaining: int | None
    drops: int


_DEED = """
SELECT number, request_id, kind, confirmed, remaining, (SELECT count(*) FROM drops WHERE deed = number) FROM deeds
"""


def boot_id() -> str:
    """Which boot of this machine it is."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def iso(utc_s: float) -> str:
    """Unix time as people read it."""
    return timestamp(datetime.fromtimestamp(utc_s, UTC))


class TreatStore:
    """The SQLite file. Every change is on the disk when its method returns.

    Attributes:
        remaining: treats left.
        last_treat_time: ISO-8601 UTC; None before the first.
        given: when treats fell, the latest last.
        told: what was last told of the stock ("ok", "low", "empty").

    Raises:
        sqlite3.Error: from every method: the disk is full or broken.
    """

    def __init__(self, path: Path, capacity: int, same_treat_ms: int) -> None:
        self._path = path
        self._same_treat_us = same_treat_ms * 1000
        self._db = sqlite3.connect(path, timeout=2.0, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.executescript(SCHEMA)
        self._db.execute("INSERT OR IGNORE INTO carousel (only, remaining) VALUES (1, ?)", (capacity,))
        self._db.execute("INSERT OR IGNORE INTO stock (only, told) VALUES (1, 'ok')")
        self.remaining = 0
        self.last_treat_time: str | None = None
        self.given: Sequence[Moment] = ()
        self.told = "ok"
        self._read()

    def find(self, request_id: str | None) -> Deed | None:
        """The deed of that request, if it was begun."""
        return self._one("WHERE request_id = ?", request_id)

    def unfinished(self) -> Deed | None:
        """The deed that was under way when its process ended."""
        return self._one("WHERE confirmed IS NULL ORDER BY number DESC LIMIT 1")

    def check_room(self) -> None:
        """Refuse to go on where the disk is all but full."""
        free = shutil.disk_usage(self._path.parent).free
        if free < SPARE_BYTES:
            raise sqlite3.OperationalError(f"the disk is full: {free} bytes are free, {SPARE_BYTES} are needed")

    def begin(self, request_id: str | None, kind: str, at: str) -> Deed:
        """Write down that a deed begins, before anything moves."""
        self.check_room()
        cursor = self._db.execute(
            "INSERT INTO deeds (request_id, kind, begun_at) VALUES (?, ?, ?)", (request_id, kind, at)
        )
        number = cursor.lastrowid
        assert number is not None
        return Deed(number, request_id, kind, None, None, 0)

    def count(self, deed: Deed, at_us: int, now: Moment) -> bool:
        """A treat fell.

        Args:
            at_us: the pins' own clock when the beam was broken: whoever saw it writes the same, and it counts once.

        Returns:
            False when it was known already.
        """
        at = iso(now.utc_s)
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            for (known_us,) in self._db.execute("SELECT at_us FROM drops WHERE deed = ?", (deed.number,)).fetchall():
                apart_us = (at_us - known_us) % TICKS_US
                if min(apart_us, TICKS_US - apart_us) <= self._same_treat_us:
                    return False
            self._db.execute("INSERT INTO drops (deed, at_us, at) VALUES (?, ?, ?)", (deed.number, at_us, at))
            self._db.execute("UPDATE carousel SET remaining = max(0, remaining - 1), last_treat_time = ?", (at,))
            cursor = self._db.execute(
                "INSERT INTO treats (boot, monotonic_s, utc_s) VALUES (?, ?, ?)", (now.boot, now.monotonic_s, now.utc_s)
            )
            assert cursor.lastrowid is not None
            self._db.execute("DELETE FROM treats WHERE number <= ?", (cursor.lastrowid - KEPT_TREATS,))
        self._read()
        return True

    def finish(self, deed: Deed, *, confirmed: bool) -> Deed:
        """The deed is done and will not be done again."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(
                "UPDATE deeds SET confirmed = ?, remaining = (SELECT remaining FROM carousel) WHERE number = ?",
                (confirmed, deed.number),
            )
            self._db.execute("DELETE FROM deeds WHERE number <= ?", (deed.number - KEPT_DEEDS,))
        self._read()
        finished = self._one("WHERE number = ?", deed.number)
        assert finished is not None
        return finished

    def refill(self, request_id: str | None, count: int, at: str) -> None:
        """So many treats are in the carousel now."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("UPDATE carousel SET remaining = ?", (count,))
            cursor = self._db.execute(
                "INSERT INTO deeds (request_id, kind, begun_at, confirmed, remaining) VALUES (?, 'refill', ?, 1, ?)",
                (request_id, at, count),
            )
            assert cursor.lastrowid is not None
            self._db.execute("DELETE FROM deeds WHERE number <= ?", (cursor.lastrowid - KEPT_DEEDS,))
        self._read()

    def forget(self, deed: Deed) -> None:
        """Nothing came of the deed: whoever asks with its id again may have it done."""
        self._db.execute("DELETE FROM deeds WHERE number = ?", (deed.number,))
        self._read()

    def tell(self, stock: str) -> None:
        """The people were told how the stock stands."""
        self._db.execute("UPDATE stock SET told = ?", (stock,))
        self._read()

    def redate(self, now: Moment) -> int:
        """Give the treats the times that the clock of now gives them, so that a later boot finds them right.

        Those of this boot get their age. Those of an earlier boot that lie in the future were stamped by a clock that
        was wrong, or this one is: they become treats of this boot's first instant.

        Returns:
            How many were changed.
        """
        changed = 0
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            rows = self._db.execute("SELECT number, boot, monotonic_s, utc_s FROM treats").fetchall()
            for number, boot, monotonic_s, utc_s in rows:
                dated = dated_s(Moment(boot, monotonic_s, utc_s), now)
                slack_s = CLOCK_SET_S if boot == now.boot else 0.0
                if abs(dated - utc_s) <= slack_s:
                    continue
                changed += 1
                self._db.execute(
                    "UPDATE treats SET boot = ?, monotonic_s = ?, utc_s = ? WHERE number = ?",
                    (now.boot, monotonic_s if boot == now.boot else 0.0, dated, number),
                )
                if number == rows[-1][0]:
                    self._db.execute("UPDATE carousel SET last_treat_time = ?", (iso(dated),))
        self._read()
        return changed

    def close(self) -> None:
        self._db.close()

    def _read(self) -> None:
        self.remaining, self.last_treat_time = self._db.execute(
            "SELECT remaining, last_treat_time FROM carousel"
        ).fetchone()
        treats = self._db.execute("SELECT boot, monotonic_s, utc_s FROM treats ORDER BY number")
        self.given = [Moment(*row) for row in treats]
        (self.told,) = self._db.execute("SELECT told FROM stock").fetchone()

    def _one(self, where: str, *values: object) -> Deed | None:
        row = self._db.execute(_DEED + where, values).fetchone()
        if row is None:
            return None
        number, request_id, kind, confirmed, remaining, drops = row
        return Deed(number, request_id, kind, None if confirmed is None else bool(confirmed), remaining, drops)
