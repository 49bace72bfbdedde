"""The pool of connections to PostgreSQL, and what its failures are called. Everything blocks: never in the hub."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from contract.errors import ContractError

log = logging.getLogger(__name__)

POOL_WAIT_S = 5.0
SHORT_WAIT_S = 1.0
"""For what is tried again anyway."""
STATEMENT_TIMEOUT_MS = 5_000
IDLE_IN_TRANSACTION_MS = 2_000
"""A host that is cut off in the middle of a transaction keeps the robots' rows locked for the others no longer."""
UNACKNOWLEDGED_MS = 3_000
"""A server that acknowledges nothing for so long is cut off; the kernel itself would go on for a quarter of an hour."""
CONNECT_S = 2
RECONNECT_S = 3.0
"""The pool's own pauses between attempts double within this time; then whoever asks next begins anew."""


class Database:
    """The connections. Made after the process forked and was monkey-patched.

    Args:
        database_url: `postgresql://…`
        pool_size: most connections at a time.
    """

    def __init__(self, database_url: str, pool_size: int = 8) -> None:
        self._pool = ConnectionPool(
            database_url,
            min_size=1,
            max_size=pool_size,
            max_waiting=200,
            timeout=POOL_WAIT_S,
            open=False,
            check=ConnectionPool.check_connection,
            kwargs={
                "connect_timeout": CONNECT_S,
                "tcp_user_timeout": UNACKNOWLEDGED_MS,
                "options": f"-c statement_timeout={STATEMENT_TIMEOUT_MS} "
                f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_MS}",
            },
            reconnect_timeout=RECONNECT_S,
        )

    def open(self) -> None:
        """Start connecting; returns at once."""
        self._pool.open(wait=False)

    def close(self) -> None:
        self._pool.close(timeout=1.0)

    @contextmanager
    def _connection(self, wait_s: float = POOL_WAIT_S) -> Iterator[psycopg.Connection[Any]]:
        """A connection in a transaction.

        Args:
            wait_s: how long to wait for one that is free.

        Raises:
            ContractError: UNAVAILABLE when the database cannot be reached or does not answer in time;
                INVALID_PARAMETER when a value cannot be stored (U+0000 in a text);
                INTERNAL_ERROR for what it refuses otherwise.
        """
        try:
            with self._pool.connection(wait_s) as connection:
                yield connection
        except (
            PoolTimeout,
            PoolClosed,
            TooManyRequests,
            psycopg.OperationalError,
            psycopg.errors.IdleInTransactionSessionTimeout,
        ) as error:
            log.warning("database: %s: %s", type(error).__name__, str(error).strip().splitlines()[:1])
            raise ContractError("UNAVAILABLE", "The database cannot be reached just now. Try again soon.") from error
        except psycopg.DataError as error:
            raise ContractError("INVALID_PARAMETER", "The text holds a character that cannot be stored.") from error
        except psycopg.ProgrammingError as error:
            log.error("the database does not know what is asked for; `wimz relay migrate` may help: %s", error)
            raise ContractError("UNAVAILABLE", "The relay's database is not ready.") from error
        except psycopg.Error as error:
            log.error("database: %s: %s", type(error).__name__, error)
            raise ContractError("INTERNAL_ERROR", "The database refused this. It has been noted.") from error

    def ping(self) -> None:
        """Raises ContractError UNAVAILABLE when the database does not answer."""
        with self._connection(SHORT_WAIT_S) as connection:
            connection.execute("SELECT 1 FROM users LIMIT 1")
