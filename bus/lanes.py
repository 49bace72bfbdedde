"""The ways to other processes' requests and stops. All of it belongs to the bus's loop."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zmq

from bus import codec
from bus.codec import Request
from bus.connection import stay_connected
from bus.endpoint import Asker
from bus.readiness import POLLIN, POLLOUT, Readiness, readable
from bus.timers import Call
from bus.topics import DEFAULT_QUEUE

BATCH = 64
"""Messages taken from one socket before the others get their turn, unless a timer is due before."""
_NOBLOCK = int(zmq.NOBLOCK)


@dataclass
class _Lane:
    """The way to one process's requests, or to its stops. `waiting`: deadline, nonce and bytes of those that it was
    not yet there for."""

    socket: zmq.Socket[bytes]
    key: int = 0
    waiting: deque[tuple[int, int, bytes]] = field(default_factory=lambda: deque(maxlen=DEFAULT_QUEUE))


class Lanes:
    """Sends requests, and hands their answers to the asker.

    Args:
        new_socket: makes a socket of a ZeroMQ type, with the bus's settings.
        call_later: calls after some seconds.
    """

    def __init__(
        self,
        run_dir: Path,
        asker: Asker,
        counters: Counter[str],
        readiness: Readiness,
        new_socket: Callable[[int], zmq.Socket[bytes]],
        call_later: Callable[[float, Call], Any],
    ) -> None:
        self._run_dir, self._asker, self._counters = run_dir, asker, counters
        self._readiness, self._new_socket, self._call_later = readiness, new_socket, call_later
        self._lanes: dict[str, _Lane] = {}

    def send(self, name: str, request: Request[Any]) -> None:
        """Send it now, or as soon as who serves there is reached; not after its deadline.

        Args:
            name: of the lane, `motion.req` or `motion.stop`.
        """
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = self._connect(name)
        if len(lane.waiting) == DEFAULT_QUEUE:
            self._counters["bus.waiting_dropped"] += 1  # the oldest; its promise ends at its deadline
        lane.waiting.append((request.deadline_ns, request.nonce, codec.encode_request(request)))
        self._send_waiting(lane)

    def _connect(self, name: str) -> _Lane:
        socket = self._new_socket(zmq.DEALER)
        socket.setsockopt(zmq.IMMEDIATE, 1)  # nothing waits inside ZeroMQ for a server that is down
        lane = _Lane(socket)
        lane.key = self._readiness.watch(socket, lambda: self._ready(lane))
        endpoint = f"ipc://{self._run_dir / name}"
        stay_connected(socket, endpoint, self._readiness, self._call_later, on_lost=lambda: self._lost(name, lane))
        return lane

    def _ready(self, lane: _Lane) -> bool:
        if lane.waiting:
            self._send_waiting(lane)
        return self._take_answers(lane)

    def _take_answers(self, lane: _Lane) -> bool:
        for _ in range(BATCH):
            try:
                raw = lane.socket.recv(_NOBLOCK)
            except zmq.Again:
                return False
            self._asker.answered(raw, time.monotonic_ns())
            if not readable(lane.socket):
                return False
        return True

    def _lost(self, name: str, lane: _Lane) -> None:
        """The process at the other end is gone: what it has answered counts, what it has not is over."""
        while self._take_answers(lane):
            pass
        self._asker.lost(name, {nonce for _, nonce, _ in lane.waiting})

    def _send_waiting(self, lane: _Lane) -> None:
        """Send what can be sent; what is over its deadline is dropped here, its promise ends in `expire`."""
        waiting = lane.waiting
        while waiting:
            deadline_ns, _, raw = waiting[0]
            if time.monotonic_ns() <= deadline_ns:
                try:
                    lane.socket.send(raw, _NOBLOCK)
                except zmq.Again:
                    self._readiness.recheck(lane.key, POLLIN | POLLOUT)
                    return
            waiting.popleft()
        self._readiness.recheck(lane.key)
