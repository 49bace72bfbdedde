"""One WebSocket on the hub, over a socket pair, against a Sans-I/O client."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import gevent
import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from relay import backlog, connection
from relay.backlog import MAX_QUEUED_BYTES, MAX_QUEUED_MESSAGES
from relay.connection import Connection
from relay.flusher import Flusher
from relay.metrics import Tally

TCP_CLOSE = 7
"""In TCP_INFO: the other end has reset the connection."""


class Peer:
    """The other end: does nothing but what a test says."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.setblocking(False)
        self.protocol = ClientProtocol(parse_uri("ws://x/"), state=OPEN)
        self.frames: list[Frame] = []

    def write(self) -> None:
        for data in self.protocol.data_to_send():
            if data:
                self.sock.send(data)

    def text(self, text: str) -> None:
        self.protocol.send_text(text.encode())
        self.write()

    def read(self) -> list[bytes]:
        """What has come, and the texts of it so far."""
        while True:
            try:
                data = self.sock.recv(65_536)
            except BlockingIOError:
                break
            if not data:
                self.protocol.receive_eof()
                break
            self.protocol.receive_data(data)
        self.frames += [frame for frame in self.protocol.events_received() if isinstance(frame, Frame)]
        return [bytes(frame.data) for frame in self.frames if frame.opcode is Opcode.TEXT]

    @property
    def closed_with(self) -> int | None:
        self.read()
        return self.protocol.close_rcvd.code if self.protocol.close_rcvd else None


