"""Accounts, robots and who may use them, in PostgreSQL. Every method blocks: never call it from the hub."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from contract.errors import ContractError
from contract.units import Role, SharedRole
from relay.crypto import Sealer, SealError, new_code
from relay.history import EventRow as EventRow
from relay.history import History
from relay.history import NewEvent as NewEvent
from relay.lastseen import Sighting

log = logging.getLogger(__name__)

PAIRING_CODE_LIFE_S = 600
SHARE_CODE_LIFE_S = 86_400
MAX_MEMBERS = 16
"""People a robot is shared with: each of its events goes to all of them."""
MAX_ROBOTS = 100
"""Robots that an account may use: each is looked up when it signs in."""

_USER = "user_id, email, password_hash, token_version, created_at"
_DEVICE = "device_id, name, owner_id, last_seen, firmware_version, local_ip"
_ROLES = (
    "SELECT owner_id AS user_id, device_id, 'owner' AS role FROM devices WHERE owner_id IS NOT NULL "
    "UNION ALL SELECT user_id, device_id, role FROM members"
)


@dataclass(frozen=True)
class UserRow:
    """An account."""

    user_id: str
    email: str
    password_hash: str
    token_version: int
    created_at: datetime


@dataclass(frozen=True)
class Account:
    """What counts of an account while it is signed in.

    Attributes:
        token_version: that of its tokens that are good.
        roles: the robots that it may use, and as what.
    """

    token_version: int
    roles: dict[str, Role]


@dataclass(frozen=True)
class DeviceRow:
    """A robot, and what the account that asked is to it."""

    device_id: str
    name: str
    owner_id: str | None
    last_seen: datetime | None
    firmware_version: str | None
    local_ip: str | None
    role: Role


@dataclass(frozen=True)
class MemberRow:
    """An account that may use a robot; `since` is None for the owner."""

    user_id: str
    email: str
    role: Role
    since: datetime | None


class Store(History):
    """The database.

    Args:
        database_url: `postgresql://…`
        sealer: opens the devices' secrets.
        pool_size: most connections at a time.
    """

    def __init__(self, database_url: str, sealer: Sealer, pool_size: int = 8) -> None:
        super().__init__(database_url, pool_size)
        self._sealer = sealer

    # -- accounts ---------------------------------------------------------------------------------

    def create_user(self, user_id: str, email: str, password_hash: str) -> UserRow:
        """Raises ContractError CONFLICT when the address has an account."""
        with self._connection() as connection:
            row = connection.execute(
                "INSERT INTO users (user_id, email, password_hash) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING "
                f"RETURNING {_USER}",
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
            row = connection.execute(f"SELECT {_USER} FROM users WHERE {column} = %s", (value,)).fetchone()
        return UserRow(*row) if row else None

    def end_tokens(self, user: UserRow, password_hash: str | None = None) -> UserRow | None:
        """End all tokens of the account, with a new password where one is given.

        Returns:
            The account; None when somebody else ended them meanwhile, so that of two changes at once one counts.
        """
        with self._connection() as connection:
            row = connection.execute(
                "UPDATE users SET token_version = token_version + 1, password_hash = coalesce(%s, password_hash) "
                f"WHERE user_id = %s AND token_version = %s RETURNING {_USER}",
                (password_hash, user.user_id, user.token_version),
            ).fetchone()
        return UserRow(*row) if row else None

    def accounts(self, user_ids: Sequence[str]) -> dict[str, Account]:
        """Those of these accounts that are there."""
        with self._connection() as connection:
            versions = connection.execute(
                "SELECT user_id, token_version FROM users WHERE user_id = ANY(%s)", (list(user_ids),)
            ).fetchall()
            roles = _roles(connection, "user_id", user_ids)
        found = {user_id: Account(version, {}) for user_id, version in versions}
        for user_id, device_id, role in roles:
            if user_id in found:  # else it came between the two questions
                found[user_id].roles[device_id] = role
        return found

    def let_go_of_all(self, user_id: str) -> dict[str, set[str]]:
        """The first part of deleting an account: it ends its tokens, owns nothing and is in nothing any more.

        Returns:
            Its robots, each with the accounts that could use it.
        """
        with self._connection() as connection:
            connection.execute("UPDATE users SET token_version = token_version + 1 WHERE user_id = %s", (user_id,))
            roles = dict(
                connection.execute(
                    f"SELECT device_id, role FROM ({_ROLES}) AS roles WHERE user_id = %s ORDER BY device_id",
                    (user_id,),
                ).fetchall()
            )
            concerned = {device_id: {user_id} for device_id in roles}
            for device_id, role in roles.items():
                if role == "owner":
                    concerned[device_id] |= _free(connection, device_id)
            connection.execute("DELETE FROM members WHERE user_id = %s", (user_id,))
        return concerned

    def delete_user(self, user_id: str) -> None:
        """The last part of deleting an account, after its events."""
        with self._connection() as connection:
            connection.execute("DELETE FROM users WHERE user_id = %s", (user_id,))

    # -- who may use what -------------------------------------------------------------------------

    def roles_of(self, user_id: str) -> dict[str, Role]:
        """The robots that the account may use, and as what."""
        with self._connection() as connection:
            return {device_id: role for _, device_id, role in _roles(connection, "user_id", [user_id])}

    def members_of(self, device_id: str) -> dict[str, Role]:
        """The accounts that may use the robot, and as what."""
        return self.members_of_all([device_id]).get(device_id, {})

    def members_of_all(self, device_ids: Sequence[str]) -> dict[str, dict[str, Role]]:
        """The same for many robots; those without an owner are left out."""
        found: dict[str, dict[str, Role]] = {}
        with self._connection() as connection:
            rows = _roles(connection, "device_id", device_ids)
        for user_id, device_id, role in rows:
            found.setdefault(device_id, {})[user_id] = role
        return found

    def member_list(self, device_id: str) -> list[MemberRow]:
        """Who may use the robot: the owner first, then by e-mail."""
        with self._connection() as connection:
            rows = connection.execute(
                f"SELECT user_id, email, role, since FROM ({_ROLES}) AS roles JOIN users USING (user_id) "
                "LEFT JOIN members USING (user_id, device_id, role) WHERE device_id = %s "
                "ORDER BY role <> 'owner', email",
                (device_id,),
            ).fetchall()
        return [MemberRow(*row) for row in rows]

    def set_role(self, device_id: str, user_id: str, role: SharedRole) -> bool:
        """Give a member another role; False when there is no such member (the owner is none)."""
        with self._connection() as connection:
            return bool(
                connection.execute(
                    "UPDATE members SET role = %s WHERE device_id = %s AND user_id = %s", (role, device_id, user_id)
                ).rowcount
            )

    def remove_member(self, device_id: str, user_id: str) -> bool:
        """Take somebody out; False when there is no such member."""
        with self._connection() as connection:
            return bool(
                connection.execute(
                    "DELETE FROM members WHERE device_id = %s AND user_id = %s", (device_id, user_id)
                ).rowcount
            )

    # -- devices ----------------------------------------------------------------------------------

    def devices_of(self, user_id: str) -> list[DeviceRow]:
        with self._connection() as connection:
            rows = connection.execute(
                f"SELECT {_DEVICE}, role FROM devices JOIN "
                f"(SELECT user_id AS who, device_id, role FROM ({_ROLES}) AS all_roles) AS mine USING (device_id) "
                "WHERE who = %s ORDER BY device_id",
                (user_id,),
            ).fetchall()
        return [DeviceRow(*row) for row in rows]

    def sealed_secrets(self, device_ids: Sequence[str]) -> dict[str, bytes]:
        """The secrets of those of these robots that are there, for `open_secret`."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT device_id, sealed_secret FROM devices WHERE device_id = ANY(%s)", (list(device_ids),)
            ).fetchall()
        return dict(rows)

    def open_secret(self, device_id: str, sealed: bytes) -> str:
        """A robot's secret. Does not block.

        Raises:
            ContractError: UNAVAILABLE: it cannot be opened with the master keys that are set.
        """
        try:
            return self._sealer.open(sealed)
        except SealError as error:
            log.error("the secret of %s: %s", device_id, error)
            raise ContractError("UNAVAILABLE", "The relay cannot check signatures of this robot just now.") from error

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
        code = new_code()
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
        """Make the account the owner of the robot that shows the code; None when no robot does. Single use.

        Raises:
            ContractError: CONFLICT when the account has as many robots as it may.
        """
        with self._connection() as connection:
            row = connection.execute(
                "DELETE FROM pairing_codes WHERE code_hash = ANY(%s) AND expires_at > now() RETURNING device_id",
                (self._sealer.code_hashes(code),),
            ).fetchone()
            if row is None:
                return None
            _check_room(connection, user_id)
            paired = connection.execute(
                "UPDATE devices SET owner_id = %s WHERE device_id = %s AND owner_id IS NULL", (user_id, row[0])
            ).rowcount
        return str(row[0]) if paired else None

    def unpair(self, user_id: str, device_id: str) -> set[str] | None:
        """Take the owner away, and with it everybody the robot was shared with.

        Returns:
            The accounts that could use it; None when the robot is not this account's.
        """
        with self._connection() as connection:
            owner = connection.execute(
                "SELECT owner_id FROM devices WHERE device_id = %s FOR UPDATE", (device_id,)
            ).fetchone()
            if owner is None or owner[0] != user_id:
                return None
            return _free(connection, device_id) | {user_id}

    # -- sharing ----------------------------------------------------------------------------------

    def new_share_code(self, owner_id: str, device_id: str, role: SharedRole) -> str | None:
        """A code that makes one other account a member; it ends the one before for that role. None for no owner.

        Raises:
            ContractError: CONFLICT when the robot is shared with as many as it may be.
        """
        code = new_code()
        with self._connection() as connection:
            _check_members(connection, device_id)
            stored = connection.execute(
                "INSERT INTO share_codes (device_id, role, code_hash, expires_at) "
                "SELECT device_id, %s, %s, now() + make_interval(secs => %s) FROM devices "
                "WHERE device_id = %s AND owner_id = %s "
                "ON CONFLICT (device_id, role) DO UPDATE SET code_hash = excluded.code_hash, "
                "expires_at = excluded.expires_at",
                (role, self._sealer.code_hash(code), SHARE_CODE_LIFE_S, device_id, owner_id),
            ).rowcount
        return code if stored else None

    def share_codes(self, device_id: str) -> list[tuple[SharedRole, datetime]]:
        """The codes that are open: for which role, and until when."""
        with self._connection() as connection:
            return connection.execute(
                "SELECT role, expires_at FROM share_codes WHERE device_id = %s AND expires_at > now() ORDER BY role",
                (device_id,),
            ).fetchall()

    def withdraw_share_codes(self, device_id: str) -> None:
        with self._connection() as connection:
            connection.execute("DELETE FROM share_codes WHERE device_id = %s", (device_id,))

    def join(self, user_id: str, code: str) -> tuple[str, Role] | None:
        """Make the account a member of the robot that the code is for. Single use.

        Returns:
            The robot and the role; None when no such code is open.

        Raises:
            ContractError: CONFLICT when the robot is the account's own, is shared with as many as it may be, or the
                account has as many robots as it may. The code stays good then.
        """
        with self._connection() as connection:
            row = connection.execute(
                "DELETE FROM share_codes WHERE code_hash = ANY(%s) AND expires_at > now() RETURNING device_id, role",
                (self._sealer.code_hashes(code),),
            ).fetchone()
            if row is None:
                return None
            device_id, role = row
            owner = connection.execute(
                "SELECT owner_id FROM devices WHERE device_id = %s FOR UPDATE", (device_id,)
            ).fetchone()
            if owner is None or owner[0] is None:
                return None
            if owner[0] == user_id:
                raise ContractError("CONFLICT", "This robot is your own. The code is for somebody else.")
            _check_members(connection, device_id, but=user_id)
            _check_room(connection, user_id)
            connection.execute(
                "INSERT INTO members (device_id, user_id, role) VALUES (%s, %s, %s) "
                "ON CONFLICT (device_id, user_id) DO UPDATE SET role = excluded.role",
                (device_id, user_id, role),
            )
        return str(device_id), role

    def expire_codes(self) -> int:
        """Delete codes that are too old. Returns how many."""
        with self._connection() as connection:
            pairing = connection.execute("DELETE FROM pairing_codes WHERE expires_at < now()").rowcount
            return pairing + connection.execute("DELETE FROM share_codes WHERE expires_at < now()").rowcount


