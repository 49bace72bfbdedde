"""The PCA9685: sixteen servo outputs on I²C. "Datasheet" is NXP's.

The chip holds its last pulses when its owner dies, as pigpio's daemon does. Two processes may each own some of its
outputs: whoever comes second leaves a chip that runs as it should as it is.
"""

from __future__ import annotations

import logging
import time

from hardware.config import ServoBoardConfig
from hardware.errors import HardwareError
from hardware.i2c import I2cDevice, i2c_device
from hardware.pins import Factory

log = logging.getLogger(__name__)

MODE1, MODE2, LED0, ALL_LED, PRE_SCALE = 0x00, 0x01, 0x06, 0xFA, 0xFE
"""Registers (datasheet). An output has four: ON low and high byte, OFF low and high byte."""
SLEEP, AUTO_INCREMENT = 0x10, 0x20
"""Bits of MODE1. A block is written into consecutive registers only with AUTO_INCREMENT."""
TOTEM_POLE = 0x04
"""Bit OUTDRV of MODE2: outputs drive both ways, as a servo's input wants."""
FULL_OFF = 0x10
"""Bit 4 of an OFF high byte; it wins over everything else."""
STEPS = 4096
SERVO_HZ = 50
WAKES_WITHIN_S = 0.0005
"""The oscillator runs 500 µs after SLEEP was cleared (section 7.3.1.1)."""

_OFF = bytes((0, 0, 0, FULL_OFF))


def prescale(oscillator_hz: float, hz: float = SERVO_HZ) -> int:
    """PRE_SCALE for an output frequency, 3–255 (datasheet, equation 1): round(oscillator / (4096 × rate)) − 1."""
    return min(max(round(oscillator_hz / (STEPS * hz)) - 1, 3), 255)


def step_us(oscillator_hz: float) -> float:
    """How long one of the 4096 steps is at servo frequency, µs: 4.88 at 25 MHz."""
    return (prescale(oscillator_hz) + 1) / oscillator_hz * 1e6


class ServoBoard:
    """A PCA9685 at servo frequency. The outputs' pulses are what they were; see `off`.

    Raises:
        HardwareError: it does not answer.
    """

    def __init__(self, config: ServoBoardConfig, device: I2cDevice) -> None:
        self._device = device
        self._step_us = step_us(config.oscillator_hz)
        self._prescale = prescale(config.oscillator_hz)
        try:
            if not self._runs():
                self._start()
        except HardwareError as error:
            device.close()
            raise HardwareError(
                f"no PCA9685 answers at 0x{config.address:02x} on I²C bus {config.i2c_bus} ({error}): switch I²C on, "
                "check power, SDA and SCL, and servos.board.address"
            ) from error

    def set_us(self, channel: int, us: float) -> float:
        """Pulses of this width on an output; returns the width really set, at most half a step away.

        Raises:
            HardwareError: it does not answer.
        """
        if not self._is_awake():  # it forgets everything in a brown-out, which servos are good at making
            log.warning("the servo board had lost its settings: it is started anew")
            self._start()
        steps = min(max(round(us / self._step_us), 1), STEPS - 1)
        self._device.write(LED0 + 4 * channel, bytes((0, 0, steps & 0xFF, steps >> 8)))
        return steps * self._step_us

    def off(self, channel: int) -> None:
        """No more pulses on an output.

        Raises:
            HardwareError: it does not answer.
        """
        if self._is_awake():  # otherwise there are none
            self._device.write(LED0 + 4 * channel, _OFF)

    def close(self) -> None:
        """Let go of the bus. The chip goes on as it is: others may have outputs of it.

        Raises:
            HardwareError: the way to the bus is gone.
        """
        self._device.close()

    def _runs(self) -> bool:
        """Whether it makes pulses, and of servo frequency."""
        return self._is_awake() and self._device.read(PRE_SCALE) == self._prescale

    def _is_awake(self) -> bool:
        """Whether it makes pulses and takes blocks; a chip that comes out of a reset does neither."""
        return self._device.read(MODE1) & (SLEEP | AUTO_INCREMENT) == AUTO_INCREMENT

    def _start(self) -> None:
        """No pulses, then servo frequency. PRE_SCALE can be written only while the chip sleeps (section 7.3.5)."""
        self._device.write(ALL_LED + 3, bytes((FULL_OFF,)))
        self._device.write(MODE1, bytes((AUTO_INCREMENT | SLEEP,)))
        self._device.write(PRE_SCALE, bytes((self._prescale,)))
        self._device.write(MODE2, bytes((TOTEM_POLE,)))
        self._device.write(MODE1, bytes((AUTO_INCREMENT,)))
        time.sleep(WAKES_WITHIN_S)


def servo_board(config: ServoBoardConfig, factory: Factory) -> ServoBoard:
    """The board as it is wired.

    Raises:
        HardwareError: it does not answer.
    """
    return ServoBoard(config, i2c_device(factory, config.i2c_bus, config.address))
