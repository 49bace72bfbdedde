"""A socket that connects to one place and stays with it, whatever comes from there.

ZeroMQ connects again by itself when the other side goes away. When the other side breaks the protocol instead (a
message over MAXMSGSIZE, a garbled handshake), it gives that place up for good, and the socket would be deaf for ever.
So a connection that was lost and does not come back soon is made anew, whatever the cause.
"""

from __future__ import annotations

import contextlib
import errno
import struct
from collections.abc import Callable

import zmq

from bus.base import Timer
from bus.readiness import Readiness

ANEW_AFTER_S = 0.2
"""ZeroMQ tries every 10 ms: what is not back by then is either not there, or given up."""

_NOBLOCK = int(zmq.NOBLOCK)


def stay_connected(
    socket: zmq.Socket[bytes],
    endpoint: str,
    readiness: Readiness,
    call_later: Callable[[float, Callable[[], None]], Timer],
    on_lost: Callable[[], None],
) -> None:
    """Connect, and connect again where ZeroMQ would not.

    Args:
        on_lost: called when a connection has ended. It takes what has come in by then: connecting anew would lose it.
    """
    monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECTED)
    waiting: list[Timer] = []

    def read_events() -> bool:
        lost = False
        with contextlib.suppress(zmq.Again):
            while True:
                event, _ = struct.unpack("=HI", monitor.recv_multipart(_NOBLOCK)[0])
                while waiting:
                    waiting.pop().cancel()
                if event == zmq.EVENT_DISCONNECTED:
                    lost = True
                    waiting.append(call_later(ANEW_AFTER_S, connect_anew))
        if lost:
            on_lost()
        return False

    def connect_anew() -> None:
        waiting.clear()
        try:
            socket.disconnect(endpoint)
        except zmq.ZMQError as error:
            if error.errno != errno.ENOENT:  # it was given up
                raise
        socket.connect(endpoint)

    readiness.watch(monitor, read_events)
    socket.connect(endpoint)
