"""The pins as pigpio's daemon keeps them on a Pi 4: modes, levels, PWM, servo pulses.

Every method that a socket command ends in returns what the daemon would: a result ≥ 0, or one of pigpio's error
codes. The behaviour follows pigpio.c of version 79 with its default sample rate of 5 µs.
"""

from __future__ import annotations

from enum import Enum, IntEnum

import pigpio

from processes.simulator.pca9685 import Pca9685

PINS = 54
USER_PINS = 32
LEVEL_MASK = 0xFFFFFFFF
PERMITTED_MASK = 0x0FFFFFFC
"""The pins that pigpiod lets its clients change on a Pi 4: GPIO 2–27."""

SPI_CHIP_SELECTS = (8, 7)
"""GPIO of SPI 0's chip selects 0 and 1, which idle high."""

PWM_STEP_US = 5
PWM_HZ = (8000, 4000, 2000, 1600, 1000, 800, 500, 400, 320, 250, 200, 160, 100, 80, 50, 40, 20, 10)
"""The software PWM frequencies that a sample rate of 5 µs allows; any other request takes the nearest."""
_DEFAULT_PWM_HZ = 800
_DEFAULT_RANGE = 255
_HARDWARE_RANGE = 1_000_000
_SERVO_FRAME_US = 20_000
_MAX_GLITCH_US = 300_000


class Mode(IntEnum):
    """A pin's function select, as the BCM2711's registers and pigpio number it."""

    INPUT = 0
    OUTPUT = 1
    ALT5 = 2
    ALT4 = 3
    ALT0 = 4
    ALT1 = 5
    ALT2 = 6
    ALT3 = 7


class Pull(IntEnum):
    OFF = 0
    DOWN = 1
    UP = 2


class Driver(Enum):
    """What makes an output pin go up and down."""

    NOTHING = "nothing"
    WRITE = "write"
    PWM = "pwm"
    SERVO = "servo"
    HARDWARE_PWM = "hardware_pwm"
    CLOCK = "clock"


_HARDWARE_PWM_MODES = {12: Mode.ALT0, 13: Mode.ALT0, 18: Mode.ALT5, 19: Mode.ALT5}
_CLOCK_MODES = {4: Mode.ALT0, 6: Mode.ALT0, 20: Mode.ALT5}
_RESERVED_CLOCK_PINS = (5, 21)  # clock 1 runs the machine; pigpiod wants a password for it
_HARDWARE_PWM_MAX_HZ = 187_500_000
_CLOCK_HZ = (13_184, 375_000_000)


class Pin:
    """One pin. `outside` is the level that something on the board holds it at, None where nothing does."""

    __slots__ = (
        "alternate_level",
        "driver",
        "glitch_us",
        "hardware_hz",
        "latch",
        "mode",
        "outside",
        "pull",
        "pwm_hz",
        "pwm_range",
        "width",
    )

    def __init__(self, gpio: int) -> None:
        self.mode = Mode.INPUT
        self.driver = Driver.NOTHING
        self.pull = Pull.UP if gpio <= 8 else Pull.DOWN  # as the chip comes out of reset
        self.outside: int | None = None
        self.latch = 0
        self.width = 0
        self.pwm_range = _DEFAULT_RANGE
        self.pwm_hz = _DEFAULT_PWM_HZ
        self.hardware_hz = 0
        self.glitch_us = 0
        self.alternate_level = int(gpio in SPI_CHIP_SELECTS)

    @property
    def real_range(self) -> int:
        """How many steps one PWM period really has."""
        return 1_000_000 // PWM_STEP_US // self.pwm_hz

    @property
    def frequency_hz(self) -> float:
        """How often it goes up and down; 0 for a steady pin."""
        match self.driver:
            case Driver.PWM:
                return float(self.pwm_hz)
            case Driver.SERVO:
                return 1_000_000 / _SERVO_FRAME_US
            case Driver.HARDWARE_PWM | Driver.CLOCK:
                return float(self.hardware_hz)
            case _:
                return 0.0

    @property
    def duty(self) -> float:
        """The share of time for which this pin drives its line high, 0–1; 0 for one that does not drive."""
        match self.driver:
            case Driver.PWM:
                return self.width * self.real_range // self.pwm_range / self.real_range
            case Driver.SERVO:
                return self.width / _SERVO_FRAME_US
            case Driver.HARDWARE_PWM:
                return self.width / _HARDWARE_RANGE
            case Driver.CLOCK:
                return 0.5
            case _:
                return float(self.latch) if self.mode is Mode.OUTPUT else 0.0

    @property
    def pulse_us(self) -> float | None:
        """The pulse a servo would see on this line, None where it would see none."""
        hz = self.frequency_hz
        return self.duty / hz * 1e6 if hz and self.duty else None

    @property
    def level(self) -> int:
        """The line's level; a line under PWM counts as high."""
        if self.mode is Mode.INPUT:
            return int(self.pull is Pull.UP) if self.outside is None else self.outside
        if self.mode is not Mode.OUTPUT and self.driver is Driver.NOTHING:
            return self.alternate_level
        return int(self.duty > 0)

    def drive(self, driver: Driver) -> None:
        """Hand the pin over; what drove it before is switched off."""
        if self.driver is not driver:
            self.driver = driver
            self.width = 0


