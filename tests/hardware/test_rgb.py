"""One RGB LED in place of the strip."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pytest

from hardware.config import HardwareConfig, LedsConfig, PinsConfig, RgbConfig
from hardware.pins import close_factory, pin_factory
from hardware.spi import pixel_driver
from hardware.ws2812 import Rgb
from processes.simulator.local import LocalSimulator
from tests.hardware import lgpio_standin

Common = Literal["cathode", "anode"]


def wiring(common: Common, brightness: float = 1.0) -> HardwareConfig:
    return HardwareConfig(leds=LedsConfig(driver="rgb", pixels=1, brightness=brightness, rgb=RgbConfig(common=common)))


@pytest.fixture(params=["cathode", "anode"])
def simulated(request: pytest.FixtureRequest) -> Iterator[LocalSimulator]:
    with LocalSimulator(wiring(request.param)) as simulated:
        yield simulated


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 140, 3), (255, 255, 255)])
def test_it_shines_in_the_colour_of_the_first_pixel(simulated: LocalSimulator, colour: Rgb) -> None:
    factory = pin_factory(simulated.pins)
    led = pixel_driver(simulated.hardware.leds, factory)
    assert simulated.state().leds.pixels == [(0, 0, 0)]

    led.show([colour])

    (shown,) = simulated.state().leds.pixels
    assert shown == pytest.approx(colour, abs=1)
    led.show([])
    assert simulated.state().leds.lit == 0
    led.close()
    assert {simulated.state().pins[str(gpio)].mode for gpio in (16, 20, 21)} == {"input"}
    close_factory(factory)


def test_the_configured_brightness_is_applied() -> None:
    hardware = wiring("cathode", brightness=0.25)
    with LocalSimulator(hardware) as simulated:
        factory = pin_factory(simulated.pins)
        led = pixel_driver(hardware.leds, factory)

        led.show([(255, 255, 0)])

        assert simulated.state().leds.pixels == [(64, 64, 0)]
        led.close()
        close_factory(factory)


def test_what_it_cannot_show_is_refused(simulated: LocalSimulator) -> None:
    factory = pin_factory(simulated.pins)
    led = pixel_driver(simulated.hardware.leds, factory)

    with pytest.raises(ValueError, match="2 pixels are too many"):
        led.show([(0, 0, 0)] * 2)
    with pytest.raises(ValueError, match="outside 0 to 255"):
        led.show([(256, 0, 0)])
    led.close()
    close_factory(factory)


@pytest.mark.parametrize(("common", "lit"), [("cathode", 1), ("anode", 0)])
def test_on_a_pi_5_a_steady_colour_costs_no_pulses(monkeypatch: pytest.MonkeyPatch, common: Common, lit: int) -> None:
    board = lgpio_standin.install(monkeypatch, {0: 54})
    factory = pin_factory(PinsConfig(factory="lgpio"))
    led = pixel_driver(wiring(common).leds, factory)

    led.show([(255, 0, 255)])

    assert [board.line(0, gpio).level for gpio in (16, 20, 21)] == [lit, 1 - lit, lit]
    assert all(board.line(0, gpio).train is None for gpio in (16, 20, 21))
    led.close()
    close_factory(factory)
