"""Accounts, robots and history in PostgreSQL. Every method blocks: call it from a greenlet, never from the hub."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from contract.errors import ContractError
from contract.units import Role
from relay.crypto import Sealer, new_pairing_code
from relay.lastseen import Sighting

log = logging.getLogger(__name__)

POOL_WAIT_S = 5.0
STATEMENT_TIMEOUT_MS = 5_000
PAIRING_CODE_LIFE_S = 600


@dataclass(frozen=True)
class UserRow:
    """An account."""

    user_id: str
    email: str
    password_hash: str
    token_version: int
    created_at: datetime


@dataclass(frozen=True)
class DeviceRow:
    """A robot."""

    device_id: str
    name: str
    owner_id: str | None
    last_seen: datetime | None
    firmware_version: str | None
    local_ip: str | None


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


class Store:
    """The database. Made after the process forked and was monkey-patched.

    Args:
        database_url: `postgresql://…`
        sealer: opens the devices' secrets.
        pool_size: most connections at a time.
    """

    def __init__(self, database_url: str, sealer: Sealer, pool_size: int = 8) -> None:
        self._sealer = sealer
        self._pool = ConnectionPool(
            database_url,
            min_size=1,
            max_size=pool_size,
            max_waiting=200,
            timeout=POOL_WAIT_S,
            open=False,
            check=ConnectionPool.check_connection,
            kwargs={"connect_timeout": 5, "options": f"-c statement_timeout={STATEMENT_TIMEOUT_MS}"},
            reconnect_timeout=30.0,
        )

    def open(self) -> None:
        """Start connecting; returns at once."""
        self._pool.open(wait=False)

    def close(self) -> None:
        self._pool.close(timeout=1.0)

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection in a transaction.

        Raises:
            ContractError: UNAVAILABLE when the database cannot be reached or does not answer in time;
                INVALID_PARAMETER when a value cannot be stored (U+0000 in a text).
        """
        try:
            with self._pool.connection() as connection:
                yield connection
        except (PoolTimeout, PoolClosed, TooManyRequests, psycopg.OperationalError) as error:
            log.warning("database: %s: %s", type(error).__name__, str(error).strip().splitlines()[:1])
            raise ContractError("UNAVAILABLE", "The database cannot be reached just now. Try again soon.") from error
        except psycopg.DataError as error:
            raise ContractError("INVALID_PARAMETER", "The text holds a character that cannot be stored.") from error

    def ping(self) -> None:
        """Raises ContractError UNAVAILABLE when the database does not answer."""
        with self._connection() as connection:
            connection.execute("SELECT 1 FROM users LIMIT 1")

    # -- accounts ---------------------------------------------------------------------------------

    def create_user(self, user_id: str, email: str, password_hash: str) -> UserRow:
        """Raises ContractError CONFLICT when the address has an account."""
        with self._connection() as connection:
            row = connection.execute(
                "INSERT INTO users (user_id, email, password_hash) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING "
                "RETURNING user_id, email, password_hash, token_version, created_at",
                (user_id, email, password_hash),
            ).fetchone()
        if row is None:
            raise ContractError("CONFLICT", "There is already an account with this e-mail address. Sign in instead.")
        return UserRow(*row)

    def user_by_email(self, email: str) -> UserRow | None:
        return self._user("email", email)

    def user_by_id(self, user_id: str) -> UserRow | None:
        return self._user("user_id", user_id)

    def _user(self, column: str, value: str) -> UserRow | None:
        with self._connection() as connection:
            row = connection.execute(
                f"SELECT user_id, email, password_hash, token_version, created_at FROM users WHERE {column} = %s",
                (value,),
            ).fetchone()
        return UserRow(*row) if row else None

    # -- devices ----------------------------------------------------------------------------------

    def roles_of(self, user_id: str) -> dict[str, Role]:
        """The robots that the account may use, and as what."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT device_id FROM devices WHERE owner_id = %s ORDER BY device_id", (user_id,)
            ).fetchall()
        return {row[0]: "owner" for row in rows}

    def members_of(self, device_id: str) -> dict[str, Role]:
        """The accounts that may use the robot, and as what."""
        with self._connection() as connection:
            row = connection.execute(
                "SELECT owner_id FROM devices WHERE device_id = %s AND owner_id IS NOT NULL", (device_id,)
            ).fetchone()
        return {row[0]: "owner"} if row else {}

    def devices_of(self, user_id: str) -> list[DeviceRow]:
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT device_id, name, owner_id, last_seen, firmware_version, local_ip FROM devices "
                "WHERE owner_id = %s ORDER BY device_id",
                (user_id,),
            ).fetchall()
        return [DeviceRow(*row) for row in rows]

    def device_secret(self, device_id: str) -> str | None:
        """The robot's secret; None when there is no such robot."""
        with self._connection() as connection:
            row = connection.execute("SELECT sealed_secret FROM devices WHERE device_id = %s", (device_id,)).fetchone()
        return self._sealer.open(row[0]) if row else None

    def rename_device(self, device_id: str, name: str) -> None:
        with self._connection() as connection:
            connection.execute("UPDATE devices SET name = %s WHERE device_id = %s", (name, device_id))

    def device_seen(self, device_id: str, firmware_version: str | None = None, local_ip: str | None = None) -> None:
        """Note that one robot is there."""
        self.devices_seen([Sighting(device_id, firmware_version, local_ip)])

    def devices_seen(self, sightings: Sequence[Sighting]) -> None:
        """Note that robots are there, and what they tell about themselves."""
        with self._connection() as connection:
            connection.execute(
                "WITH seen AS (SELECT devices.device_id, version, ip FROM devices JOIN "
                "unnest(%s::text[], %s::text[], %s::text[]) AS told (device_id, version, ip) USING (device_id) "
                "ORDER BY device_id FOR UPDATE OF devices) "
                "UPDATE devices SET last_seen = now(), firmware_version = coalesce(seen.version, firmware_version), "
                "local_ip = coalesce(seen.ip, local_ip) FROM seen WHERE devices.device_id = seen.device_id",
                tuple([list(column) for column in zip(*sightings, strict=True)] or [[], [], []]),
            )

    # -- pairing ----------------------------------------------------------------------------------

    def new_pairing_code(self, device_id: str) -> str | None:
        """A fresh code for a robot without an owner, which ends the one before; None when it has an owner."""
        code = new_pairing_code()
        with self._connection() as connection:
            stored = connection.execute(
                "INSERT INTO pairing_codes (device_id, code_hash, expires_at) "
                "SELECT device_id, %s, now() + make_interval(secs => %s) FROM devices "
                "WHERE device_id = %s AND owner_id IS NULL "
                "ON CONFLICT (device_id) DO UPDATE SET code_hash = excluded.code_hash, "
                "expires_at = excluded.expires_at",
                (self._sealer.code_hash(code), PAIRING_CODE_LIFE_S, device_id),
            ).rowcount
        return code if stored else None

    def pair(self, user_id: str, code: str) -> str | None:
        """Make the account the owner of the robot that shows the code; None when no robot does. Single use."""
        with self._connection() as connection:
            row = connection.execute(
                "DELETE FROM pairing_codes WHERE code_hash = %s AND expires_at > now() RETURNING device_id",
                (self._sealer.code_hash(code),),
            ).fetchone()
            if row is None:
                return None
            paired = connection.execute(
                "UPDATE devices SET owner_id = %s WHERE device_id = %s AND owner_id IS NULL", (user_id, row[0])
            ).rowcount
        return str(row[0]) if paired else None

    def unpair(self, user_id: str, device_id: str) -> bool:
        """Take the owner away; False when the robot is not this account's."""
        with self._connection() as connection:
            return bool(
                connection.execute(
                    "UPDATE devices SET owner_id = NULL WHERE device_id = %s AND owner_id = %s", (device_id, user_id)
                ).rowcount
            )

    # -- history ----------------------------------------------------------------------------------

    def add_events(self, events: Sequence[NewEvent]) -> list[tuple[int, EventRow | None]]:
        """Store a batch in one transaction.

        The devices' rows are locked, in the order of their ids so that two workers never wait for each other,
        and the sequence is taken under that lock: what commits later has the higher number.

        Returns:
            For each event that is now in the history, its index in `events`, and the row when it is new (None when
            the robot had sent it before). Events of robots that are gone are left out.
        """
        device_ids = sorted({event.device_id for event in events})
        with self._connection() as connection:
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