class GpioBank:
    """All pins. `levels` is the bit mask of GPIO 0–31, kept up to date; `servo_board` hangs on I²C, if one does."""

    def __init__(self) -> None:
        self.pins = [Pin(gpio) for gpio in range(PINS)]
        self.servo_board: Pca9685 | None = None
        self.levels = 0
        for gpio in range(USER_PINS):
            self.refresh(gpio)

    def refresh(self, gpio: int) -> None:
        """Take a pin's level over into `levels`, after something changed it."""
        if gpio < USER_PINS:
            bit = 1 << gpio
            self.levels = self.levels | bit if self.pins[gpio].level else self.levels & ~bit

    def hold(self, gpio: int, level: int | None) -> None:
        """Something on the board holds this line at a level, or lets go of it."""
        self.pins[gpio].outside = level
        self.refresh(gpio)

    def set_mode(self, gpio: int, mode: int) -> int:
        if gpio >= PINS:
            return int(pigpio.PI_BAD_GPIO)
        if mode > Mode.ALT3:
            return int(pigpio.PI_BAD_MODE)
        pin = self.pins[gpio]
        if mode != pin.mode:
            pin.drive(Driver.NOTHING)
        pin.mode = Mode(mode)
        self.refresh(gpio)
        return 0

    def get_mode(self, gpio: int) -> int:
        return int(self.pins[gpio].mode) if gpio < PINS else int(pigpio.PI_BAD_GPIO)

    def set_pull(self, gpio: int, pull: int) -> int:
        if gpio >= PINS:
            return int(pigpio.PI_BAD_GPIO)
        if pull > Pull.UP:
            return int(pigpio.PI_BAD_PUD)
        self.pins[gpio].pull = Pull(pull)
        self.refresh(gpio)
        return 0

    def read(self, gpio: int, now: float) -> int:
        """The level at this instant; a line under PWM is sampled where it stands in its period."""
        if gpio >= PINS:
            return int(pigpio.PI_BAD_GPIO)
        pin = self.pins[gpio]
        duty = pin.duty
        return int(now * pin.frequency_hz % 1.0 < duty) if 0.0 < duty < 1.0 else pin.level

    def write(self, gpio: int, level: int) -> int:
        if gpio >= PINS:
            return int(pigpio.PI_BAD_GPIO)
        if level > 1:
            return int(pigpio.PI_BAD_LEVEL)
        pin = self.pins[gpio]
        pin.drive(Driver.WRITE)
        pin.mode = Mode.OUTPUT
        pin.latch = level
        self.refresh(gpio)
        return 0

    def write_bits(self, bits: int, level: int) -> int:
        """Set or clear the latches of several pins; like the registers, it changes no mode and stops no PWM."""
        for gpio in range(USER_PINS):
            if bits & PERMITTED_MASK & 1 << gpio:
                self.pins[gpio].latch = level
                self.refresh(gpio)
        return 0 if bits & ~PERMITTED_MASK == 0 else int(pigpio.PI_SOME_PERMITTED)

    def set_pwm(self, gpio: int, width: int) -> int:
        if gpio >= USER_PINS:
            return int(pigpio.PI_BAD_USER_GPIO)
        pin = self.pins[gpio]
        if width > pin.pwm_range:
            return int(pigpio.PI_BAD_DUTYCYCLE)
        pin.drive(Driver.PWM)
        pin.mode = Mode.OUTPUT
        pin.width = width
        self.refresh(gpio)
        return 0

    def get_pwm(self, gpio: int) -> int:
        if gpio >= USER_PINS:
            return int(pigpio.PI_BAD_USER_GPIO)
        pin = self.pins[gpio]
        match pin.driver:
            case Driver.PWM | Driver.HARDWARE_PWM:
                return pin.width
            case Driver.CLOCK:
                return _HARDWARE_RANGE // 2
            case _:
                return int(pigpio.PI_NOT_PWM_GPIO)

    def set_range(self, gpio: int, pwm_range: int) -> int:
        if gpio >= USER_PINS:
            return int(pigpio.PI_BAD_USER_GPIO)
        if not 25 <= pwm_range <= 40_000:
            return int(pigpio.PI_BAD_DUTYRANGE)
        pin = self.pins[gpio]
        if pin.driver is Driver.PWM:
            pin.width = pwm_range * pin.width // pin.pwm_range
        pin.pwm_range = pwm_range
        self.refresh(gpio)
        return pin.real_range

    def get_range(self, gpio: int) -> int:
        if gpio >= USER_PINS:
            return int(pigpio.PI_BAD_USER_GPIO)
        pin = self.pins[gpio]
        return _HARDWARE_RANGE if pin.driver in (Driver.HARDWARE_PWM, Driver.CLOCK) else pin.pwm_range

    def get_real_range(self, gpio: int) -> int:
        if gpio >= USER_PINS:
            return int(pigpio.PI_BAD_USER_GPIO)
        pin = self.pins[gpio]
        return _HARDWARE_RANGE if pin.driver in (Driver.HARDWARE_PWM, Driver.CLOCK) else pin.real_range

    def set_frequency(self, gpio: int, hz: int) -> int:
        if gpio >= USER_PINS:
            return int(pigpio.PI_BAD_USER_GPIO)
        nearest = min(PWM_HZ, key=lambda offered: abs(offered - hz))
        self.pins[gpio].pwm_hz = nearest
        self.refresh(gpio)
        return nearest

    def get_frequency(self, gpio: int) -> int:
        if gpio >= USER_PINS:
            return int(pigpio.PI_BAD_USER_GPIO)
        pin = self.pins[gpio]
        return pin.hardware_hz if pin.driver in (Driver.HARDWARE_PWM, Driver.CLOCK) else pin.pwm_hz

    def set_servo(self, gpio: int, width_us: int) -> int:
        if gpio >= USER_PINS:
            return int(pigpio.PI_BAD_USER_GPIO)
        if width_us != 0 and not 500 <= width_us <= 2500:
            return int(pigpio.PI_BAD_PULSEWIDTH)
        pin = self.pins[gpio]
        pin.drive(Driver.SERVO)
        pin.mode = Mode.OUTPUT
        pin.width = width_us
        self.refresh(gpio)
        return 0

    def get_servo(self, gpio: int) -> int:
        if gpio >= USER_PINS:
            return int(pigpio.PI_BAD_USER_GPIO)
        pin = self.pins[gpio]
        return pin.width if pin.driver is Driver.SERVO else int(pigpio.PI_NOT_SERVO_GPIO)

    def set_hardware_pwm(self, gpio: int, hz: int, width: int) -> int:
        """Width of 1 000 000; frequency 0 ends it."""
        if gpio not in _HARDWARE_PWM_MODES:
            return int(pigpio.PI_NOT_HPWM_GPIO)
        if hz > _HARDWARE_PWM_MAX_HZ:
            return int(pigpio.PI_BAD_HPWM_FREQ)
        if width > _HARDWARE_RANGE:
            return int(pigpio.PI_BAD_HPWM_DUTY)
        pin = self.pins[gpio]
        if hz == 0:
            return self.set_mode(gpio, Mode.INPUT)
        pin.drive(Driver.HARDWARE_PWM)
        pin.mode = _HARDWARE_PWM_MODES[gpio]
        pin.hardware_hz = hz
        pin.width = width
        self.refresh(gpio)
        return 0

    def set_clock(self, gpio: int, hz: int) -> int:
        """Frequency 0 ends it."""
        if gpio in _RESERVED_CLOCK_PINS:
            return int(pigpio.PI_BAD_HCLK_PASS)
        if gpio not in _CLOCK_MODES:
            return int(pigpio.PI_NOT_HCLK_GPIO)
        if hz and not _CLOCK_HZ[0] <= hz <= _CLOCK_HZ[1]:
            return int(pigpio.PI_BAD_HCLK_FREQ)
        if hz == 0:
            return self.set_mode(gpio, Mode.INPUT)
        pin = self.pins[gpio]
        pin.drive(Driver.CLOCK)
        pin.mode = _CLOCK_MODES[gpio]
        pin.hardware_hz = hz
        self.refresh(gpio)
        return 0

    def set_glitch_filter(self, gpio: int, steady_us: int) -> int:
        if gpio >= USER_PINS:
            return int(pigpio.PI_BAD_USER_GPIO)
        if steady_us > _MAX_GLITCH_US:
            return int(pigpio.PI_BAD_FILTER)
        self.pins[gpio].glitch_us = steady_us
        return 0
