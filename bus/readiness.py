"""Which ZeroMQ sockets have something to read, at a cost that does not grow with their number.

`zmq_poll` asks every socket, twice: 36 µs a turn with 30 subscriptions. Each socket also has a descriptor (ZMQ_FD of
zmq_getsockopt(3)) that becomes readable when its state may have changed, and epoll looks at those alone. Its one rule:
the descriptor tells of changes, not of messages. After it was seen, and after anything was sent on the socket, the
change is forgotten; so whoever is called reads until nothing is left, or says that there is more.
"""

from __future__ import annotations

import select
from collections.abc import Callable

import zmq

MAX_EVENTS = 64
"""Told of at once; by default epoll makes room for a thousand, each time."""
POLLIN, POLLOUT = int(zmq.POLLIN), int(zmq.POLLOUT)

OnReadable = Callable[[], bool]
"""Reads what there is. True: something may be left for the next turn. False: it has seen that nothing is, and has sent
nothing on the socket since."""


def readable(socket: zmq.Socket[bytes]) -> bool:
    """Whether a message is there. A third of the price of the exception that `recv` ends with when none is."""
    return bool(int(socket.getsockopt(zmq.EVENTS)) & POLLIN)


class Readiness:
    """Calls for those who have something to read."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._calls: dict[int, OnReadable] = {}
        self._sockets: dict[int, zmq.Socket[bytes]] = {}
        self._again: dict[int, int] = {}

    def watch_fd(self, descriptor: int, call: OnReadable) -> None:
        """Call when a plain descriptor is readable."""
        self._calls[descriptor] = call
        self._epoll.register(descriptor, select.EPOLLIN)

    def watch(self, socket: zmq.Socket[bytes], call: OnReadable) -> int:
        """Call when a socket may be readable. Returns its key for `recheck`."""
        descriptor = int(socket.getsockopt(zmq.FD))
        self._sockets[descriptor] = socket
        self.watch_fd(descriptor, call)
        self.recheck(descriptor)  # what came before it was watched
        return descriptor

    def recheck(self, key: int, events: int = POLLIN) -> None:
        """Something was sent on the socket, or tried: what became possible meanwhile would not be signalled."""
        self._again[key] = self._again.get(key, 0) | events

    def wait(self, timeout_s: float) -> list[int]:
        """The keys of those who may have something to read, as soon as there are any."""
        if not self._again:
            return [key for key, _ in self._epoll.poll(timeout_s, MAX_EVENTS)]
        again, self._again = self._again, {}
        ready = [key for key, events in again.items() if int(self._sockets[key].getsockopt(zmq.EVENTS)) & events]
        signalled = [key for key, _ in self._epoll.poll(0 if ready else timeout_s, MAX_EVENTS)]
        return list(dict.fromkeys(ready + signalled))

    def call(self, key: int) -> None:
        """Let one of them read."""
        if self._calls[key]():
            self.recheck(key)
        elif events := self._again.pop(key, 0) & ~POLLIN:
            self._again[key] = events

    def close(self) -> None:
        self._epoll.close()
