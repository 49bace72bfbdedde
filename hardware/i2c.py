"""Chips on the I²C bus, over the same way to the machine as the pins: pigpio's daemon or the kernel."""

from __future__ import annotations

from typing import Protocol

import pigpio
from gpiozero.pins.pigpio import PiGPIOFactory

from hardware.errors import hardware_errors
from hardware.pins import Factory

_PI_I2C_SLOTS = 512
"""How many I²C handles pigpio's daemon has; they outlive the client that opened them."""


class I2cDevice(Protocol):
    """One chip, whose registers are numbered 0–255."""

    def read(self, register: int) -> int:
        """One byte.

        Raises:
            HardwareError: the chip did not answer.
        """

    def read_word(self, register: int) -> int:
        """16 bits, the high byte first, of a chip whose registers are so wide.

        Raises:
            HardwareError: the chip did not answer.
        """

    def write(self, register: int, data: bytes) -> None:
        """1–32 bytes in one transaction: a chip sees all of them, or it did not answer.

        Raises:
            HardwareError: the chip did not answer.
        """

    def close(self) -> None:
        """Raises:
        HardwareError: the way to the bus is gone.
        """


class PigpioI2c:
    """Through pigpio's daemon (or the simulator), so also on a Pi elsewhere in the network."""

    def __init__(self, factory: PiGPIOFactory, bus: int, address: int) -> None:
        self._factory = factory
        self._name = f"the chip at 0x{address:02x} on I²C bus {bus}"
        with hardware_errors(f"open I²C bus {bus}"):
            self._handle = self._open(bus, address)

    def _open(self, bus: int, address: int) -> int:
        try:
            return int(self._factory.connection.i2c_open(bus, address))
        except pigpio.error as error:
            if error.value != pigpio.error_text(pigpio.PI_NO_HANDLE):
                raise
        # All are those of killed owners, but for a few: who loses a living one opens it again.
        for handle in range(_PI_I2C_SLOTS):
            self._factory.connection.i2c_close(handle)
        return int(self._factory.connection.i2c_open(bus, address))

    def read(self, register: int) -> int:
        with hardware_errors(f"read {self._name}"):
            return int(self._factory.connection.i2c_read_byte_data(self._handle, register))

    def read_word(self, register: int) -> int:
        with hardware_errors(f"read {self._name}"):
            return _swapped(int(self._factory.connection.i2c_read_word_data(self._handle, register)))

    def write(self, register: int, data: bytes) -> None:
        with hardware_errors(f"write to {self._name}"):
            self._factory.connection.i2c_write_i2c_block_data(self._handle, register, data)

    def close(self) -> None:
        with hardware_errors("close I²C"):
            self._factory.connection.i2c_close(self._handle)


class LgpioI2c:
    """Through the kernel's /dev/i2c-N."""

    def __init__(self, bus: int, address: int) -> None:
        import lgpio  # installed on a Pi only

        self._lgpio = lgpio
        self._name = f"the chip at 0x{address:02x} on I²C bus {bus}"
        with hardware_errors(f"open /dev/i2c-{bus}"):
            self._handle = lgpio.i2c_open(bus, address)

    def read(self, register: int) -> int:
        with hardware_errors(f"read {self._name}"):
            return int(self._lgpio.i2c_read_byte_data(self._handle, register))

    def read_word(self, register: int) -> int:
        with hardware_errors(f"read {self._name}"):
            return _swapped(int(self._lgpio.i2c_read_word_data(self._handle, register)))

    def write(self, register: int, data: bytes) -> None:
        with hardware_errors(f"write to {self._name}"):
            self._lgpio.i2c_write_i2c_block_data(self._handle, register, data)

    def close(self) -> None:
        with hardware_errors("close I²C"):
            self._lgpio.i2c_close(self._handle)


def _swapped(word: int) -> int:
    """SMBus takes the first byte for the low one."""
    return (word & 0xFF) << 8 | word >> 8


def i2c_device(factory: Factory, bus: int, address: int) -> I2cDevice:
    """A chip, over the same way to the machine as everything else. Whether it is there shows when it is asked.

    Raises:
        HardwareError: there is no such bus.
    """
    return PigpioI2c(factory, bus, address) if isinstance(factory, PiGPIOFactory) else LgpioI2c(bus, address)
