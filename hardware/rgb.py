"""One RGB LED on three pins, in place of a strip of pixels."""

from __future__ import annotations

from collections.abc import Sequence

from gpiozero import PWMLED

from hardware.config import LedsConfig
from hardware.errors import hardware_errors
from hardware.pins import Factory
from hardware.ws2812 import Rgb

PWM_HZ = 200
"""Above what people and dogs see flicker; slow enough for pulses that software makes."""


class RgbLed:
    """A `PixelDriver` (hardware.spi) that shows the first pixel. Dark once it is constructed.

    Raises:
        HardwareError: the pins could not be taken.
    """

    def __init__(self, leds: LedsConfig, factory: Factory) -> None:
        self._brightness = leds.brightness
        with hardware_errors("take the RGB LED's pins"):
            self._colours = [
                PWMLED(gpio, active_high=leds.rgb.common == "cathode", frequency=PWM_HZ, pin_factory=factory)
                for gpio in (leds.rgb.red, leds.rgb.green, leds.rgb.blue)
            ]

    def show(self, pixels: Sequence[Rgb]) -> None:
        if len(pixels) > 1:
            raise ValueError(f"{len(pixels)} pixels are too many: the RGB LED is 1")
        pixel = pixels[0] if pixels else (0, 0, 0)
        if not all(0 <= value <= 255 for value in pixel):
            raise ValueError(f"colour {pixel} is outside 0 to 255")
        with hardware_errors("set the RGB LED"):
            for colour, value in zip(self._colours, pixel, strict=True):
                colour.value = value / 255 * self._brightness

    def close(self) -> None:
        self.show([])
        with hardware_errors("give the RGB LED's pins back"):
            for colour in self._colours:
                colour.close()
