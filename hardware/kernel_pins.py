"""Pins through the kernel's GPIO chips: gpiozero's pins on lgpio, with what they lack.

gpiozero truncates a duty to whole per cent, which is 200 µs of a servo's pulse; here it is exact to 1 µs. It leaves a
line whose pulses end as it happens to be, high too, and a duty of zero waits for the end of a period; here the line is
low at once. It shares pins among all factories of a process, so that one that failed keeps them for ever; here it does
not. And it knows Raspberry Pis only; here the lines of other boards can be named.

lgpio (0.2.2) makes the pulses in a thread of the calling process: they end with it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from time import monotonic
from typing import Any

from gpiozero import PinPWMFixedValue, PinUnknownPi
from gpiozero.pins.local import LocalPiPin, get_pi_revision
from gpiozero.pins.pi import PiFactory

from hardware.board import is_raspberry_pi_5
from hardware.config import PinsConfig
from hardware.errors import HardwareError, hardware_errors

log = logging.getLogger(__name__)

PI_4_REVISION = 0xC03115
"""The header of a board that is no Pi is taken to be laid out like a Pi's."""


class Chip:
    """An open GPIO chip. gpiozero's pins see it as their factory: they read `_handle` there.

    Raises:
        HardwareError: it cannot be opened.
    """

    def __init__(self, number: int, lgpio: Any) -> None:
        self.lgpio = lgpio
        with hardware_errors(
            f"open /dev/gpiochip{number} (pins.chip says which; this user needs the right to read and write it)"
        ):
            self._handle: int | None = lgpio.gpiochip_open(number)

    ticks = staticmethod(monotonic)

    @property
    def is_open(self) -> bool:
        return self._handle is not None

    def close(self) -> None:
        """Its lines are free for others, and their pulses end."""
        handle, self._handle = self._handle, None
        if handle is not None:
            self.lgpio.gpiochip_close(handle)


class KernelFactory(PiFactory):  # type: ignore[misc]
    """A gpiozero factory over lgpio.

    Raises:
        HardwareError: the GPIO chip cannot be opened.
    """

    half_step_us = 0.0
    """Pulses are rounded to 1 µs already."""

    def __init__(self, pins: PinsConfig, lgpio: Any, pin_class: Any) -> None:
        super().__init__()
        self.pin_class = pin_class
        self._lgpio = lgpio
        self._lines = pins.lines
        self._chips: dict[int, Chip] = {}
        self._default = header_chip() if pins.chip is None else pins.chip
        self._chip(self._default)

    def line(self, gpio: int) -> tuple[Chip, int]:
        """The chip and the line on it that this GPIO number of the header is.

        Raises:
            HardwareError: the chip cannot be opened.
        """
        number, line = self._lines.get(gpio, (self._default, gpio))
        return self._chip(number), line

    def close(self) -> None:
        """Give the pins back, as inputs."""
        super().close()
        self.abandon()

    def abandon(self) -> None:
        """Let go of the lines as they are."""
        chips, self._chips = self._chips, {}
        for chip in chips.values():
            try:
                chip.close()
            except self._lgpio.error as error:
                log.warning("a GPIO chip could not be closed: %s", error)

    @staticmethod
    def ticks() -> float:
        return monotonic()

    @staticmethod
    def ticks_diff(later: float, earlier: float) -> float:
        return later - earlier

    def _chip(self, number: int) -> Chip:
        if number not in self._chips:
            self._chips[number] = Chip(number, self._lgpio)
        return self._chips[number]

    def _get_revision(self) -> int:
        try:
            return int(get_pi_revision())
        except PinUnknownPi:
            return PI_4_REVISION


class ExactOutput(LocalPiPin):  # type: ignore[misc]
    """Stands before gpiozero's LGPIOPin, which can be imported on a Pi only.

    `_pwm` is (frequency in Hz, duty in %) while there is a frequency.
    """

    def __init__(self, factory: KernelFactory, info: Any) -> None:
        LocalPiPin.__init__(self, factory, info)  # LGPIOPin's own would claim the line of that number
        self._factory, self._number = factory.line(int(self.info.name.removeprefix("GPIO")))
        self._lgpio = self._factory.lgpio
        self._pwm: tuple[float, float] | None = None
        self._pulsing = False
        self._bounce = None
        self._callback = None
        self._edges = self._lgpio.BOTH_EDGES
        self._lgpio.gpio_claim_input(self._factory._handle, self._number, self._lgpio.SET_PULL_NONE)

    def _set_state(self, value: float) -> None:
        if self._pwm is None:
            super()._set_state(value)
            return
        hz, _ = self._pwm
        period_us = round(1e6 / hz)
        on_us = round(float(value) * period_us)
        if 0 < on_us < period_us:
            self._lgpio.tx_pulse(self._factory._handle, self._number, on_us, period_us - on_us)
            self._pulsing = True
        else:
            self._hold(on_us > 0)
        self._pwm = (hz, 100 * on_us / period_us)

    def _set_frequency(self, value: float | None) -> None:
        if not self._factory.is_open:
            return  # a device of an abandoned factory, collected as garbage
        if value and self._pwm is not None and value == self._pwm[0]:
            return  # gpiozero's Servo says it again with every pulse
        if value:
            if self._pwm is None and self.function != "output":
                raise PinPWMFixedValue(f"cannot start PWM on pin {self!r}")
            duty = 0.0 if self._pwm is None else self._pwm[1] / 100
            self._pwm = (value, 0.0)
            self._set_state(duty)
        elif self._pwm is not None:
            self._hold(False)
            self._pwm = None

    def _hold(self, level: bool) -> None:
        """A steady line, at once."""
        if self._pulsing:  # lgpio refuses to end what was not begun
            self._lgpio.tx_pulse(self._factory._handle, self._number, 0, 0)
            self._pulsing = False
        self._lgpio.gpio_write(self._factory._handle, self._number, int(level))


def header_chip(dev: Path = Path("/dev")) -> int:
    """The chip that a Pi's header hangs on: 0; 4 on a Pi 5 with a kernel before 6.6.45.

    Later kernels have no gpiochip4, or make it a link to gpiochip0.
    """
    return 4 if is_raspberry_pi_5() and (dev / "gpiochip4").exists() else 0


def kernel_factory(pins: PinsConfig) -> KernelFactory:
    """Open the kernel's GPIO chip.

    Raises:
        HardwareError: lgpio is not installed, or the chip cannot be opened, and what to do about it.
    """
    try:
        import lgpio  # installed on a Pi only
        from gpiozero.pins.lgpio import LGPIOPin
    except ImportError as error:
        raise HardwareError(
            "pins.factory is lgpio, but lgpio is not installed: install the extra 'pi', or set pins.factory to "
            "pigpio where there is no Pi"
        ) from error
    return KernelFactory(pins, lgpio, type("KernelPin", (ExactOutput, LGPIOPin), {}))
