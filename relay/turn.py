"""ICE servers with short-lived credentials: Cloudflare, one's own coturn, or a configured STUN list. Blocks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Protocol

import msgspec

from contract.errors import ContractError
from contract.frames import IceServer, IceServers
from relay.config import Settings

log = logging.getLogger(__name__)

TIMEOUT_S = 4.0
MAX_REPLY_BYTES = 65_536
REUSE_FRACTION = 0.5
"""When Cloudflare does not answer, its last credentials are handed out again while half of their life is left."""


class IceSource(Protocol):
    """Where ICE servers come from."""

    def ice_servers(self, ttl_s: int, user: str) -> IceServers:
        """ICE servers whose credentials live `ttl_s`. Raises ContractError TURN_ERROR."""


def ice_source(settings: Settings) -> IceSource:
    """The source that the settings choose."""
    if settings.cloudflare_turn_key_id and settings.cloudflare_turn_api_token:
        return Cloudflare(
            settings.cloudflare_turn_key_id, settings.cloudflare_turn_api_token, settings.cloudflare_turn_base_url
        )
    if settings.turn_urls and settings.turn_shared_secret:
        return Coturn(settings.turn_urls, settings.turn_shared_secret, settings.stun_urls)
    return StunList(settings.stun_urls)


class StunList:
    """A fixed list, possibly empty: then only host candidates are used."""

    def __init__(self, urls: tuple[str, ...]) -> None:
        self._servers = IceServers([IceServer(list(urls))] if urls else [])

    def ice_servers(self, ttl_s: int, user: str) -> IceServers:
        return self._servers


class Coturn:
    """coturn with `use-auth-secret`: user name `<expiry>:<user>`, password base64(HMAC-SHA1(secret, user name))
    (draft-uberti-behave-turn-rest-00, section 2.2)."""

    def __init__(
        self,
        urls: tuple[str, ...],
        secret: str,
        stun_urls: tuple[str, ...] = (),
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._urls = list(urls)
        self._secret = secret
        self._stun = [IceServer(list(stun_urls))] if stun_urls else []
        self._wall_clock = wall_clock

    def ice_servers(self, ttl_s: int, user: str) -> IceServers:
        username = f"{int(self._wall_clock()) + ttl_s}:{user}"
        digest = hmac.new(self._secret.encode(), username.encode(), hashlib.sha1).digest()
        credential = base64.b64encode(digest).decode()
        return IceServers([*self._stun, IceServer(self._urls, username, credential)])


class Cloudflare:
    """Cloudflare's TURN service.

    Args:
        key_id, api_token: of the TURN key.
        base_url: Cloudflare's API.
        fetch: posts JSON and returns status and body; raises OSError.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        key_id: str,
        api_token: str,
        base_url: str = "https://rtc.live.cloudflare.com",
        fetch: Callable[[str, dict[str, str], bytes], tuple[int, bytes]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = f"{base_url.rstrip('/')}/v1/turn/keys/{key_id}/credentials/generate-ice-servers"
        self._headers = {"Authorization": f"Bearer {api_token}", "Content-Type": "application/json"}
        self._fetch = fetch or _post
        self._clock = clock
        self._last: tuple[float, IceServers] | None = None  # until when it may be handed out again

    def ice_servers(self, ttl_s: int, user: str) -> IceServers:
        asked_at = self._clock()
        try:
            status, body = self._fetch(self._url, self._headers, json.dumps({"ttl": ttl_s}).encode())
            if status not in (200, 201):
                raise ContractError("TURN_ERROR", f"Cloudflare answered {status} to the request for TURN credentials.")
            servers = _without_port_53(msgspec.json.decode(body, type=IceServers))
        except (OSError, msgspec.MsgspecError, ContractError) as error:
            return self._again(asked_at, ttl_s, error)
        self._last = (asked_at + ttl_s, servers)
        return servers

    def _again(self, now: float, ttl_s: int, error: Exception) -> IceServers:
        log.warning("turn: %s: %s", type(error).__name__, error)
        if self._last is not None and self._last[0] - now > ttl_s * REUSE_FRACTION:
            return self._last[1]
        if isinstance(error, ContractError):
            raise error
        raise ContractError("TURN_ERROR", "Cloudflare did not hand out TURN credentials. Try again soon.") from error


def _without_port_53(servers: IceServers) -> IceServers:
    """Browsers refuse TURN on port 53 (and wait for it first)."""
    kept = []
    for server in servers.ice_servers:
        urls = [server.urls] if isinstance(server.urls, str) else server.urls
        usable = [url for url in urls if url.partition("?")[0].rpartition(":")[2] != "53"]
        if usable:
            kept.append(IceServer(usable, server.username, server.credential))
    return IceServers(kept)


def _post(url: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
    request = urllib.request.Request(url, data=body, headers=headers | {"User-Agent": "wimz-relay"}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            return response.status, response.read(MAX_REPLY_BYTES)
    except urllib.error.HTTPError as error:
        return error.code, b""