def _roles(connection: psycopg.Connection[Any], column: str, values: Sequence[str]) -> list[tuple[str, str, Role]]:
    """Account, robot and role, of these accounts or robots."""
    return connection.execute(
        f"SELECT user_id, device_id, role FROM ({_ROLES}) AS roles WHERE {column} = ANY(%s) "
        "ORDER BY user_id, device_id",
        (list(values),),
    ).fetchall()


def _free(connection: psycopg.Connection[Any], device_id: str) -> set[str]:
    """Leave a robot without owner, members and codes; returns its members."""
    connection.execute("UPDATE devices SET owner_id = NULL WHERE device_id = %s", (device_id,))
    connection.execute("DELETE FROM share_codes WHERE device_id = %s", (device_id,))
    rows = connection.execute("DELETE FROM members WHERE device_id = %s RETURNING user_id", (device_id,)).fetchall()
    return {str(row[0]) for row in rows}


def _check_members(connection: psycopg.Connection[Any], device_id: str, but: str = "") -> None:
    row = connection.execute(
        "SELECT count(*) FROM members WHERE device_id = %s AND user_id <> %s", (device_id, but)
    ).fetchone()
    if row is not None and row[0] >= MAX_MEMBERS:
        raise ContractError(
            "CONFLICT", f"A robot is shared with at most {MAX_MEMBERS} people. Take somebody out first."
        )


def _check_room(connection: psycopg.Connection[Any], user_id: str) -> None:
    row = connection.execute(f"SELECT count(*) FROM ({_ROLES}) AS roles WHERE user_id = %s", (user_id,)).fetchone()
    if row is not None and row[0] >= MAX_ROBOTS:
        raise ContractError("CONFLICT", f"An account has at most {MAX_ROBOTS} robots. Let go of one first.")
