from __future__ import annotations

from typing import Any

import pytest

from bus.errors import SettingsError
from bus.settings import ROOT, load
from hardware.config import CarouselConfig, HardwareConfig, hardware_config, used_pins


def test_the_shipped_settings_are_the_defaults() -> None:
    assert hardware_config(load(ROOT / "robot_config.yaml")) == HardwareConfig() == hardware_config({})


def test_the_default_wiring_is_the_chassis() -> None:
    assert dict(used_pins(HardwareConfig())) == {
        "motors.left.in1": 17,
        "motors.left.in2": 18,
        "motors.left.enable": 13,
        "motors.right.in1": 27,
        "motors.right.in2": 22,
        "motors.right.enable": 19,
        "servos.pan.gpio": 5,
        "servos.tilt.gpio": 6,
        "carousel.gpio": 12,
        "beam.gpio": 7,
        "leds.tube_gpio": 25,
        "the pixels' SPI MISO": 9,
        "the pixels' SPI MOSI": 10,
        "the pixels' SPI SCLK": 11,
    }


def test_the_second_generation_uses_two_pins_a_motor() -> None:
    pins = dict(used_pins(hardware_config({"motors": {"driver": "dir_pwm"}})))

    assert {name: gpio for name, gpio in pins.items() if name.startswith("motors")} == {
        "motors.left.dir": 17,
        "motors.left.pwm": 13,
        "motors.right.dir": 27,
        "motors.right.pwm": 19,
    }


@pytest.mark.parametrize(
    "config",
    [
        {"carousel": {"gpio": 26}},
        {"servos": {"pan": {"gpio": 26}}},
        {"leds": {"tube_gpio": 26}},
        {"motors": {"left": {"in1": 26, "in2": 18, "enable": 13}}},
    ],
)
def test_the_power_latch_is_never_wired_to_anything(config: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="GPIO 26, but that is the power latch"):
        hardware_config(config)


def test_one_pin_has_one_use() -> None:
    with pytest.raises(SettingsError, match=r"carousel\.gpio is GPIO 17, but that is already motors\.left\.in1"):
        hardware_config({"carousel": {"gpio": 17}})


def test_the_pixels_data_line_is_taken_only_where_there_are_pixels() -> None:
    with pytest.raises(SettingsError, match="SPI MOSI"):
        hardware_config({"leds": {"tube_gpio": 10}})

    assert hardware_config({"leds": {"tube_gpio": 10, "pixels": 0}}).leds.tube_gpio == 10


def test_a_beam_that_is_not_fitted_takes_no_pin() -> None:
    assert hardware_config({"beam": {"fitted": False}, "carousel": {"gpio": 7}}).carousel.gpio == 7


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"motors": {"clamp": 1.5}}, "clamp"),
        ({"motors": {"clamp": 0}}, "clamp"),
        ({"motors": {"pwm_hz": 50}}, "pwm_hz"),
        ({"motors": {"left": {"in1": 17, "in2": 18}}}, "left.enable is missing: driver in_in_enable"),
        ({"motors": {"driver": "stepper"}}, "stepper"),
        ({"motors": {"speed": 3}}, "speed"),
        ({"servos": {"pan": {"gpio": 5, "min_us": 2000, "max_us": 1000}}}, "min_us must be the smaller"),
        ({"servos": {"pan": {"gpio": 1}}}, "gpio"),
        ({"servos": {"tilt": {"gpio": 28}}}, "gpio"),
        ({"carousel": {"turn_us": 1500}}, "would never turn"),
        ({"leds": {"brightness": 2}}, "brightness"),
        ({"leds": {"brightness": float("nan")}}, "leds"),
        ({"pins": {"factory": "mock"}}, "mock"),
        ({"pins": {"port": 0}}, "port"),
    ],
)
def test_a_wrong_setting_is_refused_and_named(config: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        hardware_config(config)

    assert message in str(caught.value)


def test_the_carousel_turns_backwards_as_fast_as_forwards() -> None:
    assert CarouselConfig(stop_us=1490, turn_us=1600).reverse_us == 1380
