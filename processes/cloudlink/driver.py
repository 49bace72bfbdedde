"""The WebSocket to the relay, behind a narrow Protocol."""

from __future__ import annotations

import logging
import os
import select
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import websocket
from websocket import ABNF

from bus.errors import BusError
from processes.cloudlink.logic import Closed

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
STALL_TIMEOUT_S = 5.0
"""How long one send, or the rest of a frame that has begun, may take before the link is given up."""
MAX_QUEUED = 500
"""Frames waiting for the wire."""
POLL_MS = 1000


class Listener(Protocol):
    """Hears of one connection, on the bus's loop. Nothing comes after `closed`."""

    def opened(self, local_ip: str | None) -> None: ...

    def frame(self, text: str) -> None: ...

    def pong(self) -> None: ...

    def closed(self, closed: Closed) -> None: ...


class Connection(Protocol):
    """One connection, open or still being opened. Only `join` blocks."""

    def send(self, text: str) -> bool:
        """Queue a frame; False when too many wait already."""

    def ping(self) -> None:
        """Queue a WebSocket ping."""

    def close(self) -> None:
        """Send what is queued, say goodbye, and end. The listener hears nothing more."""

    def join(self, timeout_s: float) -> None:
        """Wait for the end after `close`."""


class Dialer(Protocol):
    def dial(self, url: str, headers: Mapping[str, str], listener: Listener) -> Connection: ...


Post = Callable[[Callable[[], None]], None]
"""Has something called on the bus's loop."""


class WebsocketDialer:
    """websocket-client, each connection with a thread of its own that alone touches the socket."""

    def __init__(self, post: Post) -> None:
        self._post = post

    def dial(self, url: str, headers: Mapping[str, str], listener: Listener) -> WebsocketConnection:
        connection = WebsocketConnection(self._post, url, headers, listener)
        connection.start()
        return connection


class _PeerClosed(Exception):
    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class WebsocketConnection:
    """One thread, one socket: TLS sockets may not be read and written by two threads at once."""

    def __init__(self, post: Post, url: str, headers: Mapping[str, str], listener: Listener) -> None:
        self._post = post
        self._url = url
        self._headers = dict(headers)
        self._listener: Listener | None = listener
        self._queue: deque[str | None] = deque()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._fd_lock = threading.Lock()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def send(self, text: str) -> bool:
        if len(self._queue) >= MAX_QUEUED:
            return False
        self._queue.append(text)
        self._wake()
        return True

    def ping(self) -> None:
        self._queue.append(None)
        self._wake()

    def close(self) -> None:
        self._listener = None
        self._closing = True
        self._wake()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def _wake(self) -> None:
        with self._fd_lock:
            if self._wake_fd >= 0:
                os.eventfd_write(self._wake_fd, 1)

    def _tell(self, call: Callable[[Listener], None]) -> None:
        """Tell the listener, on the bus's loop, unless `close` was called meanwhile."""

        if self._listener is None:
            return

        def tell() -> None:
            listener = self._listener
            if listener is not None:
                call(listener)

        self._post(tell)

    def _run(self) -> None:
        closed = Closed()
        ws: Any = websocket.WebSocket(
            sockopt=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)], enable_multithread=False, skip_utf8_validation=True
        )
        try:
            ws.settimeout(CONNECT_TIMEOUT_S)
            ws.connect(self._url, header=self._headers, suppress_origin=True, redirect_limit=0)
            ws.settimeout(STALL_TIMEOUT_S)
            local_ip = ws.sock.getsockname()[0]
            self._tell(lambda listener: listener.opened(local_ip))
            self._serve(ws)
        except _PeerClosed as gone:
            closed = Closed(code=gone.code, reason=gone.reason)
        except websocket.WebSocketBadStatusException as error:
            closed = Closed(http_status=error.status_code, reason=f"the relay answered HTTP {error.status_code}")
        except (websocket.WebSocketException, OSError, ValueError, BusError) as error:
            closed = Closed(reason=f"{type(error).__name__}: {error}")
        finally:
            ws.shutdown()
            with self._fd_lock:
                os.close(self._wake_fd)
                self._wake_fd = -1
        self._tell(lambda listener: listener.closed(closed))

    def _serve(self, ws: Any) -> None:
        poller = select.poll()
        poller.register(ws.sock, select.POLLIN)
        poller.register(self._wake_fd, select.POLLIN)
        while True:
            self._send_queued(ws)
            if self._closing:
                ws.send_close()
                return
            ready = {descriptor for descriptor, _ in poller.poll(POLL_MS)}
            if self._wake_fd in ready:
                os.eventfd_read(self._wake_fd)
            if ws.sock.fileno() in ready:
                self._receive(ws)
                while ws.is_ssl() and ws.sock.pending() > 0:  # what TLS has decrypted already wakes no poll
                    self._receive(ws)

    def _send_queued(self, ws: Any) -> None:
        while self._queue:
            text = self._queue.popleft()
            if text is None:
                ws.ping()
            else:
                ws.send(text)

    def _receive(self, ws: Any) -> None:
        opcode, frame = ws.recv_data_frame(control_frame=True)
        if opcode == ABNF.OPCODE_TEXT:
            text = frame.data.decode("utf-8", "replace")
            self._tell(lambda listener: listener.frame(text))
        elif opcode == ABNF.OPCODE_PONG:
            self._tell(lambda listener: listener.pong())
        elif opcode == ABNF.OPCODE_CLOSE:
            code = struct.unpack("!H", frame.data[:2])[0] if len(frame.data) >= 2 else None
            raise _PeerClosed(code, frame.data[2:].decode("utf-8", "replace"))
