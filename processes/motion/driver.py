"""What motion holds of the machine: motors, pan and tilt, the processes that commands come in by, and its files."""

from __future__ import annotations

import logging
import math
import os
import select
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hardware.config import HardwareConfig
from hardware.errors import HardwareError
from hardware.link import OnPins
from hardware.motors import HBridgeMotors, MotorDriver
from hardware.pins import abandon_factory, close_factory, pin_factory
from hardware.servo import PulseServo, ServoDriver, servo_output

log = logging.getLogger(__name__)


class Drive(Protocol):
    """The motors. A `hardware.link.Devices`; they are at zero when it is opened."""

    @property
    def motors(self) -> MotorDriver: ...

    def check(self) -> None: ...

    def when_lost(self, call: Callable[[], None]) -> None: ...

    def close(self) -> None: ...

    def abandon(self) -> None: ...


class Doors(Protocol):
    """The processes by which commands come in from outside."""

    def follow(self, name: str, pid: int) -> None:
        """It beats, and has this pid."""

    def ended(self) -> list[str]:
        """Those that have ended since the last look."""


class Head(Protocol):
    """Pan and tilt. A `hardware.link.Devices` of its own: servos that cannot be reached keep no motor from stopping."""

    @property
    def pan(self) -> ServoDriver: ...

    @property
    def tilt(self) -> ServoDriver: ...

    def check(self) -> None: ...

    def when_lost(self, call: Callable[[], None]) -> None: ...

    def close(self) -> None: ...

    def abandon(self) -> None: ...


@dataclass
class PinDrive(OnPins):
    """The `Drive` on the header's pins."""

    motors: MotorDriver

    def close(self) -> None:
        self.motors.close()
        close_factory(self.factory)


@dataclass
class PinHead(OnPins):
    """The `Head` on the header's pins, or on a servo board."""

    pan: ServoDriver
    tilt: ServoDriver

    def close(self) -> None:
        self.pan.close()
        self.tilt.close()
        close_factory(self.factory)


def open_drive(hardware: HardwareConfig) -> PinDrive:
    """Raises:
    HardwareError: the pins cannot be reached.
    """
    factory = pin_factory(hardware.pins)
    try:
        return PinDrive(factory, HBridgeMotors(hardware.motors, factory))
    except HardwareError:
        abandon_factory(factory)
        raise


def open_head(hardware: HardwareConfig) -> PinHead:
    """Raises:
    HardwareError: the pins, or the servo board, cannot be reached.
    """
    factory = pin_factory(hardware.pins)
    servos = hardware.servos
    try:
        return PinHead(
            factory,
            PulseServo(servos.pan, servo_output(servos.pan, servos.board, factory)),
            PulseServo(servos.tilt, servo_output(servos.tilt, servos.board, factory)),
        )
    except HardwareError:
        abandon_factory(factory)
        raise


class PidfdDoors:
    """The processes by which commands come in, held by pidfds: their end is known at the next look, not by silence."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._held: dict[str, tuple[int, int]] = {}

    def follow(self, name: str, pid: int) -> None:
        """It beats, and has this pid."""
        known = self._held.get(name)
        if known is not None and known[0] == pid:
            return
        try:
            pidfd = os.pidfd_open(pid)
        except OSError as error:
            log.warning("%s (pid %d) cannot be held: %s", name, pid, error)
            return
        self._let_go(name)
        self._held[name] = (pid, pidfd)
        self._poll.register(pidfd, select.POLLIN)

    def ended(self) -> list[str]:
        """Those that have ended since the last look."""
        over = {pidfd for pidfd, _ in self._poll.poll(0)}
        names = [name for name, (_, pidfd) in self._held.items() if pidfd in over]
        for name in names:
            self._let_go(name)
        return names

    def _let_go(self, name: str) -> None:
        held = self._held.pop(name, None)
        if held is not None:
            self._poll.unregister(held[1])
            os.close(held[1])


class LatchFile:
    """The emergency stop, kept as a file: a restart is no release."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def is_set(self) -> bool:
        return self._path.exists()

    def put(self, latched: bool) -> None:
        """Set or clear it, so that it outlives this process.

        Raises:
            OSError: the disk does not take it.
        """
        if latched:
            self._path.touch()
        else:
            self._path.unlink(missing_ok=True)

    def sync(self) -> None:
        """Make it outlive a power cut too. May take as long as the disk likes.

        Raises:
            OSError: the disk does not take it.
        """
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


class HeadFile:
    """Where pan and tilt were sent last, in degrees, so that the next motion goes on from there."""

    _FORMAT = struct.Struct("<2d")

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> tuple[float, float]:
        """Straight ahead where nothing is kept, or what is kept is no two angles.

        Raises:
            OSError: the disk does not give it.
        """
        try:
            kept = self._path.read_bytes()
        except FileNotFoundError:
            return (0.0, 0.0)
        if len(kept) != self._FORMAT.size:
            return (0.0, 0.0)
        pan_deg, tilt_deg = self._FORMAT.unpack(kept)
        return (pan_deg, tilt_deg) if math.isfinite(pan_deg) and math.isfinite(tilt_deg) else (0.0, 0.0)

    def write(self, pan_deg: float, tilt_deg: float) -> None:
        """Keep it through the end of this process. It is not synced: that would take too long, fifty times a second.

        Raises:
            OSError: the disk does not take it.
        """
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.pwrite(descriptor, self._FORMAT.pack(pan_deg, tilt_deg), 0)
            os.ftruncate(descriptor, self._FORMAT.size)
        finally:
            os.close(descriptor)
