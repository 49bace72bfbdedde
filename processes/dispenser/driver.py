"""What the dispenser holds of the machine: carousel, beam, pixels, tube, and its witness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gpiozero import PWMLED, InputDevice

from hardware.config import HardwareConfig
from hardware.errors import HardwareError, hardware_errors
from hardware.link import OnPins
from hardware.pins import Factory, abandon_factory, close_factory, pin_factory
from hardware.servo import SpinDriver, servo_output
from hardware.spi import PixelDriver, pixel_driver
from processes.dispenser.lights import Tube
from processes.dispenser.store import TICKS_US


class Beam(Protocol):
    """The light beam under the chute."""

    def broken(self) -> bool:
        """Whether something is in it now.

        Raises:
            HardwareError: the pin could not be read.
        """

    def close(self) -> None: ...


class Watcher(Protocol):
    """Whoever takes over when this process dies in the middle of a deed."""

    def turning(self, turning: bool) -> None:
        """A deed begins, or is over.

        Raises:
            HardwareError: it does not listen any more.
        """

    def check(self) -> None:
        """Raises:
        HardwareError: it is gone.
        """

    def close(self) -> None: ...


class NoWatcher:
    """For a carousel that needs none, since its pulses end with its process."""

    def turning(self, turning: bool) -> None:
        pass

    def check(self) -> None:
        pass

    def close(self) -> None:
        pass


class Hopper(Protocol):
    """All of the dispenser's devices. A `hardware.link.Devices`."""

    @property
    def carousel(self) -> SpinDriver: ...

    @property
    def beam(self) -> Beam: ...

    @property
    def pixels(self) -> PixelDriver: ...

    @property
    def tube(self) -> Tube: ...

    @property
    def witness(self) -> Watcher: ...

    def check(self) -> None: ...

    def when_lost(self, call: Callable[[], None]) -> None: ...

    def close(self) -> None: ...

    def abandon(self) -> None: ...


class PinBeam:
    """The beam's sensor on a pin, which it pulls low while the beam is broken.

    Args:
        on_break: called from the pins' own thread, with the pins' clock in µs.
    """

    def __init__(self, gpio: int, factory: Factory, on_break: Callable[[int], None]) -> None:
        self._on_break = on_break
        with hardware_errors(f"take the beam's pin {gpio}"):
            self._device = InputDevice(gpio, pull_up=True, pin_factory=factory)
            self._device.pin.edges = "falling"
            self._device.pin.when_changed = self._changed  # held weakly there

    def _changed(self, ticks: float, state: int) -> None:
        if not state:
            # pigpio tells its clock in whole µs, lgpio in seconds
            self._on_break(ticks if isinstance(ticks, int) else round(ticks * 1e6) % TICKS_US)

    def broken(self) -> bool:
        with hardware_errors("read the beam"):
            return bool(self._device.value)

    def close(self) -> None:
        with hardware_errors("give the beam's pin back"):
            self._device.close()


class NoBeam:
    """Where none is fitted."""

    def broken(self) -> bool:
        return False

    def close(self) -> None:
        pass


class PwmTube:
    """The blue tube on a pin."""

    def __init__(self, gpio: int, factory: Factory) -> None:
        with hardware_errors(f"take the tube's pin {gpio}"):
            self._led = PWMLED(gpio, frequency=200, pin_factory=factory)

    def set(self, level: float) -> None:
        with hardware_errors("set the tube"):
            self._led.value = level

    def close(self) -> None:
        with hardware_errors("give the tube's pin back"):
            self._led.close()


@dataclass
class PinHopper(OnPins):
    """The `Hopper` on the header's pins."""

    carousel: SpinDriver
    beam: Beam
    pixels: PixelDriver
    tube: Tube
    witness: Watcher

    def close(self) -> None:
        self.carousel.close()
        self.witness.close()
        self.beam.close()
        self.pixels.close()
        self.tube.close()
        close_factory(self.factory)

    def abandon(self) -> None:
        self.witness.close()
        super().abandon()


def outlives_its_process(hardware: HardwareConfig) -> bool:
    """Whether the carousel goes on turning when the process that turns it is killed: pigpio's daemon and a servo board
    hold their last pulse, the kernel does not."""
    return hardware.pins.factory == "pigpio" or hardware.carousel.driver == "pca9685"


def beam_on(hardware: HardwareConfig, factory: Factory, on_break: Callable[[int], None]) -> Beam:
    """The beam as it is wired.

    Raises:
        HardwareError: its pin could not be taken.
    """
    if not hardware.beam.fitted:
        return NoBeam()
    return PinBeam(hardware.beam.gpio, factory, on_break)


def open_hopper(
    hardware: HardwareConfig, on_break: Callable[[int], None], start_witness: Callable[[], Watcher]
) -> PinHopper:
    """Raises:
    HardwareError: the pins cannot be reached, or the witness does not start.
    """
    factory = pin_factory(hardware.pins)
    try:
        carousel = servo_output(hardware.carousel, hardware.servos.board, factory)
        beam = beam_on(hardware, factory, on_break)
        pixels = pixel_driver(hardware.leds, factory)
        tube = PwmTube(hardware.leds.tube_gpio, factory)
        return PinHopper(factory, carousel, beam, pixels, tube, start_witness())
    except HardwareError:
        abandon_factory(factory)
        raise
