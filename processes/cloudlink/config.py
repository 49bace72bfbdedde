"""Settings of cloudlink: which relay, and as whom. The contract's environment variables come first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from bus.errors import SettingsError
from contract.errors import ContractError
from contract.units import DeviceId
from contract.validate import convert

MIN_SECRET_LENGTH = 16


class CloudlinkConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The section `cloudlink`. RELAY_URL, DEVICE_ID and DEVICE_SECRET of the environment win over it."""

    relay_url: str | None = None
    """`wss://…/ws/device`; without it there is no link, and the robot works on its own."""
    device_id: DeviceId | None = None
    device_secret_file: str = "device_secret"
    """A file that holds the secret; relative to the data directory."""
    outbox_events: Annotated[int, Meta(ge=10, le=1_000_000)] = 10_000
    """Events kept for the relay while it cannot be reached; beyond that the oldest are dropped."""


@dataclass(frozen=True)
class Relay:
    """The relay, and who we are there. The secret never shows in a repr."""

    url: str
    device_id: str
    secret: str = field(repr=False)


def relay_of(config: CloudlinkConfig, environ: Mapping[str, str], data_dir: Path) -> Relay | None:
    """The relay to link to; None when none is configured.

    Raises:
        SettingsError: a relay is configured, and something it takes is missing or wrong.
    """
    url = environ.get("RELAY_URL") or config.relay_url
    if not url:
        return None
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise SettingsError(f"RELAY_URL (or cloudlink.relay_url) is {url!r}; it has to be ws://… or wss://…")
    return Relay(url, _device_id(config, environ), _secret(config, environ, data_dir))


def _device_id(config: CloudlinkConfig, environ: Mapping[str, str]) -> str:
    device_id = environ.get("DEVICE_ID") or config.device_id
    if not device_id:
        raise SettingsError("A relay is configured, but not who this robot is: set DEVICE_ID (or cloudlink.device_id).")
    try:
        return convert(DeviceId, device_id)
    except ContractError as error:
        raise SettingsError(f"DEVICE_ID is {device_id!r}: {error.message}") from error


def _secret(config: CloudlinkConfig, environ: Mapping[str, str], data_dir: Path) -> str:
    path = data_dir / config.device_secret_file
    try:
        secret = environ.get("DEVICE_SECRET") or path.read_text().strip()
    except OSError as error:
        raise SettingsError(
            f"A relay is configured, but not this robot's secret: set DEVICE_SECRET, or put it into {path} "
            f"({error.strerror})."
        ) from error
    if len(secret) < MIN_SECRET_LENGTH:
        raise SettingsError(f"The device secret has {len(secret)} characters; at least {MIN_SECRET_LENGTH} are needed.")
    return secret
