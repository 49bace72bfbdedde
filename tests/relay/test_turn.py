"""Where ICE servers come from."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable

import pytest

from contract.errors import ContractError
from contract.frames import IceServer, IceServers
from relay.config import Settings
from relay.turn import Cloudflare, Coturn, StunList, ice_source

REPLY = {
    "iceServers": [
        {"urls": ["stun:stun.cloudflare.com:3478", "stun:stun.cloudflare.com:53"]},
        {
            "urls": ["turn:turn.cloudflare.com:53?transport=udp", "turns:turn.cloudflare.com:443?transport=tcp"],
            "username": "u",
            "credential": "c",
        },
        {"urls": "turn:turn.cloudflare.com:53?transport=udp", "username": "u", "credential": "c"},
    ]
}


class FakeCloudflare:
    """Answers in place of the API, and holds the clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.status = 201
        self.body = json.dumps(REPLY).encode()
        self.error: OSError | None = None
        self.asked: list[tuple[str, dict[str, str], bytes]] = []

    def __call__(self, url: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        self.asked.append((url, headers, body))
        if self.error:
            raise self.error
        return self.status, self.body


@pytest.fixture
def api() -> FakeCloudflare:
    return FakeCloudflare()


@pytest.fixture
def cloudflare(api: FakeCloudflare) -> Cloudflare:
    return Cloudflare("key", "secret-token", fetch=api, clock=lambda: api.now)


def test_cloudflare_is_asked_as_the_contract_says_and_port_53_is_left_out(
    api: FakeCloudflare, cloudflare: Cloudflare
) -> None:
    servers = cloudflare.ice_servers(3600, "u_1")
    assert servers == IceServers(
        [
            IceServer(["stun:stun.cloudflare.com:3478"]),
            IceServer(["turns:turn.cloudflare.com:443?transport=tcp"], "u", "c"),
        ]
    )
    url, headers, body = api.asked[0]
    assert url == "https://rtc.live.cloudflare.com/v1/turn/keys/key/credentials/generate-ice-servers"
    assert headers["Authorization"] == "Bearer secret-token"
    assert json.loads(body) == {"ttl": 3600}


@pytest.mark.parametrize("status", [200, 201])
def test_both_good_statuses_are_accepted(api: FakeCloudflare, cloudflare: Cloudflare, status: int) -> None:
    api.status = status
    assert cloudflare.ice_servers(60, "u").ice_servers


def _no_answer(api: FakeCloudflare) -> None:
    api.error = OSError("timed out")


def _refusal(api: FakeCloudflare) -> None:
    api.status = 403


def _nonsense(api: FakeCloudflare) -> None:
    api.body = b'{"iceServers": 5}'


@pytest.mark.parametrize("fail", [_no_answer, _refusal, _nonsense])
def test_failures_are_turn_errors_unless_the_last_credentials_still_live(
    api: FakeCloudflare, cloudflare: Cloudflare, fail: Callable[[FakeCloudflare], None]
) -> None:
    good = cloudflare.ice_servers(3600, "u")
    fail(api)
    api.now += 1700
    assert cloudflare.ice_servers(3600, "u") == good
    api.now += 200
    with pytest.raises(ContractError, match="TURN_ERROR"):
        cloudflare.ice_servers(3600, "u")


def test_coturn_credentials_are_the_hmac_of_expiry_and_user() -> None:
    source = Coturn(("turn:turn.example.org:3478",), "shared", ("stun:s.example.org",), wall_clock=lambda: 1000.0)
    stun, turn = source.ice_servers(600, "u_1").ice_servers
    assert stun == IceServer(["stun:s.example.org"])
    assert turn.username == "1600:u_1"
    expected = hmac.new(b"shared", b"1600:u_1", hashlib.sha1).digest()
    assert turn.credential == base64.b64encode(expected).decode()


def _settings(**more: object) -> Settings:
    return Settings(jwt_secret="", master_key="", database_url="", redis_url="", **more)  # type: ignore[arg-type]


def test_the_settings_choose_the_source() -> None:
    both = {"cloudflare_turn_key_id": "k", "cloudflare_turn_api_token": "t"}
    own = {"turn_urls": ("turn:x",), "turn_shared_secret": "s"}
    assert isinstance(ice_source(_settings(**both, **own)), Cloudflare)
    assert isinstance(ice_source(_settings(**own)), Coturn)
    assert isinstance(ice_source(_settings()), StunList)
    assert ice_source(_settings()).ice_servers(1, "u") == IceServers([])
    assert ice_source(_settings(stun_urls=("stun:x",))).ice_servers(1, "u") == IceServers([IceServer(["stun:x"])])
