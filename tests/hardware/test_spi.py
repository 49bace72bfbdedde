from __future__ import annotations

import pytest
from gpiozero import DigitalInputDevice

from bus.messages import SimulatedFault
from hardware.config import LedsConfig, PinsConfig
from hardware.errors import HardwareError
from hardware.pins import Factory, close_factory, pin_factory
from hardware.spi import PigpioSpi, pixel_driver
from hardware.ws2812 import Rgb, encode
from processes.simulator.local import LocalSimulator
from tests.hardware import lgpio_standin

LEDS = LedsConfig(brightness=1.0)


def test_pixels_show_what_they_are_told(simulated: LocalSimulator, factory: Factory) -> None:
    pixels: list[Rgb] = [(n, 255 - n, n // 2) for n in range(160)]

    pixel_driver(LEDS, factory).show(pixels)

    leds = simulated.state().leds
    assert leds.pixels == pixels
    assert leds.lit == 160


def test_a_fresh_strip_is_dark_and_so_are_pixels_beyond_those_told(simulated: LocalSimulator, factory: Factory) -> None:
    strip = pixel_driver(LEDS, factory)
    strip.show([(9, 9, 9)] * 160)

    strip.show([(1, 2, 3)])
    assert simulated.state().leds.lit == 1

    pixel_driver(LEDS, factory)
    assert simulated.state().leds.lit == 0


def test_the_configured_brightness_is_applied(simulated: LocalSimulator, factory: Factory) -> None:
    pixel_driver(LedsConfig(brightness=0.25), factory).show([(255, 255, 0)])

    assert simulated.state().leds.pixels[0] == (64, 64, 0)


def test_more_pixels_than_the_strip_has_are_refused(factory: Factory) -> None:
    with pytest.raises(ValueError, match="161 pixels are too many: the strip has 160"):
        pixel_driver(LEDS, factory).show([(0, 0, 0)] * 161)


def test_a_closed_strip_is_dark_and_gives_the_line_back(simulated: LocalSimulator, factory: Factory) -> None:
    strip = pixel_driver(LEDS, factory)
    strip.show([(9, 9, 9)])

    strip.close()

    state = simulated.state()
    assert state.leds.lit == 0
    assert state.pins["10"].mode == "input"
    with pytest.raises(HardwareError, match="could not write to SPI"):
        strip.show([])


def test_the_pixels_leave_the_treat_beams_pin_alone(simulated: LocalSimulator, factory: Factory) -> None:
    beam = DigitalInputDevice(7, pull_up=True, pin_factory=factory)

    pixel_driver(LEDS, factory)  # SPI's chip select 1 is GPIO 7

    assert simulated.state().pins["7"].mode == "input"
    simulated.apply(SimulatedFault(beam_blocked=True))
    assert beam.is_active


def test_handles_that_killed_owners_left_open_are_taken_back(simulated: LocalSimulator, factory: Factory) -> None:
    killed = pin_factory(simulated.pins)
    for _ in range(32):
        PigpioSpi(killed, LEDS.spi_hz)
    close_factory(killed)  # it closes its own gpiozero devices, not these: as after kill -9

    pixel_driver(LEDS, factory).show([(1, 2, 3)])

    assert simulated.state().leds.lit == 1


@pytest.mark.parametrize("spi_bus", [0, 3])
def test_on_a_pi_5_the_bytes_go_through_the_kernel(monkeypatch: pytest.MonkeyPatch, spi_bus: int) -> None:
    board = lgpio_standin.install(monkeypatch, {0: 54})
    factory = pin_factory(PinsConfig(factory="lgpio"))

    strip = pixel_driver(LedsConfig(pixels=2, brightness=1.0, spi_bus=spi_bus), factory)
    strip.show([(1, 2, 3)])
    strip.close()
    close_factory(factory)

    dark = encode([(0, 0, 0)] * 2)
    assert board.spi == [
        ("open", spi_bus, 0, 2_400_000, 0),
        ("write", dark),
        ("write", encode([(1, 2, 3), (0, 0, 0)])),
        ("write", dark),
        ("close",),
    ]