class Owner:
    """Remembers what it is handed."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.ended: list[int] = []

    def received(self, data: bytes) -> None:
        self.messages.append(data)

    def gone(self, code: int) -> None:
        self.ended.append(code)


class Bench:
    """A connection, its owner and its peer."""

    def __init__(self, ours: socket.socket, theirs: socket.socket) -> None:
        self.tally = Tally()
        self.owner = Owner()
        self.peer = Peer(theirs)
        self.flusher = Flusher()
        self.connection = Connection(ours, self.flusher, self.tally, timeout_s=10.0)

    def open(self) -> Bench:
        self.connection.resume(self.owner)
        return self

    def block(self) -> None:
        """Have the socket take no more."""
        for _ in range(200):
            self.connection.send(b'"' + b"x" * 3000 + b'"')
            self.turn()
            if self.connection.queued_bytes:
                return
        raise AssertionError("the socket takes everything")

    def turn(self) -> None:
        """One turn of the loop, and a little more."""
        gevent.sleep(0)
        gevent.sleep(0)

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline
            gevent.sleep(0.005)


def unix_pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return ours, theirs


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        return server.accept()[0], theirs


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench(*unix_pair())
    yield made
    made.connection.abort()
    made.peer.sock.close()
    made.turn()
    assert made.tally.open == 0
    assert made.tally.queued_bytes == 0


def test_messages_go_both_ways_in_order(bench: Bench) -> None:
    bench.open()
    for number in range(3):
        bench.peer.text(str(number))
        bench.connection.send(str(number).encode())
    bench.until(lambda: len(bench.owner.messages) == 3 and len(bench.peer.read()) == 3)
    assert bench.owner.messages == bench.peer.read() == [b"0", b"1", b"2"]
    assert (bench.tally.received, bench.tally.sent) == (3, 3)


def test_what_comes_while_paused_is_kept(bench: Bench) -> None:
    first = Owner()
    bench.connection.listen(first)
    bench.peer.text("first")
    bench.until(lambda: first.messages)
    bench.connection.pause()
    bench.peer.text("second")
    bench.turn()
    bench.open()
    bench.until(lambda: bench.owner.messages)
    assert (first.messages, bench.owner.messages) == ([b"first"], [b"second"])


def test_of_motion_that_waits_only_the_latest_is_sent(bench: Bench) -> None:
    bench.open().block()
    for number in range(50):
        bench.connection.send(b"motor %d" % number, "motor")
        bench.connection.send(b"servo %d" % number, "servo")
    bench.until(lambda: b"servo 49" in bench.peer.read())
    assert [text for text in bench.peer.read() if not text.startswith(b'"')] == [b"motor 49", b"servo 49"]
    assert bench.tally.dropped_motion == 98


def test_a_stop_overtakes_what_waits_and_removes_motion(bench: Bench) -> None:
    bench.open().block()
    bench.connection.send(b"last words")
    bench.connection.send(b"motor", "motor")
    bench.connection.send(b"stop", urgent=True)
    bench.until(lambda: b"last words" in bench.peer.read())
    texts = bench.peer.read()
    assert b"motor" not in texts
    assert texts.index(b"stop") < texts.index(b"last words")


def test_motion_that_waited_too_long_is_not_sent(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "MOTION_MAX_AGE_S", -1.0)
    bench.open().block()
    bench.connection.send(b"motor", "motor")
    bench.connection.send(b"after it")
    bench.until(lambda: b"after it" in bench.peer.read())
    assert b"motor" not in bench.peer.read()


@pytest.mark.parametrize("size", [10, 60_000])
def test_a_peer_that_does_not_read_is_closed_and_nothing_piles_up(bench: Bench, size: int) -> None:
    bench.open()
    sent = 0
    while bench.connection.open:
        bench.connection.send(b"y" * size)
        bench.turn()
        sent += 1
        assert bench.connection.queued_bytes <= MAX_QUEUED_BYTES
        assert sent < 100_000
    bench.turn()
    assert bench.owner.ended == [4008]
    assert bench.connection.queued_bytes <= size + 200, "only what is half written, and the farewell"


def overflow(bench: Bench) -> None:
    """Send to a peer that reads nothing until the relay has enough of it."""
    bench.open()
    while bench.connection.open:
        bench.connection.send(b"y" * 8000)
        bench.turn()


def test_who_was_too_slow_and_reads_again_learns_why_it_was_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LINGER_S", 0.01)
    bench = Bench(*tcp_pair())
    overflow(bench)
    gevent.sleep(0.05)  # longer than anybody else is waited for
    bench.until(lambda: bench.peer.closed_with == 4008)
    assert all(text == b"y" * 8000 for text in bench.peer.read()), "no frame is cut short"
    bench.peer.sock.close()
    bench.connection.abort()


def test_the_socket_of_who_never_reads_is_gone_after_a_while_in_the_kernel_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "SLOW_LINGER_S", 0.05)
    bench = Bench(*tcp_pair())
    overflow(bench)
    theirs = bench.peer.sock
    bench.until(lambda: theirs.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_CLOSE)
    assert bench.connection.queued_bytes == bench.tally.queued_bytes == 0
    theirs.close()


def test_a_burst_that_the_socket_takes_is_not_too_slow(bench: Bench) -> None:
    bench.open()
    for _ in range(2 * MAX_QUEUED_MESSAGES):
        bench.connection.send(b"short")
        bench.peer.read()
    assert bench.connection.open


def test_a_quiet_peer_is_pinged_then_closed(bench: Bench) -> None:
    bench.open()
    heard = bench.connection.last_heard_s
    bench.connection.sweep(heard + 3.9)
    bench.turn()
    bench.peer.read()
    assert not bench.peer.frames
    bench.connection.sweep(heard + 4.1)
    bench.connection.sweep(heard + 5.0)
    bench.until(lambda: bench.peer.read() or bench.peer.frames)
    assert [frame.opcode for frame in bench.peer.frames] == [Opcode.PING]
    bench.peer.write()
    bench.until(lambda: bench.connection.last_heard_s > heard)
    bench.connection.sweep(bench.connection.last_heard_s + 10.1)
    bench.until(lambda: bench.peer.closed_with == 4002 and bench.owner.ended)
    assert bench.owner.ended == [4002]


def test_a_proxy_that_counts_the_silence_hears_a_ping_in_any_case(bench: Bench) -> None:
    bench.open()
    bench.flusher.ping_every_s = 1.0
    heard = bench.connection.last_heard_s
    for late_s in (0.5, 1.1, 1.6, 2.2):
        bench.connection.sweep(heard + late_s)
    bench.until(lambda: bench.peer.read() or len(bench.peer.frames) == 2)
    assert [frame.opcode for frame in bench.peer.frames] == [Opcode.PING] * 2


def test_the_closing_handshake_from_either_side(bench: Bench) -> None:
    bench.open()
    bench.connection.send(b"before")
    bench.connection.close(4003, "a newer connection " * 20)
    bench.connection.send(b"after")
    bench.until(lambda: bench.peer.closed_with == 4003)
    assert bench.peer.read() == [b"before"]
    other = Bench(*unix_pair()).open()
    other.peer.protocol.send_close(1001)
    other.peer.write()
    other.until(lambda: other.owner.ended)
    assert other.owner.ended == [1001]
    assert other.peer.closed_with == 1001
    other.peer.sock.close()
    other.connection.abort()


def test_who_is_dismissed_hears_all_and_then_the_end_and_is_not_heard_any_more(bench: Bench) -> None:
    bench.open()
    bench.connection.send(b"before")
    bench.connection.dismiss(1012, "the relay restarts")
    bench.until(lambda: bench.peer.closed_with == 1012 and bench.peer.protocol.eof_sent)
    assert bench.peer.read() == [b"before"]
    bench.peer.write()
    bench.turn()
    assert bench.owner.ended == [1012]
    assert bench.connection.tally.received == 0


def test_who_has_gone_without_a_word_may_be_dismissed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first write to it fails: nobody else may have to do without his farewell because of that."""
    bench = Bench(*tcp_pair()).open()
    bench.peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, connection.RESET)
    bench.peer.sock.close()
    bench.connection.send(b"before")
    bench.connection.dismiss(1012)
    bench.connection.dismiss(1012)
    bench.turn()
    assert bench.owner.ended == [1006]
    assert bench.tally.open == 0


