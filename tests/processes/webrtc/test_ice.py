from __future__ import annotations

import pytest

from contract.errors import ContractError
from contract.frames import IceCandidate, IceServer, IceServers
from processes.webrtc.ice import choose_servers, parse_candidate, without_useless_candidates

TURN_UDP = "turn:turn.example.org:3478?transport=udp"
TURN_TCP = "turn:turn.example.org:3478?transport=tcp"
TURNS_443 = "turns:turn.example.org:443?transport=tcp"
TURNS = "turns:turn.example.org:5349?transport=tcp"
STUN = "stun:stun.example.org:3478"


def chosen(*urls: str) -> list[str]:
    servers = choose_servers(IceServers([IceServer(list(urls), "user", "secret")]))
    return [url for server in servers for url in ([server.urls] if isinstance(server.urls, str) else server.urls)]


def test_one_stun_and_one_turn_server_are_taken_udp_first() -> None:
    assert chosen(STUN, "stun:second.example.org", TURNS_443, TURN_TCP, TURN_UDP) == [STUN, TURN_UDP]
    assert chosen(TURNS, TURN_TCP, TURNS_443) == [TURNS_443]
    assert chosen(TURN_TCP, TURNS) == [TURNS]
    assert chosen(TURN_TCP) == [TURN_TCP]
    assert chosen() == []


def test_port_53_and_what_cannot_be_read_are_left_out() -> None:
    assert chosen("stun:stun.cloudflare.com:53", "turn:turn.cloudflare.com:53?transport=udp") == []
    assert chosen("http://example.org", "turn:", "", "stuns:secure.example.org", TURN_UDP) == [TURN_UDP]


def test_a_bare_list_and_single_urls_are_accepted() -> None:
    (server,) = choose_servers([IceServer(STUN)])
    assert server.urls == STUN


def test_turn_without_credentials_is_of_no_use_and_with_them_keeps_them() -> None:
    assert choose_servers([IceServer(TURN_UDP)]) == []
    (server,) = choose_servers([IceServer(TURN_UDP, "user", "secret")])
    assert (server.username, server.credential) == ("user", "secret")


HOST = "candidate:842163049 1 udp 1677729535 192.0.2.7 50123 typ srflx raddr 10.0.0.2 rport 50123 generation 0"


@pytest.mark.parametrize("line", [HOST, "a=" + HOST, HOST.removeprefix("candidate:"), f" {HOST}\r\n"])
def test_candidates_are_read_however_they_are_written(line: str) -> None:
    candidate = parse_candidate(IceCandidate(line, sdp_mid="1", sdp_mline_index=1))
    assert candidate is not None
    assert (candidate.ip, candidate.port, candidate.type, candidate.sdpMid) == ("192.0.2.7", 50123, "srflx", "1")
    assert (candidate.relatedAddress, candidate.relatedPort) == ("10.0.0.2", 50123)


def test_a_candidate_that_does_not_say_where_belongs_to_the_first_section() -> None:
    candidate = parse_candidate(IceCandidate(HOST))
    assert candidate is not None
    assert candidate.sdpMLineIndex == 0


@pytest.mark.parametrize(
    "line",
    [
        "candidate:1 1 udp 2113937151 0f0f0f0f-1111-2222-3333-444444444444.local 50000 typ host",
        "candidate:1 1 tcp 1518280447 192.0.2.7 9 typ host tcptype active",
        "candidate:1 1 udp 2113937151 example.org 50000 typ host",
        "candidate:1 1 udp 2113937151 192.0.2.7 0 typ host",
        "candidate:1 1 udp 2113937151 224.0.0.1 5000 typ host",
    ],
)
def test_candidates_that_cannot_be_reached_are_ignored(line: str) -> None:
    assert parse_candidate(IceCandidate(line)) is None


@pytest.mark.parametrize("line", ["candidate:", "what", "candidate:1 one udp x 192.0.2.7 y typ host", "a b c d e f g"])
def test_what_is_no_candidate_is_refused(line: str) -> None:
    with pytest.raises(ContractError, match="INVALID_PARAMETER"):
        parse_candidate(IceCandidate(line))


def test_an_answer_keeps_only_candidates_that_can_be_reached() -> None:
    lines = [
        "v=0",
        "m=video 9 UDP/TLS/RTP/SAVPF 99",
        "a=" + HOST,
        "a=candidate:1 1 udp 1 hidden.local 5 typ host",
        "a=candidate:broken",
        "a=end-of-candidates",
        "a=sendonly",
        "",
    ]
    cleaned = without_useless_candidates("\r\n".join(lines))
    assert cleaned == "\r\n".join([*lines[:3], "a=sendonly", ""])
