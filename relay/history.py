"""The history of events in PostgreSQL. Every method blocks: call it from a greenlet, never from the hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from relay.database import SHORT_WAIT_S, Database

EXPIRE_BATCH = 2_000
"""Rows deleted in one transaction: a long one would hold up those who write."""
_EXPIRY_LOCK = 0x77696D7A
"""PostgreSQL's advisory lock of whoever deletes: one worker of all at a time."""


@dataclass(frozen=True)
class NewEvent:
    """An event on its way into the history.

    Attributes:
        device_id: whose it is.
        id: given by the robot, unique per device.
        event: its name.
        data: its fields.
        happened: when, as the robot says it.
    """

    device_id: str
    id: str
    event: str
    data: dict[str, Any]
    happened: str


@dataclass(frozen=True)
class EventRow:
    """An event in the history; `seq` grows by at least one per device."""

    seq: int
    id: str
    device_id: str
    event: str
    data: dict[str, Any]
    happened: str


class History(Database):
    """Events: stored once, numbered per robot, read by cursor, deleted by age."""

    def add_events(self, events: Sequence[NewEvent]) -> list[tuple[int, EventRow | None]]:
        """Store a batch in one transaction.

        The devices' rows are locked, in the order of their ids so that two workers never wait for each other,
        and the sequence is taken under that lock: what commits later has the higher number.

        Returns:
            For each event that is now in the history, its index in `events`, and the row when it is new (None when
            the robot had sent it before). Events of robots that are gone are left out.
        """
        device_ids = sorted({event.device_id for event in events})
        with self._connection(SHORT_WAIT_S) as connection:
            heads = {
                row[0]: (row[1], row[2])
                for row in connection.execute(
                    "SELECT device_id, last_seq, owner_id FROM devices WHERE device_id = ANY(%s) "
                    "ORDER BY device_id FOR UPDATE",
                    (device_ids,),
                )
            }
            known = set(
                connection.execute(
                    "SELECT device_id, id FROM events "
                    "JOIN unnest(%s::text[], %s::text[]) AS asked (device_id, id) USING (device_id, id)",
                    ([event.device_id for event in events], [event.id for event in events]),
                ).fetchall()
            )
            stored: list[tuple[int, EventRow | None]] = []
            for index, event in enumerate(events):
                if event.device_id not in heads:
                    continue
                if (event.device_id, event.id) in known:
                    stored.append((index, None))
                    continue
                known.add((event.device_id, event.id))
                seq, owner_id = heads[event.device_id]
                heads[event.device_id] = (seq + 1, owner_id)
                row = EventRow(seq + 1, event.id, event.device_id, event.event, event.data, event.happened)
                stored.append((index, row))
            self._insert(connection, [row for _, row in stored if row is not None], heads)
        return stored

    def _insert(
        self, connection: psycopg.Connection[Any], rows: list[EventRow], heads: dict[str, tuple[int, str | None]]
    ) -> None:
        if not rows:
            return
        connection.execute(
            "INSERT INTO events (device_id, seq, id, owner_id, event, data, happened) "
            "SELECT * FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::jsonb[], "
            "%s::text[])",
            (
                [row.device_id for row in rows],
                [row.seq for row in rows],
                [row.id for row in rows],
                [heads[row.device_id][1] for row in rows],
                [row.event for row in rows],
                [Jsonb(row.data) for row in rows],
                [row.happened for row in rows],
            ),
        )
        connection.execute(
            "UPDATE devices SET last_seq = head.seq FROM unnest(%s::text[], %s::bigint[]) AS head (device_id, seq) "
            "WHERE devices.device_id = head.device_id",
            (list(heads), [seq for seq, _ in heads.values()]),
        )

    def events(
        self,
        device_ids: Sequence[str],
        *,
        event: str | None = None,
        after: int | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[EventRow]:
        """History of robots, of the time that their present owner has owned them.

        With `after`, ascending from there; else the newest first.
        """
        order = "seq ASC" if after is not None else "stored_at DESC, seq DESC"
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT seq, id, device_id, event, data, happened FROM events JOIN devices USING (device_id, owner_id) "
                "WHERE device_id = ANY(%(devices)s) "
                "AND (%(event)s::text IS NULL OR event = %(event)s) "
                "AND (%(after)s::bigint IS NULL OR seq > %(after)s) "
                "AND (%(before)s::bigint IS NULL OR seq < %(before)s) "
                f"ORDER BY {order} LIMIT %(limit)s",
                {
                    "devices": list(device_ids),
                    "event": event,
                    "after": after,
                    "before": before,
                    "limit": limit,
                },
            ).fetchall()
        return [EventRow(*row) for row in rows]

    def newest(self, device_id: str) -> int:
        """The robot's last sequence number; 0 before its first event."""
        with self._connection() as connection:
            row = connection.execute("SELECT last_seq FROM devices WHERE device_id = %s", (device_id,)).fetchone()
        return int(row[0]) if row else 0

    def expire_events(self, older_than_days: float) -> int:
        """Delete a batch of events that were stored longer ago. Returns how many; less than `EXPIRE_BATCH` at the end.

        0 also while another worker does it.
        """
        with self._connection() as connection:
            mine = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (_EXPIRY_LOCK,)).fetchone()
            if mine is None or not mine[0]:
                return 0
            return connection.execute(
                "DELETE FROM events USING (SELECT device_id, seq FROM events "
                "WHERE stored_at < now() - make_interval(secs => %s) ORDER BY stored_at LIMIT %s) AS old "
                "WHERE events.device_id = old.device_id AND events.seq = old.seq",
                (older_than_days * 86_400, EXPIRE_BATCH),
            ).rowcount

    def delete_events_of(self, user_id: str) -> int:
        """Delete a batch of the events that happened while the account owned a robot. Returns how many."""
        with self._connection() as connection:
            return connection.execute(
                "DELETE FROM events USING (SELECT device_id, seq FROM events WHERE owner_id = %s LIMIT %s) AS old "
                "WHERE events.device_id = old.device_id AND events.seq = old.seq",
                (user_id, EXPIRE_BATCH),
            ).rowcount
