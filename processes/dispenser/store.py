"""What is known of the treats, on disk. Two processes write it: the dispenser and, after its death, its witness."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

KEPT_DEEDS = 5000
"""Finished deeds that are remembered, so that none is done twice."""

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
"""

TICKS_US = 2**32
"""The pins' clock counts microseconds in 32 bits."""


@dataclass(frozen=True)
class Deed:
    """One turn of the carousel that was asked for.

    Attributes:
        number: its own.
        request_id: the asker's name for it.
        kind: "treat" or "rotate".
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


class TreatStore:
    """The SQLite file. Every change is on the disk when its method returns.

    Attributes:
        remaining: treats left.
        last_treat_time: ISO-8601 UTC; None before the first.

    Raises:
        sqlite3.Error: from every method: the disk is full or broken.
    """

    def __init__(self, path: Path, capacity: int, same_treat_ms: int) -> None:
        self._same_treat_us = same_treat_ms * 1000
        self._db = sqlite3.connect(path, timeout=2.0, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.executescript(SCHEMA)
        self._db.execute("INSERT OR IGNORE INTO carousel (only, remaining) VALUES (1, ?)", (capacity,))
        self.remaining = 0
        self.last_treat_time: str | None = None
        self._read()

    def find(self, request_id: str | None) -> Deed | None:
        """The deed of that request, if it was begun."""
        return self._one("WHERE request_id = ?", request_id)

    def unfinished(self) -> Deed | None:
        """The deed that was under way when its process ended."""
        return self._one("WHERE confirmed IS NULL ORDER BY number DESC LIMIT 1")

    def begin(self, request_id: str | None, kind: str, at: str) -> Deed:
        """Write down that a deed begins, before anything moves."""
        cursor = self._db.execute(
            "INSERT INTO deeds (request_id, kind, begun_at) VALUES (?, ?, ?)", (request_id, kind, at)
        )
        number = cursor.lastrowid
        assert number is not None
        return Deed(number, request_id, kind, None, None, 0)

    def count(self, deed: Deed, at_us: int, at: str) -> bool:
        """A treat fell.

        Args:
            at_us: the pins' own clock when the beam was broken: whoever saw it writes the same, and it counts once.
            at: ISO-8601 UTC.

        Returns:
            False when it was known already.
        """
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            for (known_us,) in self._db.execute("SELECT at_us FROM drops WHERE deed = ?", (deed.number,)).fetchall():
                apart_us = (at_us - known_us) % TICKS_US
                if min(apart_us, TICKS_US - apart_us) <= self._same_treat_us:
                    return False
            self._db.execute("INSERT INTO drops (deed, at_us, at) VALUES (?, ?, ?)", (deed.number, at_us, at))
            self._db.execute("UPDATE carousel SET remaining = max(0, remaining - 1), last_treat_time = ?", (at,))
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
        finished = self._one("WHERE number = ?", deed.number)
        assert finished is not None
        return finished

    def forget(self, deed: Deed) -> None:
        """Nothing came of the deed: whoever asks with its id again may have it done."""
        self._db.execute("DELETE FROM deeds WHERE number = ?", (deed.number,))

    def close(self) -> None:
        self._db.close()

    def _read(self) -> None:
        row = self._db.execute("SELECT remaining, last_treat_time FROM carousel").fetchone()
        self.remaining, self.last_treat_time = row

    def _one(self, where: str, *values: object) -> Deed | None:
        row = self._db.execute(_DEED + where, values).fetchone()
        if row is None:
            return None
        number, request_id, kind, confirmed, remaining, drops = row
        return Deed(number, request_id, kind, None if confirmed is None else bool(confirmed), remaining, drops)
