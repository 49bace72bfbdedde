"""What guard does to the machine: ends a process, and brings the motor pins to zero."""

from __future__ import annotations

import logging
import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from bus.lock import lock_path, try_lock
from hardware.config import HardwareConfig
from hardware.link import OnPins
from hardware.motors import HBridgeMotors
from hardware.pins import close_factory, pin_factory

log = logging.getLogger(__name__)

DIES_WITHIN_S = 0.1
"""A process that gets SIGKILL is gone well within this, unless a disk or driver holds it in the kernel."""


class Victim(Protocol):
    """A process that guard may have to end."""

    def ended(self) -> bool:
        """Whether it has, by itself or not."""

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone, for a tenth of a second at most."""

    def close(self) -> None: ...


class PidfdVictim:
    """A `Victim` held by a pidfd, which can never come to mean another process that got the same pid."""

    def __init__(self, pidfd: int) -> None:
        self._pidfd = pidfd
        self._poll = select.poll()
        self._poll.register(pidfd, select.POLLIN)

    def ended(self) -> bool:
        return bool(self._poll.poll(0))

    def kill(self) -> None:
        try:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        except ProcessLookupError:
            return
        self._poll.poll(DIES_WITHIN_S * 1000)

    def close(self) -> None:
        os.close(self._pidfd)


def victim(pid: int, program: str) -> PidfdVictim | None:
    """A hold on the process `pid`, or None when that is not (or no longer) a Python that runs `program`."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        log.warning("pid %d beats for motion, but cannot be held: %s", pid, error)
        return None
    # Read after the pidfd was opened: what is read is then of the process that the pidfd means, or there is none.
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError as error:
        log.warning("pid %d ended at once: %s", pid, error)
        words = []
    if program.encode() not in words:
        os.close(pidfd)
        return None
    return PidfdVictim(pidfd)


class MotorPins(Protocol):
    """The motors' pins, claimed only for as long as it takes. A `hardware.link.Devices`."""

    def zero(self) -> None:
        """Bring the motors to zero and let go of the pins.

        Raises:
            HardwareError: the pins could not be written.
        """

    def check(self) -> None: ...

    def when_lost(self, call: Callable[[], None]) -> None: ...

    def close(self) -> None: ...

    def abandon(self) -> None: ...


class HeldConnection(OnPins):
    """`MotorPins` over a connection that stays open, since opening one takes too long when it matters."""

    def __init__(self, hardware: HardwareConfig) -> None:
        super().__init__(pin_factory(hardware.pins))
        self._hardware = hardware

    def zero(self) -> None:
        HBridgeMotors(self._hardware.motors, self.factory).close()

    def close(self) -> None:
        close_factory(self.factory)


class MotionsPlace:
    """Motion's place on the bus: whoever holds its lock file is the one who may drive the motors."""

    def __init__(self, run_dir: Path) -> None:
        self._path = lock_path(run_dir, "motion")

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Take motion's place, so that a new motion waits; False when one has it already."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield try_lock(descriptor)
        finally:
            os.close(descriptor)
