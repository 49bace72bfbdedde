"""The wiring of one robot: the sections `pins`, `motors`, `servos`, `carousel`, `beam`, `leds` and `battery` of
robot_config.yaml.

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

ChipNumber = Annotated[int, Meta(ge=0, le=99)]
LineNumber = Annotated[int, Meta(ge=0, le=511)]

Lines = Annotated[
    dict[Gpio, tuple[ChipNumber, LineNumber]],
    Meta(description="a GPIO, 2 to 27: [chip, 0 to 99, and line, 0 to 511], such as 17: [3, 12]"),
]

PulseUs = Annotated[int, Meta(ge=400, le=2600)]
"""Width of a servo pulse, µs."""

POWER_LATCH_GPIO = 26
"""Holds the robot's power on. Driving it can cut the power of a moving machine: no section may name it."""

SPI_GPIOS = {"MISO": 9, "MOSI": 10, "SCLK": 11}
"""The pins that SPI 0 takes; the pixels' data line is MOSI."""

I2C_GPIOS = {"SDA": 2, "SCL": 3}
"""The pins of I²C bus 1."""

ServoDriverName = Literal["gpio", "pca9685"]
ServoChannel = Annotated[int, Meta(ge=0, le=15)]
"""An output of a PCA9685."""


class PinsConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """How the pins are reached.

    `pigpio` is pigpiod's socket at `host`:`port`: a Pi 4 or older, here or over the network, or the simulator. `lgpio`
    is the kernel's own interface: a Pi 5, or another board with a 40-pin header.
    """

    factory: Literal["pigpio", "lgpio"] = "pigpio"
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535)] = 8888
    timeout_s: Annotated[float, Meta(ge=0.1, le=10.0)] = 1.0
    """How long pigpiod may take to answer one command before it is given up."""
    chip: Annotated[int, Meta(ge=0, le=99)] | None = None
    """With lgpio: N of the header's /dev/gpiochipN. null finds a Pi's own (0; 4 under a Pi 5's first kernels)."""
    lines: Lines = {}
    """With lgpio on other boards: [chip, line] of the pin that is this GPIO on a Pi. Others are line N of `chip`."""


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
    clamp: Annotated[float, Meta(ge=0.01, le=1.0)] = 0.7
    """The largest duty, whatever is asked: the motors are made for less than the battery's voltage."""
    left: WheelConfig = WheelConfig(in1=17, in2=18, enable=13, dir=17, pwm=13)
    right: WheelConfig = WheelConfig(in1=27, in2=22, enable=19, dir=27, pwm=19)

    def __post_init__(self) -> None:
        for side, wheel in (("left", self.left), ("right", self.right)):
            for name, gpio in zip(WHEEL_PINS[self.driver], wheel_pins(self.driver, wheel), strict=True):
                if gpio is None:
                    raise ValueError(f"{side}.{name} is missing: driver {self.driver} needs a pin there")


WHEEL_PINS: dict[str, tuple[str, ...]] = {"in_in_enable": ("in1", "in2", "enable"), "dir_pwm": ("dir", "pwm")}
"""The pins of a wheel that each motor driver uses; the last is the one that gives it power."""


def wheel_pins(driver: str, wheel: WheelConfig) -> tuple[int, ...]:
    """The pins of one wheel, in the order of `WHEEL_PINS`; a MotorsConfig has them all."""
    return tuple(getattr(wheel, name) for name in WHEEL_PINS[driver])


def _refuse_unwired(driver: ServoDriverName, gpio: int | None, channel: int | None) -> None:
    if driver == "gpio" and gpio is None:
        raise ValueError("gpio is missing: driver gpio needs the number of a pin there, 2 to 27")
    if driver == "pca9685" and channel is None:
        raise ValueError("channel is missing: driver pca9685 needs the number of an output there, 0 to 15")


class ServoConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """A positional servo: `min_us` to `max_us` turn it through `range_deg`.

    `driver` gpio: on the pin `gpio`. `driver` pca9685: on output `channel` of the servo board.
    """

    driver: ServoDriverName = "gpio"
    gpio: Gpio | None = None
    channel: ServoChannel | None = None
    min_us: PulseUs = 500
    max_us: PulseUs = 2500
    range_deg: Annotated[float, Meta(ge=10.0, le=360.0)] = 180.0
    centre_deg: Annotated[float, Meta(ge=-45.0, le=45.0)] = 0.0
    """Where the servo really stands when it is asked for 0°: the offset of this unit's horn."""
    limit_deg: Annotated[float, Meta(ge=1.0, le=180.0)] = 90.0
    """The mechanics allow ± this much."""
    inverted: bool = False

    def __post_init__(self) -> None:
        _refuse_unwired(self.driver, self.gpio, self.channel)
        if self.min_us >= self.max_us:
            raise ValueError(f"min_us is {self.min_us}, max_us {self.max_us}: min_us must be the smaller")


class ServoBoardConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The PCA9685 that the servos with `driver: pca9685` hang on."""

    i2c_bus: Annotated[int, Meta(ge=0, le=99)] = 1
    """N of /dev/i2c-N."""
    address: Annotated[int, Meta(ge=0x40, le=0x7F)] = 0x40
    """0x40 with no address bridge closed (datasheet, section 7.1)."""
    oscillator_hz: Annotated[int, Meta(ge=23_000_000, le=28_000_000)] = 25_000_000
    """The chip's own clock, which differs by some per cent: 25 MHz × the pulse asked for / the pulse measured."""


class ServosConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The camera's pan and tilt. Positive pan looks to the right, positive tilt looks up."""

    pan: ServoConfig = ServoConfig(gpio=5, limit_deg=90.0)
    tilt: ServoConfig = ServoConfig(gpio=6, limit_deg=45.0)
    board: ServoBoardConfig = ServoBoardConfig()


class CarouselConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The treat carousel on a continuous-rotation servo: `stop_us` stands still, `turn_us` turns it forward.

    `driver` gpio: on the pin `gpio`. `driver` pca9685: on output `channel` of the board of the section `servos`.
    """

    driver: ServoDriverName = "gpio"
    gpio: Gpio = 12
    channel: ServoChannel | None = None
    stop_us: PulseUs = 1500
    turn_us: PulseUs = 1650
    slots: Annotated[int, Meta(ge=1, le=64)] = 12

    def __post_init__(self) -> None:
        _refuse_unwired(self.driver, self.gpio, self.channel)
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


class RgbConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """One RGB LED on three pins. `common` is the leg that all three colours share."""

    red: Gpio = 16
    green: Gpio = 20
    blue: Gpio = 21
    common: Literal["cathode", "anode"] = "cathode"


class LedsConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The lights, and the blue tube on a pin of its own.

    `driver` strip: WS2812 pixels on SPI 0 (MOSI, GPIO 10). `driver` rgb: one RGB LED on the three pins of `rgb`.
    """

    driver: Literal["strip", "rgb"] = "strip"
    pixels: Annotated[int, Meta(ge=0, le=400)] = 160
    """400 pixels fill the 4096 bytes that the kernel's SPI driver takes at once."""
    brightness: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.25
    spi_hz: Annotated[int, Meta(ge=1_000_000, le=5_000_000)] = 2_400_000
    """The strip wants 2.1 to 2.85 MHz on the wire."""
    spi_bus: Annotated[int, Meta(ge=0, le=9)] = 0
    """With lgpio: N of /dev/spidevN.0."""
    rgb: RgbConfig = RgbConfig()
    tube_gpio: Gpio = 25

    def __post_init__(self) -> None:
        if self.driver == "rgb" and self.pixels != 1:
            raise ValueError(f"pixels is {self.pixels}, but driver rgb is one LED: set pixels to 1")


class BatteryConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The battery, measured by an ADS1115 behind a voltage divider."""

    fitted: bool = True
    """False: there is no ADS1115, and the robot says of its battery that it does not know."""
    i2c_bus: Annotated[int, Meta(ge=0, le=99)] = 1
    """N of /dev/i2c-N."""
    address: Annotated[int, Meta(ge=0x48, le=0x4B)] = 0x48
    """0x48 with ADDR on ground (datasheet, table 4)."""
    channel: Annotated[int, Meta(ge=0, le=3)] = 0
    """N of the input AN."""
    factor: Annotated[float, Meta(ge=1.0, le=20.0)] = 5.545
    """Volts of the battery for a volt at the input: (100 kΩ + 22 kΩ) / 22 kΩ. To be right to a per cent it is measured
    on each unit: volts by a multimeter / volts told × the factor that was set."""
    cells: Annotated[int, Meta(ge=1, le=5)] = 4
    """In series."""
    sag_v: Annotated[float, Meta(ge=0.0, le=5.0)] = 0.25
    """By how much the battery's voltage gives way at full duty of both motors."""


class HardwareConfig(Struct, frozen=True):
    """All that is wired to the header. Build it by `hardware_config`, which checks the pins against each other."""

    pins: PinsConfig = PinsConfig()
    motors: MotorsConfig = MotorsConfig()
    servos: ServosConfig = field(default_factory=ServosConfig)
    carousel: CarouselConfig = CarouselConfig()
    beam: BeamConfig = BeamConfig()
    leds: LedsConfig = LedsConfig()
    battery: BatteryConfig = BatteryConfig()


def used_pins(hardware: HardwareConfig) -> list[tuple[str, int]]:
    """Every pin that this wiring takes, with the setting that names it, such as ("motors.left.in1", 17)."""
    motors, leds = hardware.motors, hardware.leds
    used = [
        (f"motors.{side}.{name}", gpio)
        for side, wheel in (("left", motors.left), ("right", motors.right))
        for name, gpio in zip(WHEEL_PINS[motors.driver], wheel_pins(motors.driver, wheel), strict=True)
    ]
    used += [(f"{name}.gpio", servo.gpio) for name, servo in _servos(hardware) if servo.driver == "gpio" and servo.gpio]
    used.append(("leds.tube_gpio", leds.tube_gpio))
    if hardware.beam.fitted:
        used.append(("beam.gpio", hardware.beam.gpio))
    if leds.driver == "rgb":
        used += [(f"leds.rgb.{name}", getattr(leds.rgb, name)) for name in ("red", "green", "blue")]
    elif leds.pixels:
        used += [(f"the pixels' SPI {name}", gpio) for name, gpio in SPI_GPIOS.items()]
    if uses_i2c(hardware, 1):
        used += [(f"I²C's {name}", gpio) for name, gpio in I2C_GPIOS.items()]
    return used


def uses_servo_board(hardware: HardwareConfig) -> bool:
    """Whether any servo hangs on the PCA9685."""
    return any(servo.driver == "pca9685" for _, servo in _servos(hardware))


def uses_i2c(hardware: HardwareConfig, bus: int) -> bool:
    """Whether any chip hangs on that I²C bus."""
    servo_board = uses_servo_board(hardware) and hardware.servos.board.i2c_bus == bus
    return servo_board or (hardware.battery.fitted and hardware.battery.i2c_bus == bus)


def _servos(hardware: HardwareConfig) -> list[tuple[str, ServoConfig | CarouselConfig]]:
    servos = hardware.servos
    return [("servos.pan", servos.pan), ("servos.tilt", servos.tilt), ("carousel", hardware.carousel)]


def check_pins(hardware: HardwareConfig) -> None:
    """Refuse a wiring that names the power latch, or one pin or one output of the servo board twice.

    Raises:
        SettingsError: which settings collide.
    """
    taken = {POWER_LATCH_GPIO: "the power latch, which is never driven"}
    for name, gpio in used_pins(hardware):
        if gpio in taken:
            raise SettingsError(f"{name} is GPIO {gpio}, but that is {taken[gpio]}: choose another pin")
        taken[gpio] = f"already {name}"
    channels: dict[int | None, str] = {}
    for name, servo in _servos(hardware):
        if servo.driver == "pca9685":
            if servo.channel in channels:
                raise SettingsError(
                    f"{name}.channel is {servo.channel}, but that is already {channels[servo.channel]}: choose another "
                    "output of the servo board, 0 to 15"
                )
            channels[servo.channel] = f"{name}.channel"


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
        battery=section(config, "battery", BatteryConfig),
    )
    check_pins(hardware)
    return hardware
