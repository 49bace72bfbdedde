"""Settings of local_api."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class LocalApiConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The section `local_api`."""

    host: Annotated[str, Meta(min_length=1, max_length=255)] = "0.0.0.0"
    """Address to listen on; 127.0.0.1 keeps the API to this machine."""
    port: Annotated[int, Meta(ge=1, le=65_535)] = 8000
    require_token: bool = True
    """Whether callers need the robot's token; callers on this machine never do. False is the contract's open API."""
    max_streams: Annotated[int, Meta(ge=1, le=24)] = 20
    """MJPEG streams and sockets together. Each holds one of 32 threads, and `/motor/stop` always has to find one."""
    client_timeout_s: Annotated[float, Meta(ge=0.5, le=60.0)] = 5.0
    """A client that stops in the middle of its request, or takes nothing of its answer, is cut off."""
    jpeg_quality: Annotated[int, Meta(ge=10, le=100)] = 80
