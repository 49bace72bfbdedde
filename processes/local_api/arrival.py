"""When a request came in, which is before a thread had time for it: what drives the robot grows old from then on."""

from __future__ import annotations

import socket
import struct
import threading
import time

SO_TIMESTAMPNS = 35
"""asm-generic/socket.h: each receipt tells when the kernel got it. What a listener accepts inherits it."""
_TIMESPEC = struct.Struct("@ll")

_of_this_thread = threading.local()


def receive(sock: socket.socket, size: int, not_before_s: float, flags: int = 0) -> tuple[bytes, float]:
    """Receive at most `size` bytes; and when the kernel got them, in s of CLOCK_MONOTONIC: now where it has no stamp.

    Threads that wait for each other make a burst of commands look as if it came one by one; the kernel knows better.

    Args:
        not_before_s: when they were not there yet. The stamp is of the wall clock, which may have jumped since.
        flags: of recv(2).
    """
    data, stamps, _, _ = sock.recvmsg(size, socket.CMSG_SPACE(_TIMESPEC.size), flags)
    return data, _arrival_s(stamps, not_before_s)


def waiting_since_s(sock: socket.socket, not_before_s: float) -> float:
    """When the kernel got what waits to be read from a socket; now where nothing does."""
    try:
        return receive(sock, 1, not_before_s, socket.MSG_PEEK | socket.MSG_DONTWAIT)[1]
    except OSError:  # whoever reads it gets the same
        return time.monotonic()


def _arrival_s(stamps: list[tuple[int, int, bytes]], not_before_s: float) -> float:
    now_s, now_wall_s = time.monotonic(), time.time()
    for level, kind, data in stamps:
        if (level, kind, len(data)) == (socket.SOL_SOCKET, SO_TIMESTAMPNS, _TIMESPEC.size):
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            age_s: float = now_wall_s - seconds - nanoseconds / 1e9
            return now_s - min(max(age_s, 0.0), now_s - not_before_s)
    return now_s


def mark(at_s: float) -> None:
    """The request that this thread serves next was there at `at_s` (CLOCK_MONOTONIC in s)."""
    _of_this_thread.at_s = at_s


def arrived_s() -> float:
    """When the request came in that this thread serves; now where nobody has marked it."""
    at_s: float | None = getattr(_of_this_thread, "at_s", None)
    return time.monotonic() if at_s is None else at_s
