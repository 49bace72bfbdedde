from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cli.demo.checks import DeviceOnline, answers, read_token

ACCOUNT = {"email": "demo@wimz.example", "password": "right"}


class FakeRelay(BaseHTTPRequestHandler):
    """Sign-in, and one device whose state the test sets."""

    device_online = False
    logins = 0

    def do_GET(self) -> None:
        if self.path == "/ready":
            self._send(200, {"status": "ok"})
        elif self.path == "/api/device/rex" and self.headers["Authorization"] == "Bearer signed":
            self._send(200, {"device_id": "rex", "is_online": FakeRelay.device_online})
        else:
            self._send(404, {"success": False})

    def do_POST(self) -> None:
        FakeRelay.logins += 1
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._send(200, {"token": "signed"}) if body == ACCOUNT else self._send(401, {"success": False})

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def _send(self, status: int, body: dict[str, object]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def relay_url() -> Iterator[str]:
    FakeRelay.device_online, FakeRelay.logins = False, 0
    with ThreadingHTTPServer(("127.0.0.1", 0), FakeRelay) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_answer_is_an_answer(relay_url: str) -> None:
    assert answers(f"{relay_url}/ready") is None
    assert answers(f"{relay_url}/ready", content_type="application/json") is None


def test_what_is_missing_is_told(relay_url: str) -> None:
    assert "404" in (answers(f"{relay_url}/nowhere") or "")
    assert "instead of image/jpeg" in (answers(f"{relay_url}/ready", content_type="image/jpeg") or "")
    assert "refused" in (answers("http://127.0.0.1:1/ready") or "")


def test_a_proxy_of_the_environment_is_not_asked(relay_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert answers(f"{relay_url}/ready") is None


def test_the_robot_is_online_when_its_owner_sees_it_online(relay_url: str) -> None:
    online = DeviceOnline(relay_url, ACCOUNT["email"], ACCOUNT["password"], "rex")
    assert online() == "the robot is not connected to the relay"
    FakeRelay.device_online = True
    assert online() is None
    assert FakeRelay.logins == 1


def test_a_relay_that_refuses_is_told_in_words(relay_url: str) -> None:
    assert "401" in (DeviceOnline(relay_url, ACCOUNT["email"], "wrong", "rex")() or "")


def test_the_token_is_there_when_its_file_is_written(tmp_path: Path) -> None:
    assert read_token(tmp_path / "token") is None
    (tmp_path / "token").write_text("")
    assert read_token(tmp_path / "token") is None
    (tmp_path / "token").write_text("abc\n")
    assert read_token(tmp_path / "token") == "abc"
