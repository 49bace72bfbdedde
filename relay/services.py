"""Everything that a request may need, made once per worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from flask import current_app, request
from gevent.threadpool import ThreadPool

from contract.errors import ContractError
from relay.auth import Claims, DeviceProof, Tokens, check_proof, check_replay, refused_token
from relay.config import Settings
from relay.crypto import Passwords, Sealer
from relay.node import Node
from relay.store import Store, UserRow
from relay.turn import ice_source

R = TypeVar("R")
EXTENSION = "relay"
HASHING_THREADS = 2
"""argon2 takes 64 MiB and a core for a moment: two at a time, the others wait."""


@dataclass
class Services:
    """The relay's parts.

    Attributes:
        hashing: threads for argon2, which would otherwise stop the hub.
    """

    settings: Settings
    tokens: Tokens
    passwords: Passwords
    store: Store
    node: Node
    hashing: ThreadPool = field(default_factory=lambda: ThreadPool(HASHING_THREADS))

    @classmethod
    def make(cls, settings: Settings) -> Services:
        sealer = Sealer(settings.master_key, settings.master_key_previous)
        store = Store(settings.database_url, sealer, settings.database_pool)
        return cls(
            settings=settings,
            tokens=Tokens(settings.jwt_secret, settings.jwt_secret_previous, settings.token_ttl_s),
            passwords=Passwords(),
            store=store,
            node=Node(settings, store, ice_source(settings)),
        )

    def off_hub(self, work: Callable[..., R], *arguments: Any) -> R:
        """Run what takes the processor for long in a thread; other connections go on."""
        result: R = self.hashing.apply(work, arguments)
        return result

    def user_of(self, token: str) -> tuple[UserRow, Claims]:
        """The account that a token is of.

        Raises:
            ContractError: AUTH_FAILED.
        """
        claims = self.tokens.verify(token)
        user = self.store.user_by_id(claims.user_id)
        if user is None or user.token_version != claims.token_version:
            raise refused_token()
        return user, claims

    def check_device(self, proof: DeviceProof) -> None:
        """Let a robot in, or raise ContractError AUTH_FAILED or CLOCK_SKEW."""
        sealed = self.node.lookups.secrets.get(proof.device_id) if 0 < len(proof.device_id) <= 64 else None
        secret = None if sealed is None else self.store.open_secret(proof.device_id, sealed)
        check_proof(proof, secret, datetime.now(UTC), allow_bare=self.settings.allow_bare_id_signature)
        if proof.timestamp is not None:
            check_replay(self.node.lookups.signatures.get(f"signature:{proof.fingerprint}") or 0.0)


def services() -> Services:
    """The parts of the application that handles this request."""
    found: Services = current_app.extensions[EXTENSION]
    return found


def bearer() -> str | None:
    """The request's bearer token."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def header_proof() -> DeviceProof | None:
    """The signature in the request's headers."""
    device_id = request.headers.get("X-Device-ID")
    timestamp = request.headers.get("X-Timestamp")
    signature = request.headers.get("X-Signature")
    if device_id is None and signature is None:
        return None
    if not device_id or not timestamp or not signature:
        raise ContractError("AUTH_FAILED", "A robot signs with the headers X-Device-ID, X-Timestamp and X-Signature.")
    return DeviceProof(device_id, signature, timestamp)
