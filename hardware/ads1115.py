"""The ADS1115: a 16-bit analogue-to-digital converter on I²C. "Datasheet" is TI's SBAS444."""

from __future__ import annotations

import time
from collections.abc import Callable

from hardware.config import BatteryConfig
from hardware.errors import HardwareError
from hardware.i2c import I2cDevice, i2c_device
from hardware.pins import Factory

CONVERSION, CONFIG = 0x00, 0x01
"""Registers, 16 bits each, high byte first (datasheet)."""

START = 0x8000
"""Bit OS of CONFIG. Written: begin a conversion. Read: none is under way."""
AGAINST_GROUND = 0x4000
"""MUX 100: input 0 against ground; the number of the input is added at bit 12."""
UP_TO_4_096_V = 0x0200
"""PGA 001."""
SINGLE_SHOT = 0x0100
"""MODE: one conversion, then sleep. A chip that lost its settings in a brown-out gets them anew with each one."""
SAMPLES_128_HZ = 0x0080
"""DR 100."""
NO_COMPARATOR = 0x0003

FULL_SCALE_V = 4.096
STEPS = 32768
CONVERSION_S = 1 / 128
LONGEST_S = 5 * CONVERSION_S
"""The data rate is right to 10 % (datasheet); the rest is for a slow bus."""


class Ads1115:
    """One input of the chip, against ground.

    Args:
        sleep, clock: of the machine; CLOCK_MONOTONIC in seconds.
    """

    def __init__(
        self,
        channel: int,
        device: I2cDevice,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._device = device
        self._sleep = sleep
        self._clock = clock
        self._word = AGAINST_GROUND | channel << 12 | UP_TO_4_096_V | SINGLE_SHOT | SAMPLES_128_HZ | NO_COMPARATOR

    def volts(self) -> float:
        """What is at the input now, 0 to 4.096 V. Takes about 10 ms.

        Raises:
            HardwareError: it does not answer, is another chip, or has more at its input than it can measure.
        """
        self._device.write(CONFIG, (START | self._word).to_bytes(2, "big"))
        end = self._clock() + LONGEST_S
        self._sleep(CONVERSION_S)
        while not self._ready():
            if self._clock() > end:
                raise HardwareError("the ADS1115 began a conversion and does not end it: check its supply")
            self._sleep(CONVERSION_S / 4)
        steps = self._device.read_word(CONVERSION)
        if steps == STEPS - 1:
            raise HardwareError(
                f"more than {FULL_SCALE_V} V at the ADS1115: take the battery off it, and check the voltage divider"
            )
        return max(0, steps - 2 * STEPS if steps >= STEPS else steps) * FULL_SCALE_V / STEPS

    def _ready(self) -> bool:
        word = self._device.read_word(CONFIG)
        if word & ~START != self._word:
            raise HardwareError(
                f"what answers is set to 0x{word:04x} after 0x{self._word:04x} was written: it is no ADS1115, or it "
                "was reset; check battery.address and its supply"
            )
        return bool(word & START)

    def close(self) -> None:
        """Let go of the bus.

        Raises:
            HardwareError: the way to the bus is gone.
        """
        self._device.close()


def battery_adc(config: BatteryConfig, factory: Factory) -> Ads1115:
    """The converter as it is wired. Whether it is there shows when it is asked.

    Raises:
        HardwareError: there is no such bus.
    """
    return Ads1115(config.channel, i2c_device(factory, config.i2c_bus, config.address))
