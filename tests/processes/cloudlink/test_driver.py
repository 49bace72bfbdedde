from __future__ import annotations

import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

from processes.cloudlink.driver import MAX_QUEUED, WebsocketDialer
from processes.cloudlink.logic import Closed

WAIT_S = 20.0


class Ear:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: queue.Queue[tuple[str, Any]] = queue.Queue()

    def opened(self, local_ip: str | None) -> None:
        self.heard.put(("opened", local_ip))

    def frame(self, text: str) -> None:
        self.heard.put(("frame", text))

    def pong(self) -> None:
        self.heard.put(("pong", None))

    def closed(self, closed: Closed) -> None:
        self.heard.put(("closed", closed))

    def next(self, kind: str) -> Any:
        heard, value = self.heard.get(timeout=WAIT_S)
        assert heard == kind, (heard, value)
        return value


def run_at_once(call: Callable[[], None]) -> None:
    call()


class FakeRelay:
    """A WebSocket server whose handler the test gives."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.headers: dict[str, str] = {}
        self.got: queue.Queue[str] = queue.Queue()
        self.handle: Callable[[ServerConnection], None] = self.listen
        self.server: Server = serve(lambda connection: self._serve(connection), "127.0.0.1", 0, ssl=tls)
        self.url = f"{'wss' if tls else 'ws'}://127.0.0.1:{self.server.socket.getsockname()[1]}/ws/device"
        self._thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self._thread.start()

    def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.headers = dict(connection.request.headers.raw_items())
        self.handle(connection)

    def listen(self, connection: ServerConnection) -> None:
        try:
            for message in connection:
                self.got.put(str(message))
        except ConnectionClosed:
            return

    def close(self) -> None:
        self.server.shutdown()


@pytest.fixture
def relay() -> Iterator[FakeRelay]:
    relay = FakeRelay()
    yield relay
    relay.close()


@pytest.fixture
def ear() -> Ear:
    return Ear()


def test_frames_and_pings_go_both_ways_under_our_headers(relay: FakeRelay, ear: Ear) -> None:
    connection = WebsocketDialer(run_at_once).dial(relay.url, {"X-Device-ID": "wimz_1"}, ear)
    assert ear.next("opened") == "127.0.0.1"
    assert connection.send('{"a": "ä"}')
    assert relay.got.get(timeout=WAIT_S) == '{"a": "ä"}'
    assert relay.headers["X-Device-ID"] == "wimz_1"
    connection.ping()
    ear.next("pong")
    connection.close()
    connection.join(WAIT_S)


@pytest.fixture
def tls_relay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRelay]:
    """A relay with a certificate for 127.0.0.1 that this process trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "relay")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    cert_path, key_path = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert_path.write_bytes(certificate.public_bytes(pem))
    key_path.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_path, key_path)
    monkeypatch.setenv("WEBSOCKET_CLIENT_CA_BUNDLE", str(cert_path))
    relay = FakeRelay(context)
    yield relay
    relay.close()


def test_many_frames_at_once_all_come_through_tls(tls_relay: FakeRelay, ear: Ear) -> None:
    """TLS decrypts several frames in one go, which poll then says nothing of."""

    def burst(connection: ServerConnection) -> None:
        for number in range(200):
            connection.send(f"{number}")
        tls_relay.listen(connection)

    tls_relay.handle = burst
    connection = WebsocketDialer(run_at_once).dial(tls_relay.url, {}, ear)
    ear.next("opened")
    assert [ear.next("frame") for _ in range(200)] == [f"{number}" for number in range(200)]
    assert connection.send("back")
    assert tls_relay.got.get(timeout=WAIT_S) == "back"
    connection.close()
    connection.join(WAIT_S)


def test_an_unknown_certificate_is_no_relay(tls_relay: FakeRelay, ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEBSOCKET_CLIENT_CA_BUNDLE")
    WebsocketDialer(run_at_once).dial(tls_relay.url, {}, ear)
    assert "CERTIFICATE_VERIFY_FAILED" in ear.next("closed").reason


def test_what_the_relay_says_and_how_it_closes_is_heard(relay: FakeRelay, ear: Ear) -> None:
    def refuse(connection: ServerConnection) -> None:
        connection.send('{"type":"error"}')
        connection.close(4001, "unknown device")

    relay.handle = refuse
    WebsocketDialer(run_at_once).dial(relay.url, {}, ear)
    ear.next("opened")
    assert ear.next("frame") == '{"type":"error"}'
    assert ear.next("closed") == Closed(code=4001, reason="unknown device")


def test_goodbye_is_still_sent(relay: FakeRelay, ear: Ear) -> None:
    connection = WebsocketDialer(run_at_once).dial(relay.url, {}, ear)
    ear.next("opened")
    connection.send("goodbye")
    connection.close()
    connection.join(WAIT_S)
    assert relay.got.get(timeout=WAIT_S) == "goodbye"
    assert ear.heard.empty()


def test_nobody_there_is_a_loss(ear: Ear) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    WebsocketDialer(run_at_once).dial(f"ws://127.0.0.1:{port}/", {}, ear)
    assert ear.next("closed").code is None


def test_an_http_refusal_has_its_status(ear: Ear) -> None:
    def answer(server: socket.socket) -> None:
        peer, _ = server.accept()
        with peer:
            peer.recv(4096)
            peer.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer, args=(server,))
        thread.start()
        WebsocketDialer(run_at_once).dial(f"ws://127.0.0.1:{server.getsockname()[1]}/", {}, ear)
        assert ear.next("closed").http_status == 403
        thread.join()


def test_a_relay_that_reads_nothing_fills_no_memory(ear: Ear) -> None:
    """The relay accepts the TCP connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"ws://127.0.0.1:{server.getsockname()[1]}/"
        connection = WebsocketDialer(run_at_once).dial(url, {}, ear)
        sent = [connection.send("x") for _ in range(MAX_QUEUED + 10)]
        assert sent.count(False) == 10
        connection.close()
        peer, _ = server.accept()
        peer.close()
        connection.join(WAIT_S)


def test_no_thread_is_left_when_the_relay_goes_away(relay: FakeRelay, ear: Ear) -> None:
    WebsocketDialer(run_at_once).dial(relay.url, {}, ear)
    ear.next("opened")
    relay.close()
    ear.next("closed")
    end = time.monotonic() + WAIT_S
    while any(thread.name == "relay" for thread in threading.enumerate()):
        assert time.monotonic() < end
        time.sleep(0.01)