def test_who_is_dismissed_hears_what_its_socket_did_not_take_at_first(bench: Bench) -> None:
    bench.open().block()
    bench.connection.dismiss(1012)
    bench.until(lambda: bench.peer.closed_with == 1012)
    assert bench.connection.queued_bytes == 0


def test_a_peer_that_vanishes_is_noticed(bench: Bench) -> None:
    bench.open()
    bench.peer.sock.close()
    bench.until(lambda: bench.owner.ended)
    assert bench.owner.ended == [1006]


def test_a_connection_that_ended_before_it_was_taken_in(bench: Bench) -> None:
    bench.connection.close(1012)
    bench.open()
    assert bench.owner.ended == [1006]


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (Frame(Opcode.BINARY, b"{}"), 1003),
        (Frame(Opcode.TEXT, b"\xff"), 1007),
        (Frame(Opcode.TEXT, b"x" * 65_537), 1009),
        (Frame(Opcode.CONT, b"x"), 1002),
    ],
)
def test_what_breaks_the_protocol_is_closed_with_its_code(bench: Bench, frame: Frame, code: int) -> None:
    bench.open()
    data = frame.serialize(mask=True)
    while data:
        try:
            data = data[bench.peer.sock.send(data) :]
        except BlockingIOError:
            gevent.sleep(0.001)
    bench.until(lambda: bench.peer.closed_with == code)
    assert not bench.owner.messages


def test_a_fault_in_the_owner_closes_only_this_connection(bench: Bench) -> None:
    def fail(data: bytes) -> None:
        raise KeyError(data)

    bench.owner.received = fail  # type: ignore[method-assign]
    bench.open()
    bench.peer.text("boom")
    bench.until(lambda: bench.peer.closed_with == 1011)
