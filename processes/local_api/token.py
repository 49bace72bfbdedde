"""The robot's token: made once, kept in the data directory, readable by its owner alone."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from bus.errors import SettingsError

FILE_NAME = "robot_token"
TOKEN_BYTES = 32
MIN_LENGTH = 16


def robot_token(data_dir: Path) -> str:
    """The token, made at the first start.

    Raises:
        SettingsError: the file is there and holds no token.
    """
    path = data_dir / FILE_NAME
    try:
        token = path.read_text().strip()
    except FileNotFoundError:
        return _make(path)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"Cannot read the robot's token in {path}: {error}") from error
    if len(token) < MIN_LENGTH or not token.isascii() or not token.isprintable() or " " in token:
        raise SettingsError(
            f"{path} holds no token: at least {MIN_LENGTH} printable characters. Remove it, and a new one is made."
        )
    path.chmod(0o600)
    return token


def _make(path: Path) -> str:
    token = secrets.token_urlsafe(TOKEN_BYTES)
    temporary = path.with_name(f".{FILE_NAME}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(token + "\n")
        file.flush()
        os.fsync(descriptor)
    temporary.replace(path)
    return token
