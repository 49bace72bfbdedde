from __future__ import annotations

import pytest

from contract.errors import ContractError
from processes.local_api.access import MAX_PEERS, Caller, Door, cookie_of, same_origin

TOKEN = "t" * 43


def door(*, require_token: bool = True) -> Door:
    return Door(TOKEN, require_token=require_token)


def admitted(caller: Caller, *, require_token: bool = True) -> bool:
    return door(require_token=require_token).admits(caller, 0.0)


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST"])
@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_this_machine_is_let_in(peer: str, host: str) -> None:
    assert admitted(Caller(peer, host))


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("127.0.0.1", "rebound.example"),
        ("127.0.0.1", ""),
        ("127.0.0.1", "localhost.evil.example"),
        ("192.168.1.9", "localhost"),
        ("", "localhost"),
    ],
)
def test_others_are_not(peer: str, host: str) -> None:
    assert not admitted(Caller(peer, host))
    assert admitted(Caller(peer, host, bearer=TOKEN))
    assert admitted(Caller(peer, host, cookie=cookie_of(TOKEN)))


@pytest.mark.parametrize("wrong", ["", "x", TOKEN + "x", "ü", TOKEN.upper()])
def test_wrong_tokens_and_cookies_are_refused(wrong: str) -> None:
    assert not admitted(Caller("192.168.1.9", "robot", bearer=wrong))
    assert not admitted(Caller("192.168.1.9", "robot", cookie=wrong))
    assert not admitted(Caller("192.168.1.9", "robot", cookie=TOKEN))


def test_wrong_tokens_are_throttled_per_peer_and_forgotten_in_time() -> None:
    it = door()
    codes = []
    for _ in range(15):
        with pytest.raises(ContractError) as refused:
            it.check_token("wrong", "10.0.0.2", 0.0)
        codes.append(refused.value.code)
    assert codes == ["AUTH_FAILED"] * 10 + ["RATE_LIMITED"] * 5
    with pytest.raises(ContractError, match="AUTH_FAILED"):
        it.check_token("wrong", "10.0.0.3", 0.0)
    it.check_token(TOKEN, "10.0.0.2", 0.0)
    for number in range(MAX_PEERS):
        assert not it.admits(Caller(f"10.1.{number // 256}.{number % 256}", "robot", bearer="wrong"), 0.0)


@pytest.mark.parametrize(
    ("host", "let_in"),
    [
        ("192.168.1.5:8000", True),
        ("[fe80::1]:8000", True),
        ("wimz", True),
        ("wimz.local:8000", True),
        ("rebound.example:8000", False),
        ("", False),
    ],
)
def test_the_open_api_is_open_to_local_names_only(host: str, let_in: bool) -> None:
    assert admitted(Caller("192.168.1.9", host), require_token=False) is let_in


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        (None, "robot:8000", True),
        ("http://robot:8000", "robot:8000", True),
        ("http://ROBOT:8000", "robot:8000", True),
        ("http://robot", "robot:80", True),
        ("http://robot:8080", "robot:8000", False),
        ("http://evil.example", "robot:8000", False),
        ("null", "robot:8000", False),
        ("", "robot:8000", False),
        ("file://", "robot:8000", False),
        ("ws://robot:8000", "robot:8000", False),
    ],
)
def test_a_page_is_of_the_same_origin_or_a_stranger(origin: str | None, host: str, same: bool) -> None:
    assert same_origin(Caller("127.0.0.1", host, origin)) is same
