"""Who is there: tokens of accounts and signatures of robots. Pure; clocks and secrets are passed in."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime

import jwt

from contract.errors import ContractError

ALGORITHM = "HS256"
FRESHNESS_S = 300
REPLAY_GRACE_S = 5.0
"""Robots in the field sign whole seconds, so two connections within one second carry the same signature."""
REPLAY_MEMORY_S = 2 * FRESHNESS_S + 60
"""How long a signature is remembered: as long as its timestamp can be fresh."""

_REFUSED_DEVICE = "The device id or its signature is not right. Check DEVICE_ID and DEVICE_SECRET."
_REFUSED_TOKEN = "The token is missing, expired or not valid. Sign in again."


@dataclass(frozen=True)
class Claims:
    """What a valid token says.

    Attributes:
        user_id: whose it is.
        token_version: the account's version when it was issued.
        expires_at: unix seconds.
    """

    user_id: str
    token_version: int
    expires_at: float


class Tokens:
    """Issues and checks tokens, with one pinned algorithm.

    Args:
        secret: signs new tokens.
        previous: a secret that is being replaced; its tokens still count.
        ttl_s: how long a token is good for.
    """

    def __init__(self, secret: str, previous: str | None = None, ttl_s: int = 604_800) -> None:
        self.ttl_s = ttl_s
        self._secret = secret
        self._accepted = [secret] + ([previous] if previous else [])

    def issue(self, user_id: str, token_version: int, now: datetime) -> str:
        issued = int(now.timestamp())
        claims = {"sub": user_id, "ver": token_version, "iat": issued, "exp": issued + self.ttl_s}
        return jwt.encode(claims, self._secret, algorithm=ALGORITHM)

    def verify(self, token: str) -> Claims:
        """Raises ContractError AUTH_FAILED when the token is not one of ours or has expired."""
        for secret in self._accepted:
            try:
                claims = jwt.decode(
                    token, secret, algorithms=[ALGORITHM], options={"require": ["sub", "ver", "iat", "exp"]}
                )
            except jwt.InvalidSignatureError:
                continue
            except (jwt.PyJWTError, ValueError) as error:
                raise ContractError("AUTH_FAILED", _REFUSED_TOKEN) from error
            if not isinstance(claims["sub"], str) or not isinstance(claims["ver"], int):
                break
            return Claims(claims["sub"], claims["ver"], float(claims["exp"]))
        raise ContractError("AUTH_FAILED", _REFUSED_TOKEN)


def refused_token() -> ContractError:
    """The one answer to every token that is not accepted."""
    return ContractError("AUTH_FAILED", _REFUSED_TOKEN)


@dataclass(frozen=True)
class DeviceProof:
    """What a robot shows.

    Attributes:
        device_id: who it says it is.
        signature: hex HMAC-SHA256, keyed with DEVICE_SECRET, over `<id>:<timestamp>`, or over `<id>` alone.
        timestamp: unix seconds as the robot wrote them; None for the bare form of contract v1.0.
    """

    device_id: str
    signature: str
    timestamp: str | None = None

    @property
    def signed_text(self) -> str:
        return self.device_id if self.timestamp is None else f"{self.device_id}:{self.timestamp}"

    @property
    def fingerprint(self) -> str:
        """Names this signature without holding it."""
        return hashlib.sha256(f"{self.signed_text}\0{self.signature.lower()}".encode()).hexdigest()


def sign(secret: str, text: str) -> str:
    """The signature of a robot whose DEVICE_SECRET is `secret`."""
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def check_proof(proof: DeviceProof, secret: str | None, now: datetime, *, allow_bare: bool) -> None:
    """Check a robot's signature, then its freshness; only who signed rightly learns what time it is here.

    Args:
        proof: what the robot showed.
        secret: its DEVICE_SECRET; None when no such robot is known.
        now: wall-clock.
        allow_bare: whether the bare form is accepted.

    Raises:
        ContractError: AUTH_FAILED, or CLOCK_SKEW with `server_time`.
    """
    expected = sign(secret or "nobody", proof.signed_text)
    right = hmac.compare_digest(expected.encode(), proof.signature.lower().encode("utf-8", "replace"))
    if secret is None or not right:
        raise ContractError("AUTH_FAILED", _REFUSED_DEVICE)
    if proof.timestamp is None:
        if not allow_bare:
            raise ContractError(
                "AUTH_FAILED", "A signature over the device id alone is not accepted here. Sign `<id>:<unix seconds>`."
            )
        return
    server_time = now.astimezone(UTC).timestamp()
    if not proof.timestamp.isascii() or not proof.timestamp.isdigit() or len(proof.timestamp) > 12:
        raise ContractError("AUTH_FAILED", "X-Timestamp is not valid. Accepted: unix time in whole seconds.")
    if abs(server_time - int(proof.timestamp)) > FRESHNESS_S:
        raise ContractError(
            "CLOCK_SKEW",
            f"The signature's time is more than {FRESHNESS_S} s off. Sign again with server_time.",
            server_time=server_time,
        )


def check_replay(age_s: float) -> None:
    """Refuse a signature that was first used longer ago than a reconnect explains.

    Raises:
        ContractError: AUTH_FAILED.
    """
    if age_s > REPLAY_GRACE_S:
        raise ContractError("AUTH_FAILED", "This signature has been used before. Sign the present time.")
