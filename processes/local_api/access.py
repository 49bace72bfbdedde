"""Who may speak to the robot: its token, a cookie, or being on this very machine. No IO, no clock."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

from bus.gateway import TokenBucket
from contract.errors import ContractError

COOKIE = "wimz_session"
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
WRONG_TOKENS_HZ = 0.5
WRONG_TOKENS_BURST = 10.0
MAX_PEERS = 256
HOW = "Send it as `Authorization: Bearer …`; it is in the file `robot_token` of the robot's data directory."


@dataclass(frozen=True)
class Caller:
    """What a request says about who sends it.

    Attributes:
        peer: its IP address.
        host: the Host header.
        origin: the Origin header, which browsers add and pages cannot forge.
        bearer: the token it gives.
        cookie: the session cookie.
    """

    peer: str
    host: str = ""
    origin: str | None = None
    bearer: str | None = None
    cookie: str | None = None


def cookie_of(token: str) -> str:
    """The cookie's value: proof of the token, and not the token itself."""
    return hmac.new(token.encode(), b"wimz session cookie", hashlib.sha256).hexdigest()


def same_origin(caller: Caller) -> bool:
    """Whether a browser says that the request comes from a page of this very server. Not being a browser counts."""
    if caller.origin is None:
        return True
    scheme, separator, authority = caller.origin.lower().partition("://")
    if not separator or scheme not in ("http", "https"):
        return False
    default_port = ":80" if scheme == "http" else ":443"
    return authority.removesuffix(default_port) == caller.host.lower().removesuffix(default_port)


class Door:
    """Lets in whoever may speak to the robot.

    Args:
        token: the robot's.
        require_token: False lets in everybody who speaks to the robot by an address or a name of its own network.
    """

    def __init__(self, token: str, *, require_token: bool) -> None:
        self._token = token
        self._cookie = cookie_of(token)
        self._require_token = require_token
        self._wrong: OrderedDict[str, TokenBucket] = OrderedDict()

    @property
    def cookie(self) -> str:
        return self._cookie

    def check_origin(self, caller: Caller) -> None:
        """A website must not drive the robot through the browser of somebody at home.

        Raises:
            ContractError: NOT_AUTHORIZED.
        """
        if not same_origin(caller):
            raise ContractError(
                "NOT_AUTHORIZED", "Pages of other sites may not speak to this robot; open its own page."
            )

    def admit(self, caller: Caller, now: float) -> None:
        """Raises:
        ContractError: AUTH_FAILED, or RATE_LIMITED after many wrong tokens.
        """
        if self._exempt(caller):
            return
        if caller.cookie is not None and hmac.compare_digest(caller.cookie.encode(), self._cookie.encode()):
            return
        if caller.bearer is None:
            raise ContractError("AUTH_FAILED", f"This robot asks for its token. {HOW}")
        self.check_token(caller.bearer, caller.peer, now)

    def check_token(self, token: str, peer: str, now: float) -> None:
        """The right token is always right, so that nobody can lock the owner out.

        Raises:
            ContractError: AUTH_FAILED, or RATE_LIMITED after many wrong tokens.
        """
        if hmac.compare_digest(token.encode(), self._token.encode()):
            return
        bucket = self._wrong.get(peer)
        if bucket is None:
            bucket = self._wrong[peer] = TokenBucket(WRONG_TOKENS_HZ, WRONG_TOKENS_BURST, now)
        self._wrong.move_to_end(peer)
        if len(self._wrong) > MAX_PEERS:
            self._wrong.popitem(last=False)
        wait_s = bucket.take(now)
        if wait_s > 0:
            raise ContractError(
                "RATE_LIMITED", f"Too many wrong tokens; wait {wait_s:.0f} s.", retry_after_s=round(wait_s, 1)
            )
        raise ContractError("AUTH_FAILED", f"That is not this robot's token. {HOW}")

    def admits(self, caller: Caller, now: float) -> bool:
        """Whether `admit` would let it in without its saying anything more."""
        try:
            self.admit(caller, now)
        except ContractError:
            return False
        return True

    def _exempt(self, caller: Caller) -> bool:
        if is_loopback(caller.peer) and host_name(caller.host) in LOOPBACK_NAMES:
            return True
        return not self._require_token and is_local_name(host_name(caller.host))


def host_name(host: str) -> str:
    """The Host header without its port."""
    if host.startswith("["):
        return host[: host.find("]") + 1].lower()
    return host.partition(":")[0].lower()


def is_loopback(address: str) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return (mapped or ip).is_loopback


def is_local_name(name: str) -> bool:
    """An IP address, a bare host name or one of mDNS. Any other name may have been pointed here by a website
    (DNS rebinding), and its pages would pass for the robot's own."""
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return bool(name) and ("." not in name or name.endswith(".local"))
    return True
