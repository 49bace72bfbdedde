"""Many apps and robots on one epoll, for `bench.relay_load`: frames made beforehand, the same for every server."""

from __future__ import annotations

import contextlib
import errno
import resource
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.relay_dialects import Dialect

PATIENCE_S = 120.0
QUIET_S = 0.5
READ_BYTES = 262_144
RETRY_S = 0.1


def raise_descriptor_limit() -> None:
    """As far as this account may."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(hard, 65_536), max(hard, 65_536)))
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@dataclass
class Client:
    """One socket of the crowd.

    Attributes:
        number: which app or robot; app n drives robot n.
        robot: which of the two.
        admitted: the server has let it in.
        head: what has come before that.
        rest: the end of the last chunk, in which a marker may have begun.
    """

    number: int
    robot: bool
    port: int
    sock: socket.socket | None = None
    admitted: bool = False
    upgraded: bool = False
    head: bytes = b""
    rest: bytes = b""
    retry_at_s: float = 0.0
    partner: Client | None = None
    unacknowledged: list[str] = field(default_factory=list)


class Crowd:
    """Many clients on one epoll.

    Args:
        dialect: how the server is spoken to.
        on_data: called with what an admitted client reads.
    """

    def __init__(self, dialect: Dialect, on_data: Callable[[Client, bytes], None]) -> None:
        self.dialect = dialect
        self.on_data = on_data
        self.on_admitted: Callable[[Client], None] = lambda client: None
        self.reconnect = False
        self.stay_away = False
        self.lost = 0
        self.refused = 0
        self._epoll = select.epoll()
        self._by_fd: dict[int, Client] = {}
        self._retries: list[Client] = []

    def connect(self, client: Client) -> None:
        """Begin: the request goes out as soon as the connection is there."""
        client.admitted = client.upgraded = False
        client.head = client.rest = b""
        client.sock = sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._by_fd[sock.fileno()] = client
        code = sock.connect_ex(("127.0.0.1", client.port))
        if code not in (0, errno.EINPROGRESS):
            self._ended(client)
            return
        self._epoll.register(sock.fileno(), select.EPOLLOUT)

    def open_all(self, clients: list[Client], at_once: int) -> float:
        """Connect them all, so many at a time. Returns how long it took until all were let in, seconds."""
        began_s = time.monotonic()
        waiting = list(reversed(clients))
        open_now = 0
        done = 0

        def admitted(client: Client) -> None:
            nonlocal done
            done += 1

        self.on_admitted = admitted
        while done < len(clients):
            while waiting and open_now - done < at_once:
                self.connect(waiting.pop())
                open_now += 1
            self.turn(0.05)
            if time.monotonic() - began_s > PATIENCE_S:
                raise TimeoutError(f"{done} of {len(clients)} were let in within {PATIENCE_S:g} s")
        return time.monotonic() - began_s

    def turn(self, timeout_s: float) -> bool:
        """Handle what is ready. Returns whether anything was."""
        if self._retries:
            now = time.monotonic()
            due = [client for client in self._retries if client.retry_at_s <= now]
            self._retries = [client for client in self._retries if client.retry_at_s > now]
            for client in due:
                self.connect(client)
        ready = self._epoll.poll(timeout_s, 512)
        for fd, mask in ready:
            if fd in self._by_fd:
                self._handle(self._by_fd[fd], mask)
        return bool(ready)

    def settle(self) -> None:
        """Wait until nothing comes any more."""
        while self.turn(QUIET_S):
            pass

    def write(self, client: Client, data: bytes) -> None:
        """Send; a little waiting is the server's fault and is waited for."""
        sock = client.sock
        if sock is None:
            return
        while data:
            try:
                data = data[sock.send(data) :]
            except BlockingIOError:
                select.select([], [sock], [], 1.0)
            except OSError:
                self._ended(client)
                return

    def _handle(self, client: Client, mask: int) -> None:
        assert client.sock is not None
        if mask & select.EPOLLOUT and not client.upgraded and not client.head:
            self._epoll.modify(client.sock.fileno(), select.EPOLLIN)
            self.write(client, self.dialect.request(client.number, client.robot))
            return
        try:
            data = client.sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._ended(client)
        elif client.admitted:
            self.on_data(client, data)
        else:
            self._admit(client, data)

    def _admit(self, client: Client, data: bytes) -> None:
        client.head += data
        if not client.upgraded:
            if b"\r\n\r\n" not in client.head:
                return
            if not client.head.startswith(b"HTTP/1.1 101"):
                raise ConnectionError(client.head[:400].decode(errors="replace"))
            client.upgraded = True
            client.head = client.head.partition(b"\r\n\r\n")[2]
        for marker, answer in self.dialect.greeting(client.number, client.robot):
            if marker in client.head:
                client.head = client.head.partition(marker)[2]
                self.write(client, answer)
        if self.dialect.admitted in client.head:
            client.admitted, client.head = True, b""
            self.on_admitted(client)
        elif b'"error"' in client.head:
            if self.reconnect:
                self.refused += 1
                self._ended(client)
                return
            raise ConnectionError(client.head[:400].decode(errors="replace"))

    def _ended(self, client: Client) -> None:
        if client.sock is not None:
            self._by_fd.pop(client.sock.fileno(), None)
            client.sock.close()
            client.sock = None
        if not self.reconnect:
            raise ConnectionError(f"the server ended {'robot' if client.robot else 'app'} {client.number}")
        self.lost += 1
        client.admitted = False
        if self.stay_away:
            return
        client.retry_at_s = time.monotonic() + RETRY_S
        self._retries.append(client)

    def let_go(self, client: Client) -> socket.socket:
        """Look at this one's socket no more. Returns it."""
        assert client.sock is not None
        self._epoll.unregister(client.sock.fileno())
        return self._by_fd.pop(client.sock.fileno()).sock or client.sock

    def close(self) -> None:
        for client in self._by_fd.values():
            if client.sock is not None:
                client.sock.close()
        self._epoll.close()


def pairs(count: int, app_port: int, robot_port: int, first: int = 0) -> tuple[list[Client], list[Client]]:
    """Apps and their robots."""
    apps = [Client(number, False, app_port) for number in range(first, first + count)]
    robots = [Client(number, True, robot_port) for number in range(first, first + count)]
    for app, robot in zip(apps, robots, strict=True):
        app.partner, robot.partner = robot, app
    return apps, robots
