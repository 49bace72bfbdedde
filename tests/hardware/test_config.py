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
        "I²C's SDA": 2,
        "I²C's SCL": 3,
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
        ({"pins": {"factory": "mock"}}, "pins.factory: Invalid enum value 'mock'; .* one of lgpio pigpio"),
        ({"pins": {"host": 7}}, "pins.host: .* it is 7. Accepted: text"),
        ({"pins": {"port": 0}}, "pins.port: .* it is 0. Accepted: a whole number from 1 to 65535"),
        ({"pins": {"timeout_s": 0}}, "pins.timeout_s: .* it is 0. Accepted: a number from 0.1 to 10"),
        ({"pins": {"chip": -1}}, "pins.chip: .* it is -1. Accepted: a whole number from 0 to 99 or null"),
        ({"pins": {"lines": {17: 5}}}, r"pins.lines: .* it is {17: 5}. Accepted: .* such as 17: \[3, 12\]"),
        ({"pins": {"lines": {99: [0, 5]}}}, r"pins.lines: .* it is {99: \[0, 5\]}. Accepted: .*a GPIO, 2 to 27"),
        ({"motors": {"driver": "stepper"}}, "motors.driver: .*'stepper'. Accepted: one of dir_pwm in_in_enable"),
        ({"motors": {"pwm_hz": 50}}, "motors.pwm_hz: .* it is 50. Accepted: a whole number from 100 to 8000"),
        ({"motors": {"clamp": 1.5}}, "motors.clamp: .* it is 1.5. Accepted: a number from 0.01 to 1"),
        ({"motors": {"clamp": 0}}, "motors.clamp: .* it is 0. Accepted: a number from 0.01 to 1"),
        (
            {"motors": {"speed": 3}},
            "motors: .* unknown field `speed`. Accepted there: driver, pwm_hz, clamp, left, right",
        ),
        ({"motors": {"left": {"in1": 17, "in2": 18}}}, "left.enable is missing: driver in_in_enable needs a pin"),
        (
            {"motors": {"left": {"in1": 17, "in2": 18, "enable": 13, "trim": 2}}},
            "motors.left.trim: .* it is 2. Accepted: a number from 0.1 to 1",
        ),
        (
            {"motors": {"right": {"in1": "x", "in2": 18, "enable": 13}}},
            "motors.right.in1: .* it is 'x'. Accepted: a whole number from 2 to 27 or null",
        ),
        (
            {"motors": {"right": {"in1": 17, "in2": 18, "enable": 13, "inverted": "yes"}}},
            "motors.right.inverted: .* it is 'yes'. Accepted: true or false",
        ),
        ({"servos": {"pan": {"gpio": 1}}}, "servos.pan.gpio: .* it is 1. Accepted: a whole number from 2 to 27"),
        ({"servos": {"pan": {}}}, "servos.pan: gpio is missing: driver gpio needs .* 2 to 27"),
        ({"servos": {"tilt": {"driver": "pca9685"}}}, "servos.tilt: channel is missing: .* 0 to 15"),
        ({"servos": {"pan": {"driver": "pca9685", "channel": 16}}}, "servos.pan.channel: .* 0 to 15"),
        ({"servos": {"pan": {"gpio": 5, "min_us": 2000, "max_us": 1000}}}, "min_us must be the smaller"),
        ({"servos": {"pan": {"gpio": 5, "limit_deg": 0}}}, "servos.pan.limit_deg: .* a number from 1 to 180"),
        ({"servos": {"pan": {"gpio": 5, "centre_deg": 60}}}, "servos.pan.centre_deg: .* a number from -45 to 45"),
        ({"servos": {"board": {"address": 32}}}, "servos.board.address: .* a whole number from 64 to 127"),
        ({"servos": {"roll": {}}}, "servos: .* unknown field `roll`. Accepted there: pan, tilt, board"),
        ({"battery": {"address": 0x4C}}, "battery.address: .* a whole number from 72 to 75"),
        ({"battery": {"factor": 0}}, "battery.factor: .* a number from 1 to 20"),
        ({"carousel": {"turn_us": 1500}}, "would never turn"),
        ({"carousel": {"driver": "pca9685"}}, "carousel: channel is missing"),
        ({"leds": {"brightness": 2}}, "leds.brightness: .* it is 2. Accepted: a number from 0 to 1"),
        ({"leds": {"brightness": float("nan")}}, "leds: Numbers must be finite"),
        ({"leds": {"driver": "rgb"}}, "pixels is 160, but driver rgb is one LED: set pixels to 1"),
        (
            {"leds": {"driver": "rgb", "pixels": 1, "rgb": {"common": "plus"}}},
            "leds.rgb.common: .* one of anode cathode",
        ),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_what_is_accepted(config: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        hardware_config(config)


def test_servos_on_the_board_take_its_outputs_and_the_bus() -> None:
    config = {
        "battery": {"fitted": False},
        "servos": {"pan": {"driver": "pca9685", "channel": 0}, "tilt": {"driver": "pca9685", "channel": 1}},
        "carousel": {"driver": "pca9685", "channel": 2},
    }
    pins = dict(used_pins(hardware_config(config)))
    assert {name: gpio for name, gpio in pins.items() if name.startswith(("servos", "carousel", "I²C"))} == {
        "I²C's SDA": 2,
        "I²C's SCL": 3,
    }

    with pytest.raises(SettingsError, match=r"SDA is GPIO 2, but that is already leds\.tube_gpio"):
        hardware_config({**config, "leds": {"tube_gpio": 2}})
    with pytest.raises(SettingsError, match=r"carousel\.channel is 1, but that is already servos\.tilt\.channel"):
        hardware_config({**config, "carousel": {"driver": "pca9685", "channel": 1}})


def test_an_rgb_led_takes_three_pins_and_leaves_spi_free() -> None:
    pins = dict(used_pins(hardware_config({"leds": {"driver": "rgb", "pixels": 1, "rgb": {"red": 10}}})))

    assert {name: gpio for name, gpio in pins.items() if "leds.rgb" in name or "SPI" in name} == {
        "leds.rgb.red": 10,
        "leds.rgb.green": 20,
        "leds.rgb.blue": 21,
    }


def test_the_carousel_turns_backwards_as_fast_as_forwards() -> None:
    assert CarouselConfig(stop_us=1490, turn_us=1600).reverse_us == 1380


def test_without_chips_on_it_the_pins_of_i2c_are_free() -> None:
    assert hardware_config({"battery": {"fitted": False}, "carousel": {"gpio": 2}}).carousel.gpio == 2
    with pytest.raises(SettingsError, match=r"I²C's SDA is GPIO 2, but that is already carousel\.gpio"):
        hardware_config({"carousel": {"gpio": 2}})
