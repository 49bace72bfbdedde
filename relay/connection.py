"""One WebSocket on the gevent hub: no greenlet, no thread, nothing that blocks.

Reads and writes happen in the hub's callbacks on a non-blocking socket. What is sent in one turn of the loop leaves
in one write. Whatever a peer does not take waits in a bounded backlog: of motion commands only the latest, and a peer
that does not take the rest either is closed (4008).
"""

from __future__ import annotations

import logging
import socket
import struct
import termios
import time
from collections.abc import Callable
from fcntl import ioctl
from typing import Any, Protocol

from contract.frames import CLOSE_HEARTBEAT_LOST, CLOSE_TOO_SLOW, MAX_FRAME_BYTES
from relay import wire
from relay.backlog import MAX_QUEUED_BYTES, MAX_QUEUED_MESSAGES, Backlog
from relay.flusher import Flusher
from relay.metrics import Tally
from relay.wire import (
    BINARY,
    CLOSE,
    CLOSE_ABNORMAL,
    CLOSE_INTERNAL_ERROR,
    CLOSE_TEXT_ONLY,
    PING,
    PONG,
    TEXT,
    FrameReader,
    text_frame,
)

log = logging.getLogger(__name__)

READ_BYTES = 65_536
SEND_BUFFER_BYTES = 131_072
"""The kernel's share of what waits; small, because what is in there can no longer be replaced by something newer."""
LINGER_S = 2.0
"""How long a closed socket waits for the peer's part of the closing handshake."""
SLOW_LINGER_S = 10.0
"""The same for one that was too slow: who begins to read again by then learns by 4008 what happened."""
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: end now, and forget what the peer has not taken."""


class Handler(Protocol):
    """Whoever a connection belongs to. Called in the hub: must not block."""

    def received(self, data: bytes) -> None:
        """A text message, valid UTF-8."""

    def gone(self, code: int) -> None:
        """The connection has ended, or its close has begun. Called once, in a turn of the loop of its own."""


class Connection:
    """A WebSocket whose handshake is over.

    Args:
        sock: the connected socket; ours from here on.
        flusher: the worker's.
        tally: counts of its kind.
        timeout_s: a peer that is silent for so long is closed with 4002; pinged after 40 % of it.
        max_size: of a message, bytes; larger ones are refused with 1009.

    Attributes:
        on_binary: takes binary messages; None: they are refused with 1003.

    Reading starts with `resume`.
    """

    __slots__ = (
        "_backlog",
        "_beat_s",
        "_flusher",
        "_frames",
        "_held",
        "_linger",
        "_marked",
        "_pinged",
        "_reader",
        "_shut",
        "_sock",
        "_timeout_s",
        "_turn",
        "_turn_bytes",
        "_writer",
        "handler",
        "last_heard_s",
        "on_binary",
        "open",
        "tally",
    )

    def __init__(
        self, sock: socket.socket, flusher: Flusher, tally: Tally, timeout_s: float, max_size: int = MAX_FRAME_BYTES
    ) -> None:
        sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._sock: socket.socket | None = sock
        self._frames = FrameReader(max_size)
        self._flusher = flusher
        self._timeout_s = timeout_s
        self._reader = flusher.loop.io(sock.fileno(), 1)
        self._writer: Any = None
        self._linger: Any = None
        self._turn: list[tuple[bytes, str | None]] | None = None  # what this turn of the loop has sent
        self._turn_bytes = 0
        self._backlog: Backlog | None = None  # while the socket takes no more
        self._held: list[bytes] | None = []  # a list while paused
        self._marked = False
        self._pinged = False
        self._beat_s = time.monotonic()
        self._shut = False
        self.handler: Handler | None = None
        self.on_binary: Callable[[bytes], None] | None = None
        self.last_heard_s = time.monotonic()
        self.open = True
        self.tally = tally
        tally.open += 1

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait for the socket."""
        return self._turn_bytes + (self._backlog.size if self._backlog is not None else 0)

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
        if self._backlog is not None:
            self.tally.queued_bytes -= self._backlog.size
            tally.queued_bytes += self._backlog.size
        self.tally = tally
        self._timeout_s = timeout_s

    def send(self, data: bytes, key: str | None = None, *, urgent: bool = False) -> None:
        """Send a text message.

        Args:
            data: JSON.
            key: motion: replaces an unsent message with the same key, and is not sent late.
            urgent: a stop: goes before all that waits, and removes motion that waits.
        """
        if self.open:
            self.tally.sent += 1
            self._push(text_frame(data), key, urgent)

    def send_binary(self, data: bytes) -> None:
        """Send a binary message."""
        if self.open:
            self.tally.sent += 1
            self._push(wire.frame(BINARY, data))

    def close(self, code: int, reason: str = "") -> None:
        """Begin the closing handshake: what was sent before still goes out, unless the peer was too slow for it."""
        if not self.open:
            return
        self._write_turn()
        if code == CLOSE_TOO_SLOW and self._backlog is not None:
            self._shrink(Backlog.give_up)
        self._ended(code)
        self._await_farewell(code)
        self._push(wire.close_frame(code, reason))
        self.flush()

    def dismiss(self, code: int, reason: str = "") -> None:
        """Close for a worker that is about to end: the peer's part of the handshake is not waited for, nor read."""
        self._write_turn()
        if not self.open:  # before, or by that write
            return
        self._ended(code)
        self._reader.stop()
        self._push(wire.close_frame(code, reason))
        self._shut = True
        self.flush()

    def sweep(self, now: float) -> None:
        """Ping a quiet peer, close a silent one. Called about once a second."""
        if not self.open:
            return
        silent_s = now - self.last_heard_s
        if silent_s > self._timeout_s:
            self.close(CLOSE_HEARTBEAT_LOST, "nothing heard for too long")
            return
        quiet = silent_s > self._timeout_s * 0.4 and not self._pinged
        if quiet or now - self._beat_s >= self._flusher.ping_every_s:
            self._pinged = True
            self._beat_s = now
            self._push(wire.frame(PING, b""))

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
        try:
            for opcode, payload in self._frames.receive(chunk):
                if opcode == CLOSE:
                    self._farewell(payload)
                elif not self.open:
                    continue  # our close is on its way; theirs is what is waited for
                elif opcode == TEXT:
                    self._text(payload)
                elif opcode == PING:
                    self._push(wire.frame(PONG, payload))
                elif opcode == BINARY:
                    self._binary(payload)
        except Exception:
            # A fault in one connection's handling must not end the loop that serves all others.
            log.exception("connection failed")
            self.close(CLOSE_INTERNAL_ERROR, "internal error")
        if self._frames.failure is not None and not self._shut:
            self.close(*self._frames.failure)
            self._finish()

    def _text(self, data: bytes) -> None:
        self.tally.received += 1
        if self._held is not None:
            self._held.append(data)
        elif self.handler is not None:
            self.handler.received(data)

    def _binary(self, data: bytes) -> None:
        if self.on_binary is None:
            self.close(CLOSE_TEXT_ONLY, "send JSON as text")
        else:
            self.tally.received += 1
            self.on_binary(data)

    def _farewell(self, payload: bytes) -> None:
        """The peer closes: it gets its own code back, unless this answers our own close."""
        if self.open:
            code = wire.close_code(payload)
            self._ended(code)
            self._await_farewell(code)
            self._push(wire.frame(CLOSE, payload[:2]))
        self._finish()

    # -- writing, in the hub ----------------------------------------------------------------------

    def _push(self, frame: bytes, key: str | None = None, urgent: bool = False) -> None:
        if self._backlog is not None:
            self._wait(frame, key, urgent)
            return
        turn = self._turn
        if turn is None:
            self._turn = [(frame, key)]
            self._turn_bytes = len(frame)
            self._mark()
            return
        turn.append((frame, key))
        self._turn_bytes += len(frame)
        if len(turn) >= MAX_QUEUED_MESSAGES or self._turn_bytes > MAX_QUEUED_BYTES:
            self._write_turn()

    def _mark(self) -> None:
        if not self._marked:
            self._marked = True
            self._flusher.mark(self)

    def _wait(self, frame: bytes, key: str | None, urgent: bool) -> None:
        assert self._backlog is not None
        before, dropped = self._backlog.size, self._backlog.dropped
        room = self._backlog.add(frame, key, urgent, time.monotonic())
        self.tally.queued_bytes += self._backlog.size - before
        self.tally.dropped_motion += self._backlog.dropped - dropped
        if room:
            return
        self._write_backlog()
        if self._backlog is None:
            self._push(frame, key, urgent)
        elif self.open:
            self.close(CLOSE_TOO_SLOW, "too slow: messages were not read")

    def flush(self) -> None:
        """Write what the socket takes."""
        self._marked = False
        self._write_turn()
        if self._shut and self._backlog is None:
            self._half_close()

    def _write_turn(self) -> None:
        turn, size = self._turn, self._turn_bytes
        self._turn, self._turn_bytes = None, 0
        if turn is None or self._sock is None:
            return
        sent = self._send(turn[0][0] if len(turn) == 1 else b"".join([frame for frame, _ in turn]))
        if sent != size and self._sock is not None:
            self._backlog = Backlog(turn, sent, time.monotonic())
            self.tally.queued_bytes += self._backlog.size
            if self._writer is None:
                self._writer = self._flusher.loop.io(self._sock.fileno(), 2)
            self._writer.start(self._writable)

    def _send(self, data: bytes) -> int:
        """How much of it the socket took."""
        assert self._sock is not None
        try:
            return self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self._drop()
            return 0

    def _writable(self) -> None:
        if self._backlog is not None:
            self._shrink(lambda backlog: backlog.drop_late(time.monotonic()))
        self._write_backlog()

    def _write_backlog(self) -> None:
        backlog = self._backlog
        while backlog is not None and len(backlog) and self._sock is not None:
            data = backlog.next_chunk()
            sent = self._send(data)
            if self._sock is None:
                return
            backlog.written(sent)
            self.tally.queued_bytes -= sent
            if sent < len(data):
                return
        self._backlog = None
        if self._writer is not None:
            self._writer.stop()
        if self._shut:
            self._half_close()

    def _shrink(self, change: Callable[[Backlog], None]) -> None:
        """Take something out of the backlog, and keep the counts of it."""
        assert self._backlog is not None
        before, dropped = self._backlog.size, self._backlog.dropped
        change(self._backlog)
        self.tally.queued_bytes += self._backlog.size - before
        self.tally.dropped_motion += self._backlog.dropped - dropped

    # -- the end ----------------------------------------------------------------------------------

    def _ended(self, code: int) -> None:
        """From here on nothing is sent or delivered."""
        if not self.open:
            return
        self.open = False
        self.tally.open -= 1
        self.tally.closed[code] = self.tally.closed.get(code, 0) + 1
        if self.handler is not None:
            # In a turn of its own: whoever was just sending may be in the middle of a list that this changes.
            self._flusher.loop.run_callback(self.handler.gone, code)
            self.handler = None

    def _await_farewell(self, code: int) -> None:
        """The socket lingers for the peer's part of the closing handshake."""
        if self._sock is not None:
            self._reader.start(self._readable)  # also when paused: the peer's close has to be read
            self._linger = self._flusher.loop.timer(SLOW_LINGER_S if code == CLOSE_TOO_SLOW else LINGER_S)
            self._linger.start(self._give_up)

    def _finish(self) -> None:
        """Nothing more to say: end our direction once all is written."""
        self._shut = True
        self._mark()

    def _half_close(self) -> None:
        if self._sock is None:
            return
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop()

    def _give_up(self) -> None:
        """The peer did not play its part in time; what it has not taken is not kept for it in the kernel either."""
        if self._sock is not None:
            unacknowledged = struct.unpack("i", ioctl(self._sock, termios.TIOCOUTQ, bytes(4)))[0]
            if unacknowledged or self._backlog is not None:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
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
        if self._backlog is not None:
            self.tally.queued_bytes -= self._backlog.size
        self._backlog = self._turn = None
        self._turn_bytes = 0
        self._ended(CLOSE_ABNORMAL)
