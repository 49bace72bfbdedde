"""What a peer says about how it can be reached, made fit for aiortc. Pure."""

from __future__ import annotations

import ipaddress

from aiortc import RTCIceCandidate, RTCIceServer
from aiortc.rtcicetransport import parse_stun_turn_uri
from aiortc.sdp import candidate_from_sdp

from contract.errors import ContractError
from contract.frames import IceCandidate, IceServer, IceServers

DNS_PORT = 53
"""Cloudflare also hands out URLs at port 53, which browsers refuse and home routers intercept."""
TURNS_PORT = 443


def choose_servers(given: IceServers | list[IceServer]) -> list[RTCIceServer]:
    """One STUN and one TURN server: aiortc uses no more, and waits 5 s for a dead one.

    UDP first; else TLS at port 443, which gets through most firewalls; else whatever TURN there is. URLs that cannot be
    read are left out.
    """
    servers = given.ice_servers if isinstance(given, IceServers) else given
    stun: RTCIceServer | None = None
    turn: tuple[int, RTCIceServer] | None = None
    for server in servers:
        for url in [server.urls] if isinstance(server.urls, str) else server.urls:
            rank = _rank(url)
            if rank is None:
                continue
            if rank == 0:
                stun = stun or RTCIceServer(urls=url)
            elif server.username is not None and server.credential is not None and (turn is None or rank < turn[0]):
                turn = rank, RTCIceServer(urls=url, username=server.username, credential=server.credential)
    return [server for server in (stun, turn[1] if turn else None) if server is not None]


def _rank(url: str) -> int | None:
    """0 for STUN, 1 and up for TURN in the order of preference, None for what cannot be used."""
    try:
        uri = parse_stun_turn_uri(url)
    except ValueError:
        return None
    scheme, transport, port = uri["scheme"], uri.get("transport"), uri["port"]
    if port == DNS_PORT:
        return None
    if scheme == "stun":
        return 0
    if scheme == "turn" and transport == "udp":
        return 1
    if scheme == "turns" and transport == "tcp":
        return 2 if port == TURNS_PORT else 3
    return 4 if scheme == "turn" and transport == "tcp" else None


def parse_candidate(candidate: IceCandidate) -> RTCIceCandidate | None:
    """A remote candidate, or None for one that is of no use to us: no address but a name (`.local`), or not UDP.

    Raises:
        ContractError: INVALID_PARAMETER: no candidate at all.
    """
    line = candidate.candidate.strip().removeprefix("a=").removeprefix("candidate:")
    try:
        parsed = candidate_from_sdp(line)
    except (AssertionError, ValueError, IndexError) as error:
        raise ContractError(
            "INVALID_PARAMETER",
            "`candidate`: not an ICE candidate. Accepted: `candidate:<foundation> <component> <udp|tcp> <priority> "
            "<address> <port> typ <type> …` (RFC 8839), or an empty one for the end.",
        ) from error
    if not _usable(parsed):
        return None
    parsed.sdpMid = candidate.sdp_mid
    parsed.sdpMLineIndex = candidate.sdp_mline_index
    if parsed.sdpMid is None and parsed.sdpMLineIndex is None:
        parsed.sdpMLineIndex = 0
    return parsed


def _usable(candidate: RTCIceCandidate) -> bool:
    """Whether it has an address (a name costs a lookup of a second each) and goes by UDP, as all of aiortc's do."""
    try:
        address = ipaddress.ip_address(candidate.ip)
    except ValueError:
        return False
    good_address = not (address.is_multicast or address.is_unspecified)
    return candidate.protocol.lower() == "udp" and 1 <= candidate.port <= 65535 and good_address


def without_useless_candidates(sdp: str) -> str:
    """An answer without candidates that we would not take one by one.

    It also loses its end-of-candidates: a browser that hides its address behind a `.local` name is reached when *it*
    calls, and aiortc would give up at once if it were told that no candidate will come.
    """

    return "".join(line for line in sdp.splitlines(keepends=True) if _worth_keeping(line.strip()))


def _worth_keeping(line: str) -> bool:
    if not line.startswith("a=candidate:"):
        return line != "a=end-of-candidates"
    try:
        return parse_candidate(IceCandidate(line)) is not None
    except ContractError:
        return False
