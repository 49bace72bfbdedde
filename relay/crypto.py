"""What the relay keeps secret: device secrets under a master key, passwords as argon2, codes as keyed hashes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

import argon2
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

CODE_ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
"""Letters and digits that nobody mistakes for one another on a small screen (no 0 O 1 I L)."""
CODE_LENGTH = 8
DEVICE_SECRET_BYTES = 32


class SealError(ValueError):
    """A sealed value cannot be opened with this master key."""


class Sealer:
    """Keeps small secrets encrypted at rest (Fernet: AES-128-CBC with HMAC-SHA256).

    Args:
        master_key: any text of good entropy; the keys are derived from it.
        previous: a master key that is being replaced: what was sealed with it still opens.
    """

    def __init__(self, master_key: str, previous: str | None = None) -> None:
        keys = [master_key] + ([previous] if previous else [])
        self._fernet = MultiFernet([_fernet(key) for key in keys])
        self._code_keys = [hashlib.sha256(b"wimz relay: pairing codes\0" + key.encode()).digest() for key in keys]

    def seal(self, secret: str) -> bytes:
        return self._fernet.encrypt(secret.encode())

    def open(self, sealed: bytes) -> str:
        """The secret again.

        Raises:
            SealError: it was sealed with another master key, or is damaged.
        """
        try:
            return self._fernet.decrypt(bytes(sealed)).decode()
        except InvalidToken as error:
            raise SealError(
                "A device secret cannot be opened: neither MASTER_KEY nor MASTER_KEY_PREVIOUS is its key."
            ) from error

    def code_hash(self, code: str) -> bytes:
        """What is stored of a code: a keyed hash of its normal form."""
        return self.code_hashes(code)[0]

    def code_hashes(self, code: str) -> list[bytes]:
        """What may be stored of a code, by each of the keys, the present one first."""
        normal = code.upper().replace("-", "").encode()
        return [hmac.new(key, normal, hashlib.sha256).digest() for key in self._code_keys]


def _fernet(master_key: str) -> Fernet:
    key = hashlib.sha256(b"wimz relay: device secrets\0" + master_key.encode()).digest()
    return Fernet(base64.urlsafe_b64encode(key))


class Passwords:
    """argon2id with the library's parameters (RFC 9106, low-memory profile). Slow by intent: keep it off the hub."""

    def __init__(self) -> None:
        self._hasher = argon2.PasswordHasher()
        self._nobody = self._hasher.hash(secrets.token_hex(16))

    def hash(self, password: str) -> str:
        return self._hasher.hash(password)

    def verify(self, stored: str | None, password: str) -> bool:
        """Whether the password is right. Takes as long for an account that does not exist (`stored` None)."""
        try:
            self._hasher.verify(stored or self._nobody, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False
        return stored is not None


def new_device_secret() -> str:
    return secrets.token_urlsafe(DEVICE_SECRET_BYTES)


def new_code() -> str:
    """A code for pairing or sharing: 39 bits, good once, for a limited time, with its guesses counted."""
    return "".join(secrets.choice(CODE_ALPHABET) for _ in range(CODE_LENGTH))
