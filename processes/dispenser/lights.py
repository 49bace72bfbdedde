"""Shows a pattern or a colour: 30 frames a second while it moves, nothing to do while it does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from bus.base import Bus, Timer
from contract.commands import Led
from contract.units import LedPattern
from hardware.errors import HardwareError
from hardware.spi import PixelDriver
from hardware.ws2812 import Rgb
from processes.dispenser import leds


class Tube(Protocol):
    """The blue tube."""

    def set(self, level: float) -> None:
        """Brightness 0–1.

        Raises:
            HardwareError: the pin could not be written.
        """

    def close(self) -> None: ...


class Lights:
    """What is shown, on the pixels and tube that are there at the moment.

    Args:
        pixels: how many there are.
        failed: told when they could not be reached.
    """

    def __init__(self, bus: Bus, pixels: int, frame_hz: int, failed: Callable[[HardwareError], None]) -> None:
        self._bus = bus
        self._count = pixels
        self._period_s = 1 / frame_hz
        self._failed = failed
        self._strip: PixelDriver | None = None
        self._tube: Tube | None = None
        self._pattern: LedPattern = "off"
        self._colour: Rgb | None = None
        self._since_s = bus.now()
        self._timer: Timer | None = None

    @property
    def shown(self) -> str:
        """The pattern's name, or the colour as `#rrggbb`."""
        return self._pattern if self._colour is None else "#{:02x}{:02x}{:02x}".format(*self._colour)

    def attach(self, strip: PixelDriver | None, tube: Tube | None) -> None:
        """Show it on these from now on; None: they are gone."""
        self._strip, self._tube = strip, tube
        self._begin()

    def show(self, led: Led) -> None:
        """Change what is shown: the colour when there is one, else the pattern."""
        if led.r is not None and led.g is not None and led.b is not None:
            self._colour = (led.r, led.g, led.b)
        else:
            assert led.pattern is not None
            self._pattern, self._colour = led.pattern, None
        self._since_s = self._bus.now()
        self._begin()

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._strip is None:
            return
        self._draw()
        if self._colour is None and self._pattern not in leds.STEADY:
            self._timer = self._bus.every(self._period_s, self._draw)

    def _draw(self) -> None:
        if self._strip is None or self._tube is None:
            return
        t_s = self._bus.now() - self._since_s
        try:
            if self._colour is None:
                self._strip.show(leds.frame(self._pattern, t_s, self._count))
                self._tube.set(leds.tube(self._pattern, t_s))
            else:
                self._strip.show([self._colour] * self._count)
                self._tube.set(0.0)
        except HardwareError as error:
            self._failed(error)
