"""The pixels' way out: WS2812 bytes over SPI 0, or an RGB LED instead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import pigpio
from gpiozero.pins.pigpio import PiGPIOFactory

from hardware.config import LedsConfig
from hardware.errors import hardware_errors
from hardware.pins import Factory
from hardware.rgb import RgbLed
from hardware.ws2812 import Rgb, encode

_SPI_CHANNEL = 0
_LEAVE_CHIP_SELECTS = 0b11 << 5
"""pigpio's SPI flags u0 and u1: the chip selects, GPIO 8 and GPIO 7, stay what they are. 7 is the treat beam."""
_PI_SPI_SLOTS = 32
"""How many SPI handles pigpio's daemon has; they outlive the client that opened them."""


class SpiBus(Protocol):
    """The MOSI line."""

    def write(self, data: bytes) -> None:
        """Shift the bytes out, in one go.

        Raises:
            HardwareError: they could not be.
        """

    def close(self) -> None:
        """Give the line back.

        Raises:
            HardwareError: it could not be.
        """


class PixelDriver(Protocol):
    """A strip of pixels."""

    def show(self, pixels: Sequence[Rgb]) -> None:
        """Show these colours, 0–255 each before the strip's brightness; pixels beyond them go dark.

        Raises:
            ValueError: more pixels than the strip has, or a colour out of range.
            HardwareError: the strip could not be reached.
        """

    def close(self) -> None:
        """Go dark, and give the line back.

        Raises:
            HardwareError: the strip could not be reached.
        """


class PigpioSpi:
    """SPI through pigpio's daemon (or the simulator)."""

    def __init__(self, factory: PiGPIOFactory, spi_hz: int) -> None:
        self._factory = factory
        with hardware_errors("open SPI"):
            self._handle = self._open(spi_hz)

    def _open(self, spi_hz: int) -> int:
        try:
            return int(self._factory.connection.spi_open(_SPI_CHANNEL, spi_hz, _LEAVE_CHIP_SELECTS))
        except pigpio.error as error:
            if error.value != pigpio.error_text(pigpio.PI_NO_HANDLE):
                raise
        # A killed owner's handle stays open for ever; the pixels are the only user of SPI, so all of them are ours.
        for handle in range(_PI_SPI_SLOTS):
            self._factory.connection.spi_close(handle)
        return int(self._factory.connection.spi_open(_SPI_CHANNEL, spi_hz, _LEAVE_CHIP_SELECTS))

    def write(self, data: bytes) -> None:
        with hardware_errors("write to SPI"):
            self._factory.connection.spi_write(self._handle, data)

    def close(self) -> None:
        with hardware_errors("close SPI"):
            self._factory.connection.spi_close(self._handle)


class LgpioSpi:
    """SPI through the kernel's /dev/spidevN.0, on a Pi N is 0.

    The kernel's driver takes GPIO 7 and 8 for chip selects unless the firmware is told otherwise:
    `dtoverlay=spi0-0cs` in /boot/firmware/config.txt leaves 7 to the treat beam.
    """

    def __init__(self, spi_hz: int, spi_bus: int = 0) -> None:
        import lgpio  # installed on a Pi only

        self._lgpio = lgpio
        with hardware_errors(f"open /dev/spidev{spi_bus}.{_SPI_CHANNEL}"):
            self._handle = lgpio.spi_open(spi_bus, _SPI_CHANNEL, spi_hz, 0)

    def write(self, data: bytes) -> None:
        with hardware_errors("write to SPI"):
            self._lgpio.spi_write(self._handle, data)

    def close(self) -> None:
        with hardware_errors("close SPI"):
            self._lgpio.spi_close(self._handle)


class SpiPixels:
    """The `PixelDriver` of a WS2812 strip on an SPI data line. Dark once it is constructed."""

    def __init__(self, leds: LedsConfig, bus: SpiBus) -> None:
        self._leds = leds
        self._bus = bus
        self.show([])

    def show(self, pixels: Sequence[Rgb]) -> None:
        count = self._leds.pixels
        if len(pixels) > count:
            raise ValueError(f"{len(pixels)} pixels are too many: the strip has {count}")
        dark: list[Rgb] = [(0, 0, 0)] * (count - len(pixels))
        self._bus.write(encode([*pixels, *dark], self._leds.brightness))

    def close(self) -> None:
        self.show([])
        self._bus.close()


def pixel_driver(leds: LedsConfig, factory: Factory) -> PixelDriver:
    """The strip or the RGB LED, over the same way to the pins as everything else.

    Raises:
        HardwareError: SPI could not be opened, or the pixels could not be made dark.
    """
    if leds.driver == "rgb":
        return RgbLed(leds, factory)
    if isinstance(factory, PiGPIOFactory):
        return SpiPixels(leds, PigpioSpi(factory, leds.spi_hz))
    return SpiPixels(leds, LgpioSpi(leds.spi_hz, leds.spi_bus))
