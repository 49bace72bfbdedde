"""What the demo keeps in its data directory: a lock, its secrets, the robot's settings, and `demo.json`."""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from cli.errors import CommandError
from relay.crypto import new_device_secret

T = TypeVar("T")

EMAIL = "demo@wimz.example"
PASSWORD_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # none that is taken for another when typed from a screen
LOCK_POLL_S = 0.1


class Secrets(msgspec.Struct, frozen=True):
    """What stays the same from one start to the next, so that bookmarks, sign-ins and data stay good."""

    email: str
    password: str
    device_id: str
    device_secret: str
    jwt_secret: str
    master_key: str


class DemoInfo(msgspec.Struct, frozen=True):
    """`demo.json`, there while the demo runs and everything answers."""

    relay_url: str
    robot_url: str
    email: str
    password: str
    device_id: str
    device_secret: str
    robot_token: str


class DataDir:
    """The files of one demo.

    Args:
        path: the directory, made by `lock` when missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = path / "log"
        self.postgres = path / "postgres"
        self.robot_config = path / "demo_robot_config.yaml"
        self.robot_token = path / "robot_token"
        self._lock_file = path / "demo.lock"
        self._secrets_file = path / "demo_secrets.json"
        self._info_file = path / "demo.json"

    def lock(self, timeout_s: float) -> int:
        """Take the directory for one demo, and return the descriptor that holds it.

        The demo's servers inherit the descriptor, so that the directory is free only when the last of them
        has ended. Where the demo itself is gone and they are still stopping, they are waited for.

        Raises:
            CommandError: another demo has it, or it cannot be made.
        """
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CommandError(f"cannot use the data directory {self.path}: {error.strerror}") from error
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                holder = _read_pid(self._lock_file)
                if (holder is not None and Path(f"/proc/{holder}").exists()) or time.monotonic() > deadline:
                    os.close(descriptor)
                    raise CommandError(
                        f"a demo with the data directory {self.path} runs already (process {holder}): "
                        "stop it, or choose another directory with --data"
                    ) from error
                time.sleep(LOCK_POLL_S)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self.remove_info()  # of a demo that was killed
        return descriptor

    def secrets(self) -> Secrets:
        """The secrets of the first start. Raises CommandError when their file is damaged."""
        if self._secrets_file.exists():
            return _decode(self._secrets_file, Secrets)
        made = Secrets(
            email=EMAIL,
            password="-".join("".join(secrets.choice(PASSWORD_LETTERS) for _ in range(4)) for _ in range(3)),
            device_id=f"wimz_{secrets.token_hex(6)}",
            device_secret=new_device_secret(),
            jwt_secret=secrets.token_urlsafe(48),
            master_key=secrets.token_urlsafe(48),
        )
        write_private(self._secrets_file, msgspec.json.format(msgspec.json.encode(made)))
        return made

    def write_robot_config(self, base: dict[str, Any], overrides: dict[str, dict[str, Any]]) -> None:
        """The robot's settings: `base` with single keys of its sections replaced."""
        merged = {**base, **{name: {**(base.get(name) or {}), **keys} for name, keys in overrides.items()}}
        text = "# Made by `wimz demo` from robot_config.yaml at each start.\n" + yaml.safe_dump(merged, sort_keys=False)
        write_private(self.robot_config, text.encode())

    def write_info(self, info: DemoInfo) -> Path:
        """Tell scripts that the demo is up, and how to reach it. Returns the file."""
        write_private(self._info_file, msgspec.json.format(msgspec.json.encode(info)))
        return self._info_file

    def remove_info(self) -> None:
        self._info_file.unlink(missing_ok=True)


def write_private(path: Path, content: bytes) -> None:
    """Write a file for this account alone (0600); readers see the old content or the new, never a part."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.new")
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content + b"\n")
    unfinished.replace(path)


def _decode(path: Path, type_: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=type_)
    except (OSError, msgspec.DecodeError) as error:
        raise CommandError(f"{path} cannot be read ({error}): remove it together with its directory") from error


def _read_pid(path: Path) -> int | None:
    text = path.read_text().strip()
    return int(text) if text.isdigit() else None
