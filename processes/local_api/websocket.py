"""simple-websocket under gunicorn, made safe: whole frames from any thread, nothing unbounded, nothing for ever."""

from __future__ import annotations

import logging
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from simple_websocket import ConnectionClosed, Server
from wsproto.events import Ping
from wsproto.utilities import LocalProtocolError

from bus.base import Bus
from processes.local_api import arrival
from processes.local_api.outgoing import Outgoing
from processes.local_api.sockets import Client, Sockets

T = TypeVar("T")

log = logging.getLogger(__name__)

MAX_UNREAD = 64
"""Messages that may wait to be handled; then the client has to wait too."""
MAX_AHEAD = 16
"""Of those, so many may wait for the bus's loop, with the time they came in at; the others wait to be read."""
LOOP_TIMEOUT_S = 5.0
POLL_S = 0.25
CLOSE_WITHIN_S = 2.0
"""How long a client that is told to go may take to hear it."""
LINGER_S = 1.0


class GuardedSocket:
    """A socket as simple-websocket uses it.

    Its `send` is `socket.send`, from several threads: frames would be cut and mixed. Its input buffer has no end. Its
    reader closes the socket, and the last frame is lost where something was left unread.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sending = threading.Lock()
        self.backlog: Callable[[], int] = lambda: 0
        self.over = False
        self.received_s = self._looked_s = time.monotonic()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 0))  # pings find the dead ones

    def send(self, data: bytes) -> int:
        with self._sending:
            self._sock.sendall(data)
        return len(data)

    def recv(self, size: int) -> bytes:
        """As `socket.recv`; `received_s` then says when the kernel got it."""
        while self.backlog() >= MAX_UNREAD and not self.over:
            time.sleep(0.005)
        data, self.received_s = arrival.receive(self._sock, size, not_before_s=self._looked_s)
        self._looked_s = time.monotonic()
        return data

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        """Only says that no more will come: gunicorn owns the socket."""
        self._shut(socket.SHUT_WR)

    def end(self) -> None:
        """Wake whoever still reads."""
        self.over = True
        self._shut(socket.SHUT_RDWR)

    def _shut(self, how: int) -> None:
        try:
            self._sock.shutdown(how)
        except OSError:
            log.debug("the socket was closed already")


class ServerWire:
    """The sending side of a simple-websocket server: `outgoing.Wire` and `sockets.Pongs`."""

    def __init__(self, ws: Server) -> None:
        self._ws = ws

    def send(self, text: str) -> None:
        try:
            self._ws.send(text)
        except (ConnectionClosed, LocalProtocolError) as error:
            raise OSError("the socket is closed") from error

    def ping(self) -> None:
        try:
            self._ws.sock.send(self._ws.ws.send(Ping()))
        except LocalProtocolError as error:
            raise OSError("the socket is closed") from error

    def close(self, code: int, reason: str) -> None:
        try:
            self._ws.close(code, reason)
        except (ConnectionClosed, LocalProtocolError) as error:
            raise OSError("the socket is closed") from error

    def expect(self) -> None:
        self._ws.pong_received = False

    def came(self) -> bool:
        return bool(self._ws.pong_received)


def prepare(environ: dict[str, Any]) -> None:
    """Before the handshake: guard the socket, and offer no compression (75 KB a connection, and bombs)."""
    environ["gunicorn.socket"] = GuardedSocket(environ["gunicorn.socket"])
    environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)


def on_loop(bus: Bus, call: Callable[[], T]) -> T:
    """Have something done on the bus's loop, and wait for it.

    Raises:
        TimeoutError: the loop hangs.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)
            raise

    bus.call_soon(run)
    return future.result(LOOP_TIMEOUT_S)


def _take(
    sockets: Sockets, client: Client, text: str | bytes, received: float, ahead: threading.BoundedSemaphore
) -> None:
    try:
        sockets.on_text(client, text, received)
    finally:
        ahead.release()


def serve(ws: Server, bus: Bus, sockets: Sockets, peer: str, *, authenticated: bool) -> None:
    """One client, in the request's own thread, until it is gone or turned away."""
    guard: GuardedSocket = ws.sock
    guard.backlog = lambda: len(ws.input_buffer)
    wire = ServerWire(ws)
    ahead = threading.BoundedSemaphore(MAX_AHEAD)
    outgoing = Outgoing()
    writer = threading.Thread(target=outgoing.run, args=(wire,), name="ws-writer", daemon=True)
    client = on_loop(bus, lambda: sockets.open(peer, outgoing, wire, authenticated=authenticated))
    writer.start()
    try:
        while not outgoing.closing.is_set():
            text = ws.receive(timeout=POLL_S)
            if text is not None:
                if not ahead.acquire(timeout=LOOP_TIMEOUT_S):
                    raise TimeoutError("the bus's loop hangs")
                bus.call_soon(partial(_take, sockets, client, text, guard.received_s, ahead))
    except ConnectionClosed:
        log.debug("a client is gone")
    else:
        outgoing.ended.wait(CLOSE_WITHIN_S)
    finally:
        bus.call_soon(lambda: sockets.close(client))
        if outgoing.ended.is_set():
            ws.thread.join(LINGER_S)  # its reader sees the client's goodbye
        outgoing.abandon()
        guard.end()
        writer.join(LINGER_S)
