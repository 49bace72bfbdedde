"""Numbered SQL migrations, run once each, by one process at a time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import psycopg

MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 0x57494D5A  # "WIMZ": the advisory lock that one migrating process holds
_NAME = re.compile(r"^(\d{4})_[a-z0-9_]+\.sql$")


class MigrationError(RuntimeError):
    """The migrations and the database do not fit together."""


@dataclass(frozen=True)
class Migration:
    number: int
    name: str
    sql: str


def available(folder: Path = MIGRATIONS) -> list[Migration]:
    """The migrations that ship with the relay, in order.

    Raises:
        MigrationError: a file name is not `NNNN_words.sql`, or a number is missing or doubled.
    """
    found = []
    for path in sorted(folder.glob("*.sql")):
        match = _NAME.match(path.name)
        if match is None:
            raise MigrationError(f"{path.name} is not named like a migration. Accepted: NNNN_words.sql.")
        found.append(Migration(int(match[1]), path.name, path.read_text(encoding="utf-8")))
    if [one.number for one in found] != list(range(1, len(found) + 1)):
        raise MigrationError(f"The migrations in {folder} are not numbered 1, 2, 3 … without a gap.")
    return found


def migrate(database_url: str, folder: Path = MIGRATIONS) -> list[str]:
    """Bring the database up to date; returns the names of what was run. Safe to run from several places at once.

    Raises:
        MigrationError: the database is newer than this program.
        psycopg.Error: the database cannot be reached, or refused a statement (nothing of that migration is kept).
    """
    migrations = available(folder)
    done: list[str] = []
    with psycopg.connect(database_url, autocommit=True, connect_timeout=10) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations "
            "(number integer PRIMARY KEY, name text NOT NULL, run_at timestamptz NOT NULL DEFAULT now())"
        )
        row = connection.execute("SELECT coalesce(max(number), 0) FROM schema_migrations").fetchone()
        current = row[0] if row else 0
        if current > len(migrations):
            raise MigrationError(
                f"The database is at migration {current}, this program knows {len(migrations)}: it is too old for it."
            )
        for migration in migrations[current:]:
            with connection.transaction():
                connection.execute(migration.sql.encode())
                connection.execute(
                    "INSERT INTO schema_migrations (number, name) VALUES (%s, %s)", (migration.number, migration.name)
                )
            done.append(migration.name)
    return done
