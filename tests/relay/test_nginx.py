"""deploy/nginx.conf in a real nginx, with a certificate of its own, in front of a real relay."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bench.nginx import Nginx, free_ports


@pytest.fixture(scope="module")
def behind(make_relay: Callable[..., Any]) -> Any:
    """A relay that is set as deploy/nginx.conf wants it."""
    return make_relay(TRUSTED_PROXIES="1", PING_EVERY_S="1")


@pytest.fixture
def relay(behind: Any) -> Iterator[Any]:
    yield behind
    behind.close_all()


@pytest.fixture
def nginx(relay: Any, short_dir: Path) -> Iterator[Nginx]:
    http, https = free_ports(2)
    server = Nginx(short_dir, http, https, [f"127.0.0.1:{relay.port}"])
    server.start()
    yield server
    server.stop()


def ask(nginx: Nginx, request: str) -> tuple[int, dict[str, str], bytes]:
    """One request over TLS: status, headers, body."""
    with closing(nginx.connect()) as raw:
        raw.sendall(request.encode())
        received = b""
        while chunk := raw.recv(65_536):
            received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    return int(lines[0].split()[1]), dict(line.split(": ", 1) for line in lines[1:]), body


def get(nginx: Nginx, path: str, *headers: str) -> tuple[int, dict[str, str], bytes]:
    lines = [f"GET {path} HTTP/1.1", "Host: relay.example.org", "Connection: close", *headers, "", ""]
    return ask(nginx, "\r\n".join(lines))


def refused(answer: tuple[int, dict[str, str], bytes], status: int, code: str) -> None:
    assert answer[0] == status
    assert answer[1]["Content-Type"] == "application/json"
    error = json.loads(answer[2])
    assert error["success"] is False
    assert error["error"]["code"] == code
    assert error["error"]["message"]


def test_requests_and_sockets_pass_over_tls(relay: Any, nginx: Nginx) -> None:
    status, headers, body = get(nginx, "/health")
    assert (status, json.loads(body)["status"]) == (200, "ok")
    assert headers["Strict-Transport-Security"]
    account = relay.account()
    robot = relay.robot(account)
    with nginx.websocket("/ws/device", robot.headers()) as opened, nginx.websocket("/ws") as app:
        app.send(json.dumps({"type": "auth", "token": account.token}))
        while json.loads(app.recv(timeout=15)).get("online") is not True:
            pass
        app.send(json.dumps({"command": "treat", "id": "over-tls"}))
        while json.loads(opened.recv(timeout=15)).get("id") != "over-tls":
            pass
        assert app.protocol.extensions == []


def test_plain_http_is_sent_to_tls_without_its_query(nginx: Nginx) -> None:
    with socket.create_connection(("127.0.0.1", nginx.http_port), timeout=10) as raw:
        raw.sendall(b"GET /ws/app?token=secret-token HTTP/1.1\r\nHost: relay.example.org\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: raw.recv(4096), b""))
    assert b" 308 " in answer
    assert b"https://relay.example.org/ws/app\r\n" in answer


def test_too_many_sockets_of_one_address_are_refused_with_429(relay: Any, nginx: Nginx) -> None:
    token = relay.account().token
    handshake = ["Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg=="]
    lines = [f"GET /ws/app?token={token} HTTP/1.1", "Host: relay.example.org", "Connection: Upgrade", *handshake]
    held = []
    try:
        for _ in range(200):
            held.append(nginx.connect())
            held[-1].sendall("\r\n".join([*lines, "", ""]).encode())
            assert b" 101 " in held[-1].recv(4096)
        refused(get(nginx, f"/ws/app?token={token}", *handshake), 429, "RATE_LIMITED")
    finally:
        for raw in held:
            raw.close()
    assert token not in nginx.logs()


def test_sign_in_is_throttled_per_address_with_retry_after(nginx: Nginx) -> None:
    body = '{"email":"nobody@example.org","password":"x"}'
    lines = ["POST /api/auth/login HTTP/1.1", "Host: relay.example.org", "Connection: close"]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}", "", body]
    for _ in range(60):
        answer = ask(nginx, "\r\n".join(lines))
        if answer[0] == 429 and b"from this address" in answer[2]:
            break
    refused(answer, 429, "RATE_LIMITED")
    assert answer[1]["Retry-After"] == "5"


def test_large_and_malformed_requests_are_refused_in_the_one_shape(nginx: Nginx) -> None:
    lines = ["POST /api/auth/login HTTP/1.1", "Host: relay.example.org", "Connection: close"]
    refused(ask(nginx, "\r\n".join([*lines, "Content-Length: 70000", "", ""])), 413, "MESSAGE_TOO_LARGE")
    refused(get(nginx, "/health?" + "x" * 9000), 400, "INVALID_PARAMETER")
    assert get(nginx, "/nowhere")[0] == 404


def test_a_relay_that_is_away_is_503_and_no_token_is_in_any_log(relay: Any, short_dir: Path) -> None:
    http, https, nowhere = free_ports(3)
    server = Nginx(short_dir, http, https, [f"127.0.0.1:{nowhere}"])
    server.start()
    try:
        refused(get(server, "/api/device/list?token=secret-token"), 503, "UNAVAILABLE")
        refused(get(server, "/ws/app?token=secret-token"), 503, "UNAVAILABLE")
    finally:
        server.stop()
    assert "/ws/app" in server.logs()
    assert "secret-token" not in server.logs()


def test_a_socket_that_only_sends_is_kept(relay: Any, nginx: Nginx) -> None:
    account = relay.account()
    robot = relay.robot(account)
    with nginx.websocket("/ws/device", robot.headers()) as opened:
        with nginx.websocket("/ws/app", {"Authorization": f"Bearer {account.token}"}) as app:
            ends = time.monotonic() + 5
            while time.monotonic() < ends:  # longer than nginx waits for a relay that says nothing
                app.send('{"command":"motor","left":0.1,"right":0.1}')
                time.sleep(0.1)
            app.send('{"command":"treat","id":"still"}')
            while json.loads(opened.recv(timeout=15)).get("id") != "still":
                pass


def test_metrics_are_for_the_host_itself(nginx: Nginx) -> None:
    assert get(nginx, "/metrics")[0] == 200
    assert "deny all" in nginx.text


def test_the_unit_names_what_is_there() -> None:
    unit = (Nginx.DEPLOY / "wimz-relay.service").read_text()
    assert re.search(r"^ExecStart=/opt/wimz/\.venv/bin/wimz relay serve$", unit, re.MULTILINE)
    assert "TimeoutStopSec=5" in unit, "longer than a drain takes"
