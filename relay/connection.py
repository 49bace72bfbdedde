"""One WebSocket on the gevent hub: no greenlet, no thread, nothing that blocks.

Bytes go through `websockets`' Sans-I/O protocol (RFC 6455); reads and writes happen in the hub's callbacks on a
non-blocking socket. What is sent in one turn of the loop leaves in one write. Whatever a peer does not take waits in
a bounded queue: of motion commands only the latest, and a peer that does not take the rest either is closed (4008).
"""

from __future__ import annotations

import logging
import socket
import time
from typing import Any, NamedTuple, Protocol

import gevent
from websockets.frames import Opcode
from websockets.protocol import OPEN, SEND_EOF
from websockets.server import ServerProtocol

from contract.frames import CLOSE_HEARTBEAT_LOST, CLOSE_TOO_SLOW, MAX_FRAME_BYTES

log = logging.getLogger(__name__)

_TEXT, _BINARY, _CONTINUATION = Opcode.TEXT, Opcode.BINARY, Opcode.CONT

READ_BYTES = 65_536
SEND_BUFFER_BYTES = 131_072
"""The kernel's share of what waits; small, because what is in there can no longer be replaced by something newer."""
WRITE_BYTES = 65_536
MAX_QUEUED_MESSAGES = 256
MAX_QUEUED_BYTES = 1_048_576
LINGER_S = 2.0
"""How long a closed socket waits for the peer's part of the closing handshake."""
MOTION_MAX_AGE_S = 0.5
"""Motion that waited longer is not sent any more (contract: never carried out late)."""
MAX_REASON_BYTES = 120

CLOSE_NORMAL = 1000
CLOSE_GOING_AWAY = 1001
CLOSE_ABNORMAL = 1006
CLOSE_TEXT_ONLY = 1003
CLOSE_BAD_UTF8 = 1007
CLOSE_INTERNAL_ERROR = 1011


class Handler(Protocol):
    """Whoever a connection belongs to. Called in the hub: must not block."""

    def received(self, data: bytes) -> None:
        """A text message, valid UTF-8."""

    def gone(self, code: int) -> None:
        """The connection has ended, or its close has begun. Called once, in a turn of the loop of its own."""


class Tally:
    """Counts of all connections of one kind."""

    __slots__ = ("closed", "dropped_motion", "open", "queued_bytes", "received", "sent")

    def __init__(self) -> None:
        self.open = 0
        self.received = 0
        self.sent = 0
        self.queued_bytes = 0
        self.dropped_motion = 0
        self.closed: dict[int, int] = {}

    def closed_with(self, code: int) -> int:
        """How many ended with this close code."""
        return self.closed.get(code, 0)


class Flusher:
    """Lets the connections that have something to send write it at the end of this turn of the loop."""

    def __init__(self) -> None:
        self.loop = gevent.get_hub().loop
        self._marked: list[Connection] = []

    def mark(self, connection: Connection) -> None:
        if not self._marked:
            self.loop.run_callback(self._run)
        self._marked.append(connection)

    def _run(self) -> None:
        marked, self._marked = self._marked, []
        for connection in marked:
            connection.flush()


class Waiting(NamedTuple):
    """A frame that has not been written. `key` names what it replaces; None: nothing."""

    data: bytes
    key: str | None
    since_s: float


