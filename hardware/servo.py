"""Servos: pan and tilt of the camera, and the carousel's continuous rotation."""

from __future__ import annotations

from typing import Protocol

from gpiozero import Servo

from hardware.config import CarouselConfig, ServoBoardConfig, ServoConfig
from hardware.errors import hardware_errors
from hardware.pca9685 import ServoBoard, servo_board
from hardware.pins import Factory

FRAME_US = 20_000
"""A servo gets a pulse every 20 ms."""

_NARROWEST_US = 300
_WIDEST_US = 2700
_PULSES_US = (400.0, 2600.0)
"""What a servo may be sent at all."""


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
        self._half_step_us: float = factory.half_step_us

    def set_us(self, us: float) -> float:
        applied = _possible(us)
        share = (applied + self._half_step_us - _NARROWEST_US) / (_WIDEST_US - _NARROWEST_US)
        with hardware_errors(f"set servo pin {self._gpio}"):
            self._servo.value = 2 * share - 1
        return applied

    def release(self) -> None:
        with hardware_errors(f"release servo pin {self._gpio}"):
            self._servo.value = None

    def close(self) -> None:
        with hardware_errors(f"give servo pin {self._gpio} back"):
            self._servo.close()


class BoardOutput:
    """The `SpinDriver` on an output of a PCA9685; its pulses are over once it is constructed.

    Raises:
        HardwareError: the board does not answer.
    """

    def __init__(self, channel: int, board: ServoBoard) -> None:
        self._channel = channel
        self._board = board
        board.off(channel)

    def set_us(self, us: float) -> float:
        return self._board.set_us(self._channel, _possible(us))

    def release(self) -> None:
        self._board.off(self._channel)

    def close(self) -> None:
        self.release()
        self._board.close()


def _possible(us: float) -> float:
    narrowest, widest = _PULSES_US
    return min(max(us, narrowest), widest)


def servo_output(servo: ServoConfig | CarouselConfig, board: ServoBoardConfig, factory: Factory) -> SpinDriver:
    """Where a servo's pulses come from, as it is wired: a pin of the header, or the servo board.

    Raises:
        HardwareError: the pin could not be taken, or the board does not answer.
    """
    if servo.driver == "pca9685":
        assert servo.channel is not None
        return BoardOutput(servo.channel, servo_board(board, factory))
    assert servo.gpio is not None
    return ContinuousServo(servo.gpio, factory)


class PulseServo:
    """The `ServoDriver` of a servo whose pulses come from `output`."""

    def __init__(self, servo: ServoConfig, output: SpinDriver) -> None:
        self._config = servo
        self._pulse = output

    def set_deg(self, deg: float) -> float:
        limit = self._config.limit_deg
        us = deg_to_us(self._config, min(max(deg, -limit), limit))
        self._pulse.set_us(us)
        return us_to_deg(self._config, us)

    def release(self) -> None:
        self._pulse.release()

    def close(self) -> None:
        self._pulse.close()
