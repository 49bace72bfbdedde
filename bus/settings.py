"""`robot_config.yaml`: read once at start, validated into frozen structs, with messages that name key and value."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from bus.errors import SettingsError
from contract.validate import accepted, refuse_non_finite

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[1]
"""The checkout: relative paths in the configuration start here."""

RUN_ROOT = Path("/dev/shm")


def load(path: Path) -> dict[str, Any]:
    """The sections of a configuration file.

    Raises:
        SettingsError: it cannot be read, or is not a mapping of sections.
    """
    try:
        config = yaml.safe_load(path.read_text())
    except OSError as error:
        raise SettingsError(f"Cannot read the configuration {path}: {error.strerror}.") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not valid YAML: {error}") from error
    if config is None:
        return {}
    if not isinstance(config, dict) or not all(isinstance(key, str) for key in config):
        raise SettingsError(f"{path} must hold sections (`motors:`, `camera:` …) at its top level.")
    return config


def section(config: dict[str, Any], name: str, type_: type[T]) -> T:
    """One section, validated; a section that is not there has its defaults.

    Raises:
        SettingsError: naming the key, the value and what is accepted.
    """
    value = config.get(name)
    try:
        refuse_non_finite(value, any_names=True)
        return msgspec.convert({} if value is None else value, type_)
    except (msgspec.ValidationError, ValueError) as error:
        what, _, path = str(error).replace("at `key` in `$", "at `$").partition(" - at `$")
        keys, _, _ = path.rstrip("`").partition("[")
        if not isinstance(error, msgspec.ValidationError) or isinstance(error.__cause__, ValueError):
            raise SettingsError(f"{name}{keys}: {what.rstrip('.')}.") from error  # which says what is accepted
        found, asked = _at(value, type_, keys)
        if what.startswith("Object contains unknown field") and _is_struct(asked):
            names = ", ".join(field.encode_name for field in msgspec.structs.fields(asked))
            raise SettingsError(f"{name}{keys}: {what}. Accepted there: {names}.") from error
        raise SettingsError(f"{name}{keys}: {what}; it is {found!r}. Accepted: {accepted(asked)}.") from error


def _at(value: Any, type_: Any, keys: str) -> tuple[Any, Any]:
    """The value that was complained about, and its type, as far as the keys lead to them."""
    for key in keys.strip(".").split(".") if keys else ():
        fields = msgspec.structs.fields(type_) if _is_struct(type_) else ()
        asked = next((field.type for field in fields if field.encode_name == key), None)
        if asked is None or not isinstance(value, dict):
            break
        value, type_ = value.get(key), asked
    return value, type_


def _is_struct(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, msgspec.Struct)


def data_dir(config: dict[str, Any]) -> Path:
    """Where this robot keeps what must outlive it; also its identity on this machine. `WIMZ_DATA` overrides
    `robot.data_dir`."""
    chosen = os.environ.get("WIMZ_DATA") or section(config, "robot", RobotSettings).data_dir
    return (ROOT / chosen).resolve()


def device_id(config: dict[str, Any]) -> str | None:
    """The name the relay knows this robot by: DEVICE_ID of the environment, else `cloudlink.device_id`."""
    cloudlink = config.get("cloudlink")
    configured = cloudlink.get("device_id") if isinstance(cloudlink, dict) else None
    chosen = os.environ.get("DEVICE_ID") or configured
    return None if chosen is None else str(chosen)


class RobotSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `robot` section.

    Attributes:
        data_dir: relative to the checkout, or absolute.
    """

    data_dir: str = "var"


def run_dir(data: Path) -> Path:
    """The private directory (0700, in memory) of this robot's sockets, locks and frames. Not made here.

    Its name is short, since a socket's path may have 107 bytes.
    """
    digest = hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:8]
    return RUN_ROOT / f"wimz-{os.getuid()}-{digest}"


def make_run_dir(data: Path) -> Path:
    """Make the run directory, or check that the one that is there is ours.

    Raises:
        SettingsError: somebody else made it, or others may enter it.
    """
    path = run_dir(data)
    path.mkdir(mode=0o700, exist_ok=True)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise SettingsError(f"{path} is not a directory of this user alone (0700). Remove it and start again.")
    return path
