"""Tokens, signatures, secrets at rest and settings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from contract.errors import ContractError
from relay.auth import DeviceProof, Tokens, check_proof, check_replay, sign
from relay.config import ConfigError, Settings
from relay.crypto import CODE_ALPHABET, Passwords, Sealer, SealError, new_code

SECRET = "s" * 40
NOW = datetime.now(UTC)


def test_a_token_says_who_and_since_which_version() -> None:
    tokens = Tokens(SECRET, ttl_s=3600)
    claims = tokens.verify(tokens.issue("u_1", 3, NOW))
    assert (claims.user_id, claims.token_version) == ("u_1", 3)
    assert claims.expires_at == int(NOW.timestamp()) + 3600


def test_tokens_of_the_previous_secret_count_until_it_is_removed() -> None:
    old = Tokens("o" * 40).issue("u_1", 0, NOW)
    assert Tokens(SECRET, "o" * 40).verify(old).user_id == "u_1"
    with pytest.raises(ContractError):
        Tokens(SECRET).verify(old)


@pytest.mark.parametrize("claims", [{"ver": 0}, {"sub": "u", "ver": "0"}, {"sub": 5, "ver": 0}])
def test_tokens_that_lack_something_are_refused(claims: dict[str, Any]) -> None:
    times = {"iat": int(NOW.timestamp()), "exp": int(NOW.timestamp()) + 3600}
    token = jwt.encode({**times, **claims}, SECRET, algorithm="HS256")
    with pytest.raises(ContractError, match="AUTH_FAILED"):
        Tokens(SECRET).verify(token)


def test_other_algorithms_are_refused() -> None:
    times = {"sub": "u", "ver": 0, "iat": int(NOW.timestamp()), "exp": int(NOW.timestamp()) + 3600}
    with pytest.raises(ContractError, match="AUTH_FAILED"):
        Tokens(SECRET * 2).verify(jwt.encode(times, SECRET * 2, algorithm="HS512"))
    with pytest.raises(ContractError, match="AUTH_FAILED"):
        Tokens(SECRET).verify(jwt.encode(times, "", algorithm="none"))
    past = NOW - timedelta(hours=2)
    with pytest.raises(ContractError, match="AUTH_FAILED"):
        Tokens(SECRET).verify(Tokens(SECRET, ttl_s=3600).issue("u", 0, past))


def _proof(timestamp: str | None, secret: str = "key") -> DeviceProof:
    text = "r1" if timestamp is None else f"r1:{timestamp}"
    return DeviceProof("r1", sign(secret, text), timestamp)


def _at(offset_s: int) -> str:
    return str(int(NOW.timestamp()) + offset_s)


@pytest.mark.parametrize("offset_s", [-299, 0, 299])
def test_a_fresh_signature_is_accepted(offset_s: int) -> None:
    check_proof(_proof(_at(offset_s)), "key", NOW, allow_bare=False)


@pytest.mark.parametrize("offset_s", [-302, 302, -(10**8)])
def test_a_wrong_clock_learns_the_time(offset_s: int) -> None:
    with pytest.raises(ContractError) as refused:
        check_proof(_proof(_at(offset_s)), "key", NOW, allow_bare=False)
    assert (refused.value.code, refused.value.server_time) == ("CLOCK_SKEW", NOW.timestamp())


@pytest.mark.parametrize(
    ("proof", "secret"),
    [
        (_proof(_at(0), "other"), "key"),
        (_proof(_at(-1000), "other"), "key"),
        (_proof(_at(0)), None),
        (_proof("12.5"), "key"),
        (_proof("٣"), "key"),
        (_proof(None), "key"),
        (DeviceProof("r1", "é", "1"), "key"),
    ],
)
def test_nobody_else_learns_anything(proof: DeviceProof, secret: str | None) -> None:
    with pytest.raises(ContractError) as refused:
        check_proof(proof, secret, NOW, allow_bare=False)
    assert (refused.value.code, refused.value.server_time) == ("AUTH_FAILED", None)


def test_the_bare_form_needs_the_setting() -> None:
    check_proof(_proof(None), "key", NOW, allow_bare=True)


def test_a_signature_is_a_replay_after_the_grace_of_a_reconnect() -> None:
    check_replay(0.0)
    check_replay(4.9)
    with pytest.raises(ContractError, match="AUTH_FAILED"):
        check_replay(5.1)


def test_secrets_open_only_with_their_master_key() -> None:
    sealed = Sealer("m" * 32).seal("secret")
    assert b"secret" not in sealed
    assert Sealer("m" * 32).open(sealed) == "secret"
    with pytest.raises(SealError):
        Sealer("n" * 32).open(sealed)


def test_pairing_codes_are_readable_and_compared_in_one_form() -> None:
    code = new_code()
    assert len(code) == 8
    assert set(code) <= set(CODE_ALPHABET)
    assert not set("0O1IL") & set(CODE_ALPHABET)
    sealer = Sealer("m" * 32)
    assert sealer.code_hash("ABCD2345") == sealer.code_hash("abcd-2345")


def test_passwords() -> None:
    passwords = Passwords()
    stored = passwords.hash("right")
    assert stored.startswith("$argon2id$")
    assert passwords.verify(stored, "right")
    assert not passwords.verify(stored, "wrong")
    assert not passwords.verify(None, "right")


ENVIRONMENT = {
    "JWT_SECRET": "j" * 32,
    "MASTER_KEY": "m" * 32,
    "DATABASE_URL": "postgresql://db",
    "REDIS_URL": "redis://cache",
}


def test_settings_come_from_the_environment() -> None:
    settings = Settings.from_env(
        {**ENVIRONMENT, "PORT": "9000", "STUN_URLS": "stun:a:1, stun:b:2", "ALLOW_BARE_ID_SIGNATURE": "yes"}
    )
    assert (settings.port, settings.stun_urls, settings.allow_bare_id_signature) == (
        9000,
        ("stun:a:1", "stun:b:2"),
        True,
    )
    assert Settings.from_env(ENVIRONMENT).stun_urls == ()
    assert "j" * 32 not in repr(settings)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"JWT_SECRET": ""}, "JWT_SECRET"),
        ({"MASTER_KEY": "short"}, "MASTER_KEY"),
        ({"DATABASE_URL": "mysql://x"}, "DATABASE_URL"),
        ({"REDIS_URL": ""}, "REDIS_URL"),
        ({"PORT": "many"}, "PORT"),
        ({"PORT": "70000"}, "PORT"),
        ({"ALLOW_BARE_ID_SIGNATURE": "perhaps"}, "ALLOW_BARE_ID_SIGNATURE"),
        ({"TURN_URLS": "turn:x"}, "TURN_SHARED_SECRET"),
        ({"STUN_URLS": "http://x"}, "STUN_URLS"),
        ({"CLOUDFLARE_TURN_KEY_ID": "x"}, "CLOUDFLARE_TURN_API_TOKEN"),
    ],
)
def test_unusable_settings_are_named_with_what_is_accepted(change: dict[str, str], name: str) -> None:
    with pytest.raises(ConfigError, match=name) as refused:
        Settings.from_env({**ENVIRONMENT, **change})
    assert "Accepted" in str(refused.value) or "belong together" in str(refused.value)
