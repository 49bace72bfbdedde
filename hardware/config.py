"""The wiring of one robot: the sections `pins`, `motors`, `servos`, `carousel`, `beam` and `leds` of robot_config.yaml.

GPIO numbers are BCM numbers. The defaults are the wiring of the WIM-Z chassis; centres, limits and trims differ from
unit to unit.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from bus.errors import SettingsError
from bus.settings import section

Gpio = Annotated[int, Meta(ge=2, le=27)]
"""A pin of the 40-pin header; 0 and 1 belong to the HAT's EEPROM."""

PulseUs = Annotated[int, Meta(ge=400, le=2600)]
"""Width of a servo pulse, µs."""

POWER_LATCH_GPIO = 26
"""Holds the robot's power on. Driving it can cut the power of a moving machine: no section may name it."""

SPI_GPIOS = {"MISO": 9, "MOSI": 10, "SCLK": 11}
"""The pins that SPI 0 takes; the pixels' data line is MOSI."""


class PinsConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """How the pins are reached.

    `pigpio` is pigpiod's socket at `host`:`port`: a Pi 4 or older, or the simulator. `lgpio` is the kernel's own
    interface: a Pi 5.
    """

    factory: Literal["pigpio", "lgpio"] = "pigpio"
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535)] = 8888
    timeout_s: Annotated[float, Meta(ge=0.1, le=10.0)] = 1.0
    """How long pigpiod may take to answer one command before it is given up."""


class WheelConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """One motor. `in1`, `in2`, `enable` belong to the driver in_in_enable; `dir`, `pwm` to dir_pwm."""

    in1: Gpio | None = None
    in2: Gpio | None = None
    enable: Gpio | None = None
    dir: Gpio | None = None
    pwm: Gpio | None = None
    inverted: bool = False
    trim: Annotated[float, Meta(ge=0.1, le=1.0)] = 1.0
    """A factor on the duty, below 1 for the motor that runs faster."""


class MotorsConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Two DC motors behind an H-bridge.

    `in_in_enable`: two inputs choose the direction, PWM on the enable pin the speed (L298N and its like).
    `dir_pwm`: one direction pin, high is forward, and one PWM pin (MDD10A and its like).
    """

    driver: Literal["in_in_enable", "dir_pwm"] = "in_in_enable"
    pwm_hz: Annotated[int, Meta(ge=100, le=8000)] = 1000
    clamp: Annotated[float, Meta(gt=0.0, le=1.0)] = 0.7
    """The largest duty, whatever is asked: the motors are made for less than the battery's voltage."""
    left: WheelConfig = WheelConfig(in1=17, in2=18, enable=13, dir=17, pwm=13)
    right: WheelConfig = WheelConfig(in1=27, in2=22, enable=19, dir=27, pwm=19)

    def __post_init__(self) -> None:
        for side, wheel in (("left", self.left), ("right", self.right)):
            for name, gpio in zip(WHEEL_PINS[self.driver], wheel_pins(self.driver, wheel), strict=True):
                if gpio is None:
                    raise ValueError(f"{side}.{name} is missing: driver {self.driver} needs a pin there")


WHEEL_PINS: dict[str, tuple[str, ...]] = {"in_in_enable": ("in1", "in2", "enable"), "dir_pwm": ("dir", "pwm")}
"""The pins of a wheel that each motor driver uses."""


def wheel_pins(driver: str, wheel: WheelConfig) -> tuple[int, ...]:
    """The pins of one wheel, in the order of `WHEEL_PINS`; a MotorsConfig has them all."""
    return tuple(getattr(wheel, name) for name in WHEEL_PINS[driver])


class ServoConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """A positional servo: `min_us` to `max_us` turn it through `range_deg`."""

    gpio: Gpio
    min_us: PulseUs = 500
    max_us: PulseUs = 2500
    range_deg: Annotated[float, Meta(ge=10.0, le=360.0)] = 180.0
    centre_deg: Annotated[float, Meta(ge=-45.0, le=45.0)] = 0.0
    """Where the servo really stands when it is asked for 0°: the offset of this unit's horn."""
    limit_deg: Annotated[float, Meta(gt=0.0, le=180.0)] = 90.0
    """The mechanics allow ± this much."""
    inverted: bool = False

    def __post_init__(self) -> None:
        if self.min_us >= self.max_us:
            raise ValueError(f"min_us is {self.min_us}, max_us {self.max_us}: min_us must be the smaller")


class ServosConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The camera's pan and tilt. Positive pan looks to the right, positive tilt looks up."""

    pan: ServoConfig = ServoConfig(gpio=5, limit_deg=90.0)
    tilt: ServoConfig = ServoConfig(gpio=6, limit_deg=45.0)


class CarouselConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The treat carousel on a continuous-rotation servo: `stop_us` stands still, `turn_us` turns it forward."""

    gpio: Gpio = 12
    stop_us: PulseUs = 1500
    turn_us: PulseUs = 1650
    slots: Annotated[int, Meta(ge=1, le=64)] = 12

    def __post_init__(self) -> None:
        if self.turn_us == self.stop_us:
            raise ValueError(f"turn_us is {self.turn_us}, the same as stop_us: the carousel would never turn")

    @property
    def reverse_us(self) -> int:
        """The pulse that turns it backwards as fast as `turn_us` turns it forward."""
        return min(max(2 * self.stop_us - self.turn_us, 400), 2600)


class BeamConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The light beam under the chute; the pin is low while something breaks it."""

    gpio: Gpio = 7
    fitted: bool = True


class LedsConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """WS2812 pixels on SPI 0 (MOSI, GPIO 10), and the blue tube on a pin of its own."""

    pixels: Annotated[int, Meta(ge=0, le=400)] = 160
    """400 pixels fill the 4096 bytes that the kernel's SPI driver takes at once."""
    brightness: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.25
    spi_hz: Annotated[int, Meta(ge=1_000_000, le=5_000_000)] = 2_400_000
    """The strip wants 2.1 to 2.85 MHz on the wire."""
    tube_gpio: Gpio = 25


class HardwareConfig(Struct, frozen=True):
    """All that is wired to the header. Build it by `hardware_config`, which checks the pins against each other."""

    pins: PinsConfig = PinsConfig()
    motors: MotorsConfig = MotorsConfig()
    servos: ServosConfig = field(default_factory=ServosConfig)
    carousel: CarouselConfig = CarouselConfig()
    beam: BeamConfig = BeamConfig()
    leds: LedsConfig = LedsConfig()


def used_pins(hardware: HardwareConfig) -> list[tuple[str, int]]:
    """Every pin that this wiring takes, with the setting that names it, such as ("motors.left.in1", 17)."""
    motors = hardware.motors
    used = [
        (f"motors.{side}.{name}", gpio)
        for side, wheel in (("left", motors.left), ("right", motors.right))
        for name, gpio in zip(WHEEL_PINS[motors.driver], wheel_pins(motors.driver, wheel), strict=True)
    ]
    used += [
        ("servos.pan.gpio", hardware.servos.pan.gpio),
        ("servos.tilt.gpio", hardware.servos.tilt.gpio),
        ("carousel.gpio", hardware.carousel.gpio),
        ("leds.tube_gpio", hardware.leds.tube_gpio),
    ]
    if hardware.beam.fitted:
        used.append(("beam.gpio", hardware.beam.gpio))
    if hardware.leds.pixels:
        used += [(f"the pixels' SPI {name}", gpio) for name, gpio in SPI_GPIOS.items()]
    return used


def check_pins(hardware: HardwareConfig) -> None:
    """Refuse a wiring that names the power latch, or one pin twice.

    Raises:
        SettingsError: which settings collide.
    """
    taken = {POWER_LATCH_GPIO: "the power latch, which is never driven"}
    for name, gpio in used_pins(hardware):
        if gpio in taken:
            raise SettingsError(f"{name} is GPIO {gpio}, but that is {taken[gpio]}: choose another pin")
        taken[gpio] = f"already {name}"


def hardware_config(config: dict[str, Any]) -> HardwareConfig:
    """The wiring out of a loaded robot_config.yaml.

    Raises:
        SettingsError: a value out of range, an unknown key, a pin used twice, or the power latch's pin.
    """
    hardware = HardwareConfig(
        pins=section(config, "pins", PinsConfig),
        motors=section(config, "motors", MotorsConfig),
        servos=section(config, "servos", ServosConfig),
        carousel=section(config, "carousel", CarouselConfig),
        beam=section(config, "beam", BeamConfig),
        leds=section(config, "leds", LedsConfig),
    )
    check_pins(hardware)
    return hardware
