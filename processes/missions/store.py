"""What missions keeps on disk: the mode, the counts of each day, every reward that was asked for."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

KEPT_REWARDS = 100_000
"""More than all missions together may give in a day."""
KEPT_DAYS = 400
"""Days of counts, of every mission."""
KEPT_STARTS = 1000
"""Planned starts that are remembered, so that none happens twice when the clock is set back."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS mode (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    mode TEXT NOT NULL,
    reason TEXT NOT NULL,
    source TEXT NOT NULL,
    since TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS missions (
    id TEXT PRIMARY KEY,
    created_at TEXT NOT NULL,
    last_run TEXT,
    successes INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS days (
    mission TEXT NOT NULL,
    day TEXT NOT NULL,
    successes INTEGER NOT NULL DEFAULT 0,
    fails INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (mission, day)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rewards (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    request_id TEXT NOT NULL UNIQUE,
    mission TEXT NOT NULL,
    day TEXT NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN ('asked', 'given', 'unknown'))
);
CREATE INDEX IF NOT EXISTS rewards_of_day ON rewards (mission, day);
CREATE TABLE IF NOT EXISTS run (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    mission TEXT NOT NULL,
    mode_before TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS starts (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    mission TEXT NOT NULL,
    day TEXT NOT NULL,
    at TEXT NOT NULL,
    UNIQUE (mission, day, at)
);
"""


@dataclass(frozen=True)
class KeptMode:
    """As `contract.models.ModeNow`."""

    mode: str
    reason: str
    source: str
    since: str


@dataclass(frozen=True)
class Tally:
    """How a mission stands.

    Attributes:
        rewards: treats of this day that fell.
        counted: those, and the ones of which nobody knows whether they fell: what the daily limit goes by.
        successes, fails: of this day.
        all_successes: of the mission's whole life.
    """

    created_at: str
    last_run: str | None
    rewards: int
    counted: int
    successes: int
    fails: int
    all_successes: int


class MissionStore:
    """The SQLite file. Every change is on the disk when its method returns.

    Raises:
        sqlite3.Error: from every method: the disk is full or broken.
    """

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, timeout=2.0, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        self._db.close()

    # -- the mode ---------------------------------------------------------------------------------

    def mode(self) -> KeptMode | None:
        row = self._db.execute("SELECT mode, reason, source, since FROM mode").fetchone()
        return None if row is None else KeptMode(*row)

    def keep_mode(self, kept: KeptMode) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO mode (only, mode, reason, source, since) VALUES (1, ?, ?, ?, ?)",
            (kept.mode, kept.reason, kept.source, kept.since),
        )

    # -- missions ---------------------------------------------------------------------------------

    def know(self, mission: str, at: str) -> None:
        """There is a mission of this id; `at`: now, which counts where it is new."""
        self._db.execute("INSERT OR IGNORE INTO missions (id, created_at) VALUES (?, ?)", (mission, at))

    def tally(self, mission: str, day: str) -> Tally:
        row = self._db.execute(
            "SELECT created_at, last_run, successes FROM missions WHERE id = ?", (mission,)
        ).fetchone()
        created_at, last_run, all_successes = row or ("", None, 0)
        successes, fails = self._db.execute(
            "SELECT successes, fails FROM days WHERE mission = ? AND day = ?", (mission, day)
        ).fetchone() or (0, 0)
        rewards, counted = self._db.execute(
            "SELECT coalesce(sum(outcome = 'given'), 0), count(*) FROM rewards WHERE mission = ? AND day = ?",
            (mission, day),
        ).fetchone()
        return Tally(created_at, last_run, rewards, counted, successes, fails, all_successes)

    def begin(self, mission: str, mode_before: str, at: str) -> None:
        """A run begins."""
        self._db.execute("BEGIN IMMEDIATE")
        with self._db:
            self._db.execute("UPDATE missions SET last_run = ? WHERE id = ?", (at, mission))
            self._db.execute(
                "INSERT OR REPLACE INTO run (only, mission, mode_before) VALUES (1, ?, ?)", (mission, mode_before)
            )

    def end(self) -> None:
        """The run is over."""
        self._db.execute("DELETE FROM run")

    def cut_off(self) -> tuple[str, str] | None:
        """The mission whose run was cut off by a restart, and the mode before it."""
        row: tuple[str, str] | None = self._db.execute("SELECT mission, mode_before FROM run").fetchone()
        return row

    def succeed(self, mission: str, day: str) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        with self._db:
            self._db.execute("UPDATE missions SET successes = successes + 1 WHERE id = ?", (mission,))
            self._count("successes", mission, day)

    def fail(self, mission: str, day: str) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        with self._db:
            self._count("fails", mission, day)

    def _count(self, what: str, mission: str, day: str) -> None:
        self._db.execute("INSERT OR IGNORE INTO days (mission, day) VALUES (?, ?)", (mission, day))
        self._db.execute(f"UPDATE days SET {what} = {what} + 1 WHERE mission = ? AND day = ?", (mission, day))
        self._db.execute(
            "DELETE FROM days WHERE mission = ? AND day NOT IN "
            "(SELECT day FROM days WHERE mission = ? ORDER BY day DESC LIMIT ?) AND day <> ?",
            (mission, mission, KEPT_DAYS, day),
        )

    # -- rewards ----------------------------------------------------------------------------------

    def ask(self, request_id: str, mission: str, day: str) -> None:
        """A treat is about to be asked for. It counts from here on.

        Raises:
            sqlite3.IntegrityError: this very one was asked for already.
        """
        self._db.execute("BEGIN IMMEDIATE")
        with self._db:
            self._db.execute(
                "INSERT INTO rewards (request_id, mission, day, outcome) VALUES (?, ?, ?, 'asked')",
                (request_id, mission, day),
            )
            self._db.execute(
                "DELETE FROM rewards WHERE number <= (SELECT max(number) FROM rewards) - ?", (KEPT_REWARDS,)
            )

    def given(self, request_id: str) -> None:
        self._db.execute("UPDATE rewards SET outcome = 'given' WHERE request_id = ?", (request_id,))

    def refused(self, request_id: str) -> None:
        """It is certain that no treat fell."""
        self._db.execute("DELETE FROM rewards WHERE request_id = ?", (request_id,))

    def unknown(self, request_id: str | None = None) -> int:
        """Nobody knows whether it fell (None: of all that were asked for); it counts, and is not asked for again.

        Returns:
            How many they are.
        """
        return self._db.execute(
            "UPDATE rewards SET outcome = 'unknown' WHERE outcome = 'asked' AND (?1 IS NULL OR request_id = ?1)",
            (request_id,),
        ).rowcount

    # -- planned starts ---------------------------------------------------------------------------

    def claim(self, mission: str, day: str, at: str) -> bool:
        """Whether this planned start has not happened yet. From here on it has."""
        self._db.execute("BEGIN IMMEDIATE")
        with self._db:
            fresh = self._db.execute(
                "INSERT OR IGNORE INTO starts (mission, day, at) VALUES (?, ?, ?)", (mission, day, at)
            ).rowcount
            self._db.execute("DELETE FROM starts WHERE number <= (SELECT max(number) FROM starts) - ?", (KEPT_STARTS,))
        return fresh == 1
