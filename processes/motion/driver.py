"""What motion holds of the machine: motors, pan and tilt, and the mark of the emergency stop."""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hardware.config import HardwareConfig
from hardware.errors import HardwareError
from hardware.link import abandon_factory
from hardware.motors import HBridgeMotors, MotorDriver
from hardware.pins import Factory, close_factory, connected, pin_factory
from hardware.servo import PulseServo, ServoDriver, servo_output


class Body(Protocol):
    """All that moves. A `hardware.link.Devices`. The motors are at zero when it is opened."""

    @property
    def motors(self) -> MotorDriver: ...

    @property
    def pan(self) -> ServoDriver: ...

    @property
    def tilt(self) -> ServoDriver: ...

    def check(self) -> None: ...

    def close(self) -> None: ...

    def abandon(self) -> None: ...


@dataclass
class PinBody:
    """The `Body` on the header's pins."""

    motors: MotorDriver
    pan: ServoDriver
    tilt: ServoDriver
    factory: Factory

    def check(self) -> None:
        if not connected(self.factory):
            raise HardwareError("the pins no longer answer")

    def close(self) -> None:
        self.motors.close()
        self.pan.close()
        self.tilt.close()
        close_factory(self.factory)

    def abandon(self) -> None:
        abandon_factory(self.factory)


def open_body(hardware: HardwareConfig) -> PinBody:
    """Raises:
    HardwareError: the pins cannot be reached.
    """
    factory = pin_factory(hardware.pins)
    servos = hardware.servos
    try:
        return PinBody(
            HBridgeMotors(hardware.motors, factory),
            PulseServo(servos.pan, servo_output(servos.pan, servos.board, factory)),
            PulseServo(servos.tilt, servo_output(servos.tilt, servos.board, factory)),
            factory,
        )
    except HardwareError:
        abandon_factory(factory)
        raise


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
