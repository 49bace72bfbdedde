"""What an operator does from the command line: plain functions on the database, without the relay running."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from contract.units import Role, SharedRole
from relay.crypto import Passwords, Sealer, SealError, new_device_secret
from relay.migrate import migrate
from relay.store import MAX_MEMBERS

__all__ = [
    "AdminError",
    "DeviceRow",
    "MemberRow",
    "add_device",
    "add_user",
    "devices",
    "members",
    "migrate",
    "new_user_id",
    "pair",
    "remove_member",
    "reseal",
    "set_member",
]

_DEVICE_ID = re.compile(r"^[A-Za-z0-9_.-]{1,64}$")
_EMAIL = re.compile(r"^[^@\s]+@[^@\s]+$")
MIN_PASSWORD_CHARS = 8
MAX_NAME_CHARS = 64


class AdminError(ValueError):
    """Something asked for cannot be done; the message says why and what is accepted."""


@dataclass(frozen=True)
class DeviceRow:
    """A robot, as listed for the operator."""

    device_id: str
    name: str
    owner_email: str | None
    members: int
    last_seen: datetime | None
    firmware_version: str | None


@dataclass(frozen=True)
class MemberRow:
    """Who may use a robot, as listed for the operator; `since` is None for its owner."""

    email: str
    role: Role
    since: datetime | None


def new_user_id() -> str:
    return f"u_{secrets.token_hex(8)}"


def add_user(database_url: str, email: str, password: str) -> str:
    """Make the account, or set the password of the one there is (which ends its tokens). Returns its user_id.

    Raises:
        AdminError: the address or the password is not acceptable.
    """
    address = email.strip().lower()
    if not _EMAIL.match(address):
        raise AdminError(f"{email!r} is not an e-mail address.")
    if len(password) < MIN_PASSWORD_CHARS:
        raise AdminError(f"The password is too short. Accepted: {MIN_PASSWORD_CHARS} characters or more.")
    passwords = Passwords()
    with psycopg.connect(database_url) as connection:
        known = connection.execute("SELECT user_id, password_hash FROM users WHERE email = %s", (address,)).fetchone()
        if known is not None and passwords.verify(known[1], password):
            return str(known[0])
        row = connection.execute(
            "INSERT INTO users (user_id, email, password_hash) VALUES (%s, %s, %s) "
            "ON CONFLICT (email) DO UPDATE SET password_hash = excluded.password_hash, "
            "token_version = users.token_version + 1 RETURNING user_id",
            (new_user_id(), address, passwords.hash(password)),
        ).fetchone()
    if row is None:
        raise AdminError("The account was not stored.")
    return str(row[0])


def add_device(
    database_url: str,
    master_key: str,
    device_id: str | None = None,
    secret: str | None = None,
    name: str | None = None,
    owner_email: str | None = None,
) -> tuple[str, str]:
    """Make a robot's identity. Returns its id and its secret, which is shown this once and kept encrypted.

    Args:
        database_url: the relay's database.
        master_key: the relay's MASTER_KEY.
        device_id: made up when None.
        secret: made up when None; given where a robot already has one.
        name: what people call it; its id when None.
        owner_email: the account that it belongs to; None: whoever pairs it.

    Raises:
        AdminError: the id is not acceptable, or taken, or there is no such account. Nothing is stored then.
    """
    chosen = device_id or f"wimz_{secrets.token_hex(6)}"
    if not _DEVICE_ID.match(chosen):
        raise AdminError(f"{chosen!r} is no device id. Accepted: 1 to 64 letters, digits, dots, dashes, underscores.")
    device_secret = secret or new_device_secret()
    label = name or chosen
    if not 1 <= len(label) <= MAX_NAME_CHARS:
        raise AdminError(f"The name is too long. Accepted: up to {MAX_NAME_CHARS} characters.")
    with psycopg.connect(database_url) as connection:
        added = connection.execute(
            "INSERT INTO devices (device_id, sealed_secret, name) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            (chosen, Sealer(master_key).seal(device_secret), label),
        ).rowcount
        if not added:
            raise AdminError(f"There is already a device {chosen!r}. Choose another id.")
        if owner_email is not None:
            _give(connection, owner_email, chosen)
    return chosen, device_secret


def pair(database_url: str, email: str, device_id: str) -> None:
    """Make the account the owner of the robot. A relay that runs sees it within a minute.

    Raises:
        AdminError: there is no such account or robot, or the robot has another owner.
    """
    with psycopg.connect(database_url) as connection:
        _give(connection, email, device_id)


def _give(connection: psycopg.Connection[Any], email: str, device_id: str) -> None:
    user_id = _user_id(connection, email)
    if _lock_device(connection, device_id) not in (None, user_id):
        raise AdminError(f"{device_id!r} has another owner, who has to unpair it first.")
    connection.execute("UPDATE devices SET owner_id = %s WHERE device_id = %s", (user_id, device_id))
    connection.execute("DELETE FROM pairing_codes WHERE device_id = %s", (device_id,))


def reseal(database_url: str, master_key: str, previous: str | None) -> int:
    """Keep every device's secret under the present master key, so that the previous one can be forgotten.

    Returns:
        How many secrets were under the previous one.

    Raises:
        AdminError: a secret opens with neither key; nothing is changed then.
    """
    present, both = Sealer(master_key), Sealer(master_key, previous)
    changed = 0
    with psycopg.connect(database_url) as connection:
        sealed = connection.execute("SELECT device_id, sealed_secret FROM devices FOR UPDATE").fetchall()
        for device_id, secret in sealed:
            try:
                present.open(secret)
                continue
            except SealError:
                pass  # under the previous key, then
            try:
                again = present.seal(both.open(secret))
            except SealError as error:
                raise AdminError(f"The secret of {device_id!r} opens with neither key; nothing was changed.") from error
            connection.execute("UPDATE devices SET sealed_secret = %s WHERE device_id = %s", (again, device_id))
            changed += 1
    return changed


def devices(database_url: str) -> list[DeviceRow]:
    """All robots, by id."""
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "SELECT device_id, name, email, "
            "(SELECT count(*) FROM members WHERE members.device_id = devices.device_id), last_seen, firmware_version "
            "FROM devices "
            "LEFT JOIN users ON users.user_id = devices.owner_id ORDER BY device_id"
        ).fetchall()
    return [DeviceRow(*row) for row in rows]


def members(database_url: str, device_id: str) -> list[MemberRow]:
    """Who may use the robot: its owner first, then by address.

    Raises:
        AdminError: there is no such robot.
    """
    with psycopg.connect(database_url) as connection:
        _lock_device(connection, device_id)
        rows = connection.execute(
            "SELECT email, 'owner', NULL FROM devices JOIN users ON user_id = owner_id WHERE device_id = %(id)s "
            "UNION ALL (SELECT email, role, since FROM members JOIN users USING (user_id) WHERE device_id = %(id)s "
            "ORDER BY email)",
            {"id": device_id},
        ).fetchall()
    return [MemberRow(*row) for row in rows]


def set_member(database_url: str, device_id: str, email: str, role: SharedRole) -> None:
    """Share the robot with an account, or give it another role. A relay that runs sees it within a minute.

    Raises:
        AdminError: there is no such account or robot, the robot has no owner or this one, or is shared with too many.
    """
    with psycopg.connect(database_url) as connection:
        owner_id = _lock_device(connection, device_id)
        user_id = _user_id(connection, email)
        if owner_id is None:
            raise AdminError(f"{device_id!r} has no owner yet. Give it one with `wimz relay pair`.")
        if owner_id == user_id:
            raise AdminError(f"{device_id!r} belongs to {email!r}, who may do everything with it.")
        connection.execute(
            "INSERT INTO members (user_id, device_id, role) VALUES (%s, %s, %s) "
            "ON CONFLICT (user_id, device_id) DO UPDATE SET role = excluded.role",
            (user_id, device_id, role),
        )
        row = connection.execute("SELECT count(*) FROM members WHERE device_id = %s", (device_id,)).fetchone()
        if row is not None and row[0] > MAX_MEMBERS:
            raise AdminError(f"{device_id!r} is shared with {MAX_MEMBERS} people, and that is the most.")


def remove_member(database_url: str, device_id: str, email: str) -> None:
    """Share the robot with this account no more. A relay that runs sees it within a minute.

    Raises:
        AdminError: there is no such account or robot, or it is not shared with the account.
    """
    with psycopg.connect(database_url) as connection:
        _lock_device(connection, device_id)
        removed = connection.execute(
            "DELETE FROM members WHERE device_id = %s AND user_id = %s", (device_id, _user_id(connection, email))
        ).rowcount
    if not removed:
        raise AdminError(f"{device_id!r} is not shared with {email!r}. `wimz relay members` lists who may use it.")


def _user_id(connection: psycopg.Connection[Any], email: str) -> str:
    user = connection.execute("SELECT user_id FROM users WHERE email = %s", (email.strip().lower(),)).fetchone()
    if user is None:
        raise AdminError(f"There is no account {email!r}. Make it with `wimz relay add-user`.")
    return str(user[0])


def _lock_device(connection: psycopg.Connection[Any], device_id: str) -> str | None:
    """Its owner's user_id."""
    device = connection.execute("SELECT owner_id FROM devices WHERE device_id = %s FOR UPDATE", (device_id,)).fetchone()
    if device is None:
        raise AdminError(f"There is no device {device_id!r}. Make it with `wimz relay add-device`.")
    return None if device[0] is None else str(device[0])
