"""The database: migrations, what an operator does, pairing and history."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.errors import ContractError
from relay import admin
from relay.crypto import Passwords, Sealer
from relay.migrate import MigrationError, available, migrate
from relay.store import NewEvent, Store

MASTER_KEY = "m" * 32


@pytest.fixture(scope="module")
def database_url(postgres_url: str) -> str:
    assert migrate(postgres_url) == [one.name for one in available()]
    return postgres_url


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    made = Store(database_url, Sealer(MASTER_KEY))
    made.open()
    yield made
    made.close()


def _user(store: Store, name: str) -> str:
    return store.create_user(f"u_{name}", f"{name}@example.org", "hash").user_id


def _device(database_url: str, name: str) -> str:
    return admin.add_device(database_url, MASTER_KEY, name)[0]


def test_migrations_run_once_also_from_several_places(database_url: str) -> None:
    results: list[list[str]] = []
    threads = [threading.Thread(target=lambda: results.append(migrate(database_url))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert results == [[], [], [], []]


def test_a_database_that_is_newer_is_refused(database_url: str, tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="too old"):
        migrate(database_url, tmp_path)
    (tmp_path / "0002_gap.sql").write_text("SELECT 1")
    with pytest.raises(MigrationError, match="gap"):
        available(tmp_path)
    (tmp_path / "first.sql").write_text("SELECT 1")
    with pytest.raises(MigrationError, match="named"):
        available(tmp_path)


def test_accounts_of_the_operator(database_url: str, store: Store) -> None:
    user_id = admin.add_user(database_url, "Op@Example.org", "long enough")
    assert admin.add_user(database_url, "op@example.org", "long enough") == user_id
    before = store.user_by_id(user_id)
    assert admin.add_user(database_url, "op@example.org", "another one") == user_id
    after = store.user_by_email("op@example.org")
    assert before is not None
    assert after is not None
    assert after.token_version == before.token_version + 1, "a new password ends old tokens"
    assert Passwords().verify(after.password_hash, "another one")
    with pytest.raises(admin.AdminError):
        admin.add_user(database_url, "nobody", "long enough")
    with pytest.raises(admin.AdminError):
        admin.add_user(database_url, "a@b.c", "short")


def test_robots_of_the_operator(database_url: str, store: Store) -> None:
    device_id, secret = admin.add_device(database_url, MASTER_KEY)
    sealed = store.sealed_secrets([device_id, "wimz_unknown"])
    assert list(sealed) == [device_id]
    assert store.open_secret(device_id, sealed[device_id]) == secret
    assert admin.add_device(database_url, MASTER_KEY, "wimz_given", "a secret") == ("wimz_given", "a secret")
    with pytest.raises(admin.AdminError, match="already"):
        admin.add_device(database_url, MASTER_KEY, "wimz_given")
    with pytest.raises(admin.AdminError):
        admin.add_device(database_url, MASTER_KEY, "no spaces please")
    user_id = _user(store, "pairer")
    admin.pair(database_url, "pairer@example.org", device_id)
    admin.pair(database_url, "pairer@example.org", device_id)
    assert store.roles_of(user_id) == {device_id: "owner"}
    assert store.members_of(device_id) == {user_id: "owner"}
    _user(store, "other")
    for email, wanted in (
        ("other@example.org", device_id),
        ("none@example.org", device_id),
        ("other@example.org", "x"),
    ):
        with pytest.raises(admin.AdminError):
            admin.pair(database_url, email, wanted)
    listed = {row.device_id: row.owner_email for row in admin.devices(database_url)}
    assert listed[device_id] == "pairer@example.org"


def test_a_code_pairs_once_and_only_a_robot_without_an_owner(database_url: str, store: Store) -> None:
    user_id, device_id = _user(store, "codes"), _device(database_url, "wimz_codes")
    first = store.new_pairing_code(device_id)
    second = store.new_pairing_code(device_id)
    assert first is not None
    assert second is not None
    assert store.pair(user_id, first) is None, "the fresh one ended it"
    assert store.pair(user_id, second.lower()) == device_id
    assert store.pair(user_id, second) is None
    assert store.new_pairing_code(device_id) is None
    assert store.unpair("u_nobody", device_id) is None
    assert store.unpair(user_id, device_id) == {user_id}
    assert store.members_of(device_id) == {}


def test_an_account_is_made_once(store: Store) -> None:
    _user(store, "twice")
    with pytest.raises(ContractError, match="CONFLICT"):
        store.create_user("u_x", "twice@example.org", "hash")


def _event(device_id: str, number: int) -> NewEvent:
    return NewEvent(device_id, f"e{number}", "treat", {"n": number}, "2026-01-01T00:00:00Z")


def test_events_are_numbered_per_robot_and_stored_once(database_url: str, store: Store) -> None:
    user_id = _user(store, "history")
    one, two = _device(database_url, "wimz_h1"), _device(database_url, "wimz_h2")
    for device_id in (one, two):
        admin.pair(database_url, "history@example.org", device_id)
    batch = [_event(one, 1), _event(two, 1), _event(one, 2), _event(one, 1), _event("wimz_gone", 1)]
    stored = store.add_events(batch)
    assert [(index, row.seq if row else None) for index, row in stored] == [(0, 1), (1, 1), (2, 2), (3, None)]
    assert store.add_events([_event(one, 2)]) == [(0, None)]
    assert [row.seq for row in store.events([one], after=0)] == [1, 2]
    assert [row.id for row in store.events([one], after=1)] == ["e2"]
    assert [row.id for row in store.events([one], before=2)] == ["e1"]
    assert len(store.events([one, two])) == 3
    store.unpair(user_id, one)
    assert store.events([one]) == [], "the next owner does not see it"


def test_two_workers_at_once_lose_and_double_nothing(database_url: str, store: Store) -> None:
    devices = [_device(database_url, f"wimz_c{number}") for number in range(3)]
    _user(store, "both")
    for device_id in devices:
        admin.pair(database_url, "both@example.org", device_id)
    other = Store(database_url, Sealer(MASTER_KEY))
    other.open()

    def write(into: Store, order: list[str], shift: int) -> None:
        for start in range(0, 60, 10):
            into.add_events([_event(d, n) for d in order for n in range(start + shift, start + shift + 10)])

    threads = [
        threading.Thread(target=write, args=(store, devices, 0)),
        threading.Thread(target=write, args=(other, devices[::-1], 5)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    other.close()
    for device_id in devices:
        rows = store.events([device_id], after=0, limit=200)
        assert [row.seq for row in rows] == list(range(1, 66))
        assert {row.id for row in rows} == {f"e{number}" for number in range(65)}


def test_what_cannot_be_stored_is_refused(database_url: str, store: Store) -> None:
    device_id = _device(database_url, "wimz_nul")
    with pytest.raises(ContractError, match="INVALID_PARAMETER"):
        store.rename_device(device_id, "a\0b")
    with pytest.raises(ContractError, match="INVALID_PARAMETER"):
        store.add_events([NewEvent(device_id, "e", "treat", {"x": "\0"}, "now")])


def test_a_database_that_is_away_is_unavailable() -> None:
    nowhere = Store("postgresql://wimz@127.0.0.1:1/none", Sealer(MASTER_KEY))
    nowhere.open()
    with pytest.raises(ContractError, match="UNAVAILABLE"):
        nowhere.ping()
    nowhere.close()


def test_a_transaction_that_its_worker_left_open_holds_nobody_up(
    database_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that is cut off between two statements leaves its rows locked."""
    monkeypatch.setattr("relay.database.IDLE_IN_TRANSACTION_MS", 200)
    device_id = _device(database_url, "wimz_locked")
    gone = Store(database_url, Sealer(MASTER_KEY))
    gone.open()
    stored: list[Any] = []

    def hold() -> None:
        with gone._connection() as connection:
            connection.execute("SELECT 1 FROM devices WHERE device_id = %s FOR UPDATE", (device_id,))
            stored.extend(store.add_events([NewEvent(device_id, "e", "treat", {}, "now")]))
            connection.execute("SELECT 1")

    with pytest.raises(ContractError, match="UNAVAILABLE"):  # who is back afterwards is told to try again
        hold()
    gone.close()
    assert [index for index, row in stored if row is not None] == [0], "the others went on meanwhile"
