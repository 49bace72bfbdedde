"""Servos: pan and tilt of the camera, and the carousel's continuous rotation."""

from __future__ import annotations

from typing import Protocol

from gpiozero import Servo

from hardware.config import ServoConfig
from hardware.errors import hardware_errors
from hardware.pins import Factory

FRAME_US = 20_000
"""A servo gets a pulse every 20 ms."""

_NARROWEST_US = 300
_WIDEST_US = 2700
_HALF_STEP_US = 1
"""gpiozero truncates to 2 µs (10 000 steps of 20 ms): half a step more makes that a rounding."""


def deg_to_us(servo: ServoConfig, deg: float) -> float:
    """The pulse that turns the servo to `deg`, within its pulse limits."""
    shaft_deg = (-deg if servo.inverted else deg) + servo.centre_deg
    us = servo.min_us + (shaft_deg / servo.range_deg + 0.5) * (servo.max_us - servo.min_us)
    return min(max(us, servo.min_us), servo.max_us)


def us_to_deg(servo: ServoConfig, us: float) -> float:
    """Where a pulse turns the servo to."""
    shaft_deg = ((us - servo.min_us) / (servo.max_us - servo.min_us) - 0.5) * servo.range_deg
    deg = shaft_deg - servo.centre_deg
    return -deg if servo.inverted else deg


class ServoDriver(Protocol):
    """A positional servo. It gets no pulses, and so does not jump, before the first `set_deg`."""

    def set_deg(self, deg: float) -> float:
        """Turn towards `deg`, and return the angle really asked of the servo, after its limits.

        Raises:
            HardwareError: the pin could not be written.
        """

    def release(self) -> None:
        """End the pulses: the servo stays where it is, unpowered.

        Raises:
            HardwareError: the pin could not be written.
        """

    def close(self) -> None:
        """Release, and give the pin back.

        Raises:
            HardwareError: the pin could not be written.
        """


class SpinDriver(Protocol):
    """A continuous-rotation servo: the pulse is a speed, its middle means standing still."""

    def set_us(self, us: float) -> float:
        """Turn, and return the pulse really applied, in µs.

        Raises:
            HardwareError: the pin could not be written.
        """

    def release(self) -> None:
        """End the pulses: it stands still.

        Raises:
            HardwareError: the pin could not be written.
        """

    def close(self) -> None:
        """Release, and give the pin back.

        Raises:
            HardwareError: the pin could not be written.
        """


class ContinuousServo:
    """The `SpinDriver` on a pin of the header.

    Raises:
        HardwareError: the pin could not be taken.
    """

    def __init__(self, gpio: int, factory: Factory) -> None:
        with hardware_errors(f"take servo pin {gpio}"):
            self._servo = Servo(
                gpio,
                initial_value=None,
                min_pulse_width=_NARROWEST_US / 1e6,
                max_pulse_width=_WIDEST_US / 1e6,
                frame_width=FRAME_US / 1e6,
                pin_factory=factory,
            )
        self._gpio = gpio

    def set_us(self, us: float) -> float:
        applied = min(max(us, 400.0), 2600.0)
        share = (applied + _HALF_STEP_US - _NARROWEST_US) / (_WIDEST_US - _NARROWEST_US)
        with hardware_errors(f"set servo pin {self._gpio}"):
            self._servo.value = 2 * share - 1
        return applied

    def release(self) -> None:
        with hardware_errors(f"release servo pin {self._gpio}"):
            self._servo.value = None

    def close(self) -> None:
        with hardware_errors(f"give servo pin {self._gpio} back"):
            self._servo.close()


class PulseServo:
    """The `ServoDriver` on a pin of the header.

    Raises:
        HardwareError: the pin could not be taken.
    """

    def __init__(self, servo: ServoConfig, factory: Factory) -> None:
        self._config = servo
        self._pulse = ContinuousServo(servo.gpio, factory)

    def set_deg(self, deg: float) -> float:
        limit = self._config.limit_deg
        us = deg_to_us(self._config, min(max(deg, -limit), limit))
        self._pulse.set_us(us)
        return us_to_deg(self._config, us)

    def release(self) -> None:
        self._pulse.release()

    def close(self) -> None:
        self._pulse.close()
