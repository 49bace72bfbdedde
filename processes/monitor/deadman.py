"""Who restarts monitor when monitor itself hangs: the kernel.

A timer of the kernel's (timer_create(2)) sends SIGKILL to this process unless it is wound up again in time. It needs
nobody else, holds when Python is stuck with its lock held, and works on a stopped process too. supervisord then
starts another monitor, as after every death.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time

SIGEV_SIGNAL = 0
SIGEV_BYTES = 64  # sizeof(struct sigevent), sigevent(7)


class _SigEvent(ctypes.Structure):
    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signo", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("rest", ctypes.c_byte * (SIGEV_BYTES - 8 - ctypes.sizeof(ctypes.c_void_p))),
    )


class _TimeSpec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _TimerSpec(ctypes.Structure):
    _fields_ = (("interval", _TimeSpec), ("value", _TimeSpec))


class Deadman:
    """Kills this process unless `wind` is called again and again.

    Args:
        limit_s: how long it may take from one `wind` to the next. Nothing happens before the first one.

    Raises:
        OSError: the kernel gives no timer.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._timer = ctypes.c_void_p()
        event = _SigEvent(signo=signal.SIGKILL, notify=SIGEV_SIGNAL)
        self._check(self._libc.timer_create(time.CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(self._timer)))

    def wind(self) -> None:
        """`limit_s` from now on."""
        self._set(self._limit_s)

    def disarm(self) -> None:
        """Nothing happens any more, until the next `wind`."""
        self._set(0.0)

    def _set(self, delay_s: float) -> None:
        whole_s = int(delay_s)
        spec = _TimerSpec(value=_TimeSpec(whole_s, int((delay_s - whole_s) * 1e9)))
        self._check(self._libc.timer_settime(self._timer, 0, ctypes.byref(spec), None))

    def _check(self, status: int) -> None:
        if status != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"a timer of the kernel's: {os.strerror(number)}")
