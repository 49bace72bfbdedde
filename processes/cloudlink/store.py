"""The durable outbox: events that the relay has not acknowledged yet, in SQLite."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import msgspec

from bus.messages import RobotEvent
from processes.cloudlink.logic import StoredEvent

log = logging.getLogger(__name__)

MAX_EVENT_BYTES = 32_768
"""The relay takes frames of 64 KiB, and a frame that is too large costs the link."""

_SCHEMA = """
PRAGMA journal_mode=WAL;
PRAGMA synchronous=FULL;
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    body BLOB NOT NULL
);
"""


class Outbox:
    """Events in order. For one thread at a time; every method may wait for the disk.

    Args:
        path: the database; one that is broken is put aside as `….broken` and a new one begun.
        capacity: how many events are kept; beyond that the oldest are dropped.
    """

    def __init__(self, path: Path, capacity: int) -> None:
        self._capacity = capacity
        try:
            self._database = _open(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise  # the disk is full or read-only: the file itself is not to blame
            broken = path.with_suffix(".broken")
            log.error("%s cannot be read (%s); it is kept as %s and a new one begun", path, error, broken.name)
            for suffix in ("-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            path.replace(broken)
            self._database = _open(path)
        self._count = int(self._database.execute("SELECT count(*) FROM events").fetchone()[0])

    def __len__(self) -> int:
        return self._count

    def add(self, event: RobotEvent) -> int:
        """Keep an event; one with a known id is kept once. Returns how many had to be dropped.

        Raises:
            sqlite3.Error: it could not be stored.
        """
        body = msgspec.json.encode(event)
        if len(body) > MAX_EVENT_BYTES:
            log.warning("an event %r of %d bytes is too large to be sent", event.event, len(body))
            return 1
        with self._database:
            added = self._database.execute(
                "INSERT OR IGNORE INTO events (id, body) VALUES (?, ?)", (event.id, body)
            ).rowcount
            surplus = max(0, self._count + added - self._capacity)
            if surplus:
                self._database.execute(
                    "DELETE FROM events WHERE seq IN (SELECT seq FROM events ORDER BY seq LIMIT ?)", (surplus,)
                )
        self._count += added - surplus
        return surplus

    def after(self, seq: int, limit: int) -> list[StoredEvent]:
        """The oldest events after `seq`."""
        rows = self._database.execute(
            "SELECT seq, id, body FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (seq, limit)
        )
        return [StoredEvent(*row) for row in rows]

    def remove(self, ids: Iterable[str]) -> None:
        """The relay has them."""
        with self._database:
            gone = self._database.executemany("DELETE FROM events WHERE id = ?", [(id_,) for id_ in ids]).rowcount
        self._count -= max(0, gone)

    def close(self) -> None:
        self._database.close()


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, check_same_thread=False)
    try:
        database.executescript(_SCHEMA)
    except sqlite3.DatabaseError:
        database.close()
        raise
    return database