class Connection:
    """A WebSocket whose handshake is over.

    Args:
        sock: the connected socket; ours from here on.
        flusher: the worker's.
        tally: counts of its kind.
        timeout_s: a peer that is silent for so long is closed with 4002; pinged after 40 % of it.

    Reading starts with `resume`.
    """

    __slots__ = (
        "_blocked",
        "_flusher",
        "_fragments",
        "_held",
        "_linger",
        "_marked",
        "_out",
        "_pinged",
        "_protocol",
        "_reader",
        "_shut",
        "_sock",
        "_timeout_s",
        "_writer",
        "handler",
        "last_heard_s",
        "open",
        "queued_bytes",
        "tally",
    )

    def __init__(self, sock: socket.socket, flusher: Flusher, tally: Tally, timeout_s: float) -> None:
        sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._sock: socket.socket | None = sock
        self._protocol = ServerProtocol(state=OPEN, max_size=MAX_FRAME_BYTES)
        self._flusher = flusher
        self._timeout_s = timeout_s
        self._reader = flusher.loop.io(sock.fileno(), 1)
        self._writer: Any = None
        self._linger: Any = None
        self._out: list[Waiting] = []
        self._held: list[bytes] | None = []  # a list while paused
        self._fragments: list[bytes] | None = None
        self._blocked = False
        self._marked = False
        self._pinged = False
        self._shut = False
        self.handler: Handler | None = None
        self.last_heard_s = time.monotonic()
        self.open = True
        self.queued_bytes = 0
        self.tally = tally
        tally.open += 1

    # -- for the owner ----------------------------------------------------------------------------

    def listen(self, handler: Handler) -> None:
        """Start reading, for somebody who will `pause` again."""
        self.handler = handler
        self._held = None
        if self._sock is not None:
            self._reader.start(self._readable)

    def pause(self) -> None:
        """Stop reading; what was read already is kept for `resume`."""
        self._held = []
        if self._sock is not None:
            self._reader.stop()

    def resume(self, handler: Handler) -> None:
        """Hand every message, from the first that was kept, to `handler`."""
        self.handler = handler
        held, self._held = self._held or [], None
        if not self.open:
            self.handler = None
            handler.gone(CLOSE_ABNORMAL)
            return
        self._reader.start(self._readable)
        for data in held:
            if self.open:
                handler.received(data)

    def become(self, tally: Tally, timeout_s: float) -> None:
        """Count among another kind from now on."""
        if self.open:
            self.tally.open -= 1
            tally.open += 1
        self.tally.queued_bytes -= self.queued_bytes
        tally.queued_bytes += self.queued_bytes
        self.tally = tally
        self._timeout_s = timeout_s

    def send(self, data: bytes, key: str | None = None, *, urgent: bool = False) -> None:
        """Send a text message.

        Args:
            data: JSON.
            key: motion: replaces an unsent message with the same key, and is not sent late.
            urgent: a stop: goes before all that waits, and removes motion that waits.
        """
        if not self.open:
            return
        self.tally.sent += 1
        self._protocol.send_text(data)
        if self._blocked and (key or urgent):
            self._drop_motion(None if urgent else key)
        for frame in self._protocol.data_to_send():
            self._push(frame, key, urgent)

    def close(self, code: int, reason: str = "") -> None:
        """Begin the closing handshake: what was sent before still goes out, unless the peer was too slow for it."""
        if not self.open:
            return
        if code == CLOSE_TOO_SLOW:
            self._clear(keep_partial=True)
        self._protocol.send_close(code, _short(reason))
        self._ended(code)
        self._take_writes()
        self.flush()

    def sweep(self, now: float) -> None:
        """Ping a quiet peer, close a silent one. Called about once a second."""
        if not self.open:
            return
        silent_s = now - self.last_heard_s
        if silent_s > self._timeout_s:
            self.close(CLOSE_HEARTBEAT_LOST, "nothing heard for too long")
        elif silent_s > self._timeout_s * 0.4 and not self._pinged:
            self._pinged = True
            self._protocol.send_ping(b"")
            self._take_writes()

    def abort(self) -> None:
        """Close the socket at once, without a handshake."""
        self._drop()

    # -- reading, in the hub ----------------------------------------------------------------------

    def _readable(self) -> None:
        assert self._sock is not None
        try:
            chunk = self._sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            chunk = b""
        if not chunk:
            self._drop()
            return
        self.last_heard_s = time.monotonic()
        self._pinged = False
        protocol = self._protocol
        protocol.receive_data(chunk)
        try:
            for frame in protocol.events_received():
                if not self.open:
                    break
                self._frame(frame.opcode, frame.data, frame.fin)  # type: ignore[union-attr]
        except Exception:
            # A fault in one connection's handling must not end the loop that serves all others.
            log.exception("connection failed")
            self.close(CLOSE_INTERNAL_ERROR, "internal error")
        if protocol.writes:
            self._take_writes()
        if self.open and protocol.state is not OPEN:
            sent = protocol.close_sent
            self._ended(sent.code if sent else CLOSE_ABNORMAL)

    def _frame(self, opcode: Opcode, payload: Any, fin: bool) -> None:
        if opcode is _TEXT and fin:
            self._text(bytes(payload))
        elif opcode is _TEXT:
            self._fragments = [bytes(payload)]
        elif opcode is _CONTINUATION and self._fragments is not None:
            self._fragments.append(bytes(payload))
            if fin:
                whole, self._fragments = b"".join(self._fragments), None
                self._text(whole)
        elif opcode is _BINARY:
            self.close(CLOSE_TEXT_ONLY, "send JSON as text")
        # ping, pong and close are answered by the protocol itself

    def _text(self, data: bytes) -> None:
        try:
            data.decode()
        except UnicodeDecodeError:
            self.close(CLOSE_BAD_UTF8, "text has to be UTF-8")
            return
        self.tally.received += 1
        if self._held is not None:
            self._held.append(data)
        elif self.handler is not None:
            self.handler.received(data)

    # -- writing, in the hub ----------------------------------------------------------------------

    def _take_writes(self) -> None:
        for frame in self._protocol.data_to_send():
            if self._sock is None:
                return
            if frame is SEND_EOF or not frame:
                self._shut = True
            else:
                self._push(frame, None, False)
        if self._shut and not self._marked:
            self._marked = True
            self._flusher.mark(self)

    def _push(self, frame: bytes, key: str | None, urgent: bool) -> None:
        if len(self._out) >= MAX_QUEUED_MESSAGES or self.queued_bytes + len(frame) > MAX_QUEUED_BYTES:
            self.flush()
            if self._blocked and self.open:
                self.close(CLOSE_TOO_SLOW, "too slow: messages were not read")
                return
        waiting = Waiting(frame, key, time.monotonic() if key else 0.0)
        if urgent and self._blocked:
            self._out.insert(1 if self._out else 0, waiting)  # the first may be half written
        else:
            self._out.append(waiting)
        self._account(len(frame))
        if not self._marked and not self._blocked:
            self._marked = True
            self._flusher.mark(self)

    def flush(self) -> None:
        """Write what the socket takes."""
        self._marked = False
        if self._sock is None:
            return
        while self._out:
            data = self._next_chunk()
            try:
                sent = self._sock.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                self._drop()
                return
            self._written(sent)
            if sent < len(data):
                self._block()
                return
        if self._blocked:
            self._blocked = False
            self._writer.stop()
        if self._shut:
            self._half_close()

    def _next_chunk(self) -> bytes:
        if len(self._out) == 1:
            return self._out[0].data
        size = 0
        parts = []
        for waiting in self._out:
            parts.append(waiting.data)
            size += len(waiting.data)
            if size >= WRITE_BYTES:
                break
        return b"".join(parts)

    def _written(self, sent: int) -> None:
        done = 0
        self._account(-sent)
        for waiting in self._out:
            if sent < len(waiting.data):
                break
            sent -= len(waiting.data)
            done += 1
        del self._out[:done]
        if sent:
            self._out[0] = Waiting(self._out[0].data[sent:], None, 0.0)

    def _block(self) -> None:
        if not self._blocked:
            self._blocked = True
            if self._writer is None:
                assert self._sock is not None
                self._writer = self._flusher.loop.io(self._sock.fileno(), 2)
            self._writer.start(self._writable)

    def _writable(self) -> None:
        too_old = time.monotonic() - MOTION_MAX_AGE_S
        if any(waiting.key and waiting.since_s < too_old for waiting in self._out):
            self._keep([waiting for waiting in self._out if not waiting.key or waiting.since_s >= too_old])
        self.flush()

    def _drop_motion(self, key: str | None) -> None:
        """Remove unsent motion with this key, or all of it."""
        if any(waiting.key and (key is None or waiting.key == key) for waiting in self._out):
            self._keep(
                [waiting for waiting in self._out if not waiting.key or (key is not None and waiting.key != key)]
            )

    def _keep(self, kept: list[Waiting]) -> None:
        self.tally.dropped_motion += len(self._out) - len(kept)
        self._account(sum(len(waiting.data) for waiting in kept) - self.queued_bytes)
        self._out = kept

    def _clear(self, *, keep_partial: bool) -> None:
        kept = self._out[:1] if keep_partial else []
        self._account(sum(len(waiting.data) for waiting in kept) - self.queued_bytes)
        self._out = kept

    def _account(self, change: int) -> None:
        self.queued_bytes += change
        self.tally.queued_bytes += change

    # -- the end ----------------------------------------------------------------------------------

    def _ended(self, code: int) -> None:
        """From here on nothing is sent or delivered; the socket lingers for the handshake."""
        if not self.open:
            return
        self.open = False
        self.tally.open -= 1
        self.tally.closed[code] = self.tally.closed.get(code, 0) + 1
        if self._sock is not None:
            self._reader.start(self._readable)  # also when paused: the peer's close has to be read
            self._linger = self._flusher.loop.timer(LINGER_S)
            self._linger.start(self._drop)
        if self.handler is not None:
            # In a turn of its own: whoever was just sending may be in the middle of a list that this changes.
            self._flusher.loop.run_callback(self.handler.gone, code)
            self.handler = None

    def _half_close(self) -> None:
        assert self._sock is not None
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop()

    def _drop(self) -> None:
        sock, self._sock = self._sock, None
        if sock is None:
            return
        for watcher in (self._reader, self._writer, self._linger):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        self._linger = None
        sock.close()
        self._clear(keep_partial=False)
        self._ended(CLOSE_ABNORMAL)


def _short(reason: str) -> str:
    return reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
