"""What motion holds of the machine: motors, pan and tilt, and the mark of the emergency stop."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hardware.config import HardwareConfig
from hardware.errors import HardwareError
from hardware.link import abandon_factory
from hardware.motors import HBridgeMotors, MotorDriver
from hardware.pins import Factory, close_factory, connected, pin_factory
from hardware.servo import PulseServo, ServoDriver


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
    try:
        return PinBody(
            HBridgeMotors(hardware.motors, factory),
            PulseServo(hardware.servos.pan, factory),
            PulseServo(hardware.servos.tilt, factory),
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
