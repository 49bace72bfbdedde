"""The simulated machine: what the motors, servos, treat carousel and lights do with what the pins do.

Between two changes of a pin everything moves by a closed formula, so `advance` may be called as rarely or as often
as one likes, and events inside the interval (a treat that breaks the beam) come out with their exact times.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple, Protocol

from bus.messages import (
    MachineState,
    SimulatedBattery,
    SimulatedBeam,
    SimulatedCarousel,
    SimulatedFault,
    SimulatedLeds,
    SimulatedMotor,
    SimulatedMotors,
    SimulatedPin,
    SimulatedServos,
)
from hardware.config import (
    SPI_GPIOS,
    CarouselConfig,
    HardwareConfig,
    MotorsConfig,
    ServoConfig,
    WheelConfig,
    uses_servo_board,
    wheel_pins,
)
from hardware.servo import us_to_deg
from hardware.ws2812 import Rgb, decode
from processes.simulator.ads1115 import Ads1115
from processes.simulator.battery import Battery
from processes.simulator.config import SimulatorConfig
from processes.simulator.gpio import SPI_CHIP_SELECTS, GpioBank, Mode
from processes.simulator.pca9685 import Pca9685

HEADER_PINS = range(2, 28)
MAX_EDGES = 1024
"""Level changes that may wait to be taken."""
SERVO_FRAME_HZ = (40.0, 330.0)
SERVO_PULSE_US = (395.0, 2605.0)
"""A servo takes no notice of pulses that come at another rate, or have another width than 400 to 2600 µs, about."""
FULL_SPEED_US = 500.0
"""A continuous servo turns no faster beyond this distance from its middle."""
CHANNEL_W = 0.1
"""A colour of a WS2812 pixel at its brightest: 20 mA of 5 V."""
TUBE_W = 1.0
CONVERTED = 0.85
"""The share of the battery's power that comes out of the 5 V supply."""


class I2cChip(Protocol):
    """What hangs on the I²C bus. A word is two bytes in one transaction, the first one being the low one."""

    def read(self, register: int) -> int: ...

    def read_word(self, register: int) -> int: ...

    def write(self, register: int, data: bytes) -> None: ...


class Edge(NamedTuple):
    """The levels of GPIO 0–31 from `at_s` on, as a bit mask."""

    at_s: float
    levels: int


class Wheel:
    """A DC motor: its speed follows the duty with a first-order lag. Speed and duty are −1…1, forward positive."""

    def __init__(self, wheel: WheelConfig, motors: MotorsConfig, lag_s: float) -> None:
        self._pins = wheel_pins(motors.driver, wheel)
        self._dir_pwm = motors.driver == "dir_pwm"
        self._sign = -1 if wheel.inverted else 1
        self._lag_s = lag_s
        self.speed = 0.0

    def duty(self, bank: GpioBank) -> float:
        """What the H-bridge makes of its pins; both inputs alike brake, which is zero."""
        duties = [bank.pins[gpio].duty for gpio in self._pins]
        if self._dir_pwm:
            direction, pwm = duties
            return self._sign * (pwm if direction else -pwm)
        in1, in2, enable = duties
        return self._sign * (in1 - in2) * enable

    def amps(self, bank: GpioBank, world: SimulatorConfig) -> float:
        """What it takes from the battery: the H-bridge passes the motor's current on for the duty's share of time."""
        duty = self.duty(bank)
        return abs(duty) * (world.motor_amps * abs(self.speed) + world.stall_amps * abs(duty - self.speed))

    def advance(self, bank: GpioBank, elapsed_s: float) -> None:
        duty = self.duty(bank)
        self.speed = duty + (self.speed - duty) * math.exp(-elapsed_s / self._lag_s)


class Head:
    """A positional servo: turns towards its pulse at a limited rate, and stays where it is without one."""

    def __init__(self, servo: ServoConfig, slew_deg_per_s: float) -> None:
        self._servo = servo
        self._slew_deg_per_s = slew_deg_per_s
        self.deg = 0.0

    def pulse_us(self, bank: GpioBank) -> float | None:
        return servo_pulse_us(bank, self._servo)

    def advance(self, bank: GpioBank, elapsed_s: float) -> None:
        us = self.pulse_us(bank)
        if us is None:
            return
        target = us_to_deg(self._servo, min(max(us, self._servo.min_us), self._servo.max_us))
        step = self._slew_deg_per_s * elapsed_s
        self.deg += min(max(target - self.deg, -step), step)


def servo_pulse_us(bank: GpioBank, servo: ServoConfig | CarouselConfig) -> float | None:
    """The pulse that a servo takes notice of where it is wired, in µs."""
    if servo.driver == "pca9685":
        assert servo.channel is not None
        if bank.servo_board is None:
            return None
        us, hz = bank.servo_board.pulse_us(servo.channel), bank.servo_board.frequency_hz
    else:
        assert servo.gpio is not None
        us, hz = bank.pins[servo.gpio].pulse_us, bank.pins[servo.gpio].frequency_hz
    slowest, fastest = SERVO_FRAME_HZ
    narrowest, widest = SERVO_PULSE_US
    if us is None or not slowest <= hz <= fastest or not narrowest <= us <= widest:
        return None
    return us


class Carousel:
    """A wheel of slots, each a stack of treats; as a slot passes the chute forwards, one treat falls out of it.

    The chute lies half a slot ahead of where the wheel stands at the start.
    """

    def __init__(self, hardware: HardwareConfig, world: SimulatorConfig) -> None:
        self._config = hardware.carousel
        self._world = world
        self._forward = 1 if self._config.turn_us > self._config.stop_us else -1
        self.slots = [0] * self._config.slots
        self.turned_deg = 0.0
        self.dropped = 0
        self.jammed = False
        self._backwards_s = 0.0
        self.refill(world.treats)

    @property
    def pitch_deg(self) -> float:
        return 360.0 / len(self.slots)

    def refill(self, treats: int) -> None:
        """Empty it, and spread this many treats over the slots."""
        share, rest = divmod(treats, len(self.slots))
        self.slots = [share + (slot < rest) for slot in range(len(self.slots))]

    def deg_per_s(self, bank: GpioBank) -> float:
        """How fast the servo would turn a free wheel; forwards is positive."""
        us = servo_pulse_us(bank, self._config)
        off_us = 0.0 if us is None else us - self._config.stop_us
        if abs(off_us) <= self._world.carousel_deadband_us:
            return 0.0
        off_us = min(max(off_us, -FULL_SPEED_US), FULL_SPEED_US)
        return self._forward * off_us * self._world.carousel_deg_per_s_per_us

    def _passings(self, from_deg: float, to_deg: float) -> range:
        """Which slots' edges lie in (from, to]; edge k is at (k + ½) pitches."""
        pitch = self.pitch_deg
        return range(math.floor(from_deg / pitch - 0.5) + 1, math.floor(to_deg / pitch - 0.5) + 1)

    def advance(self, bank: GpioBank, elapsed_s: float) -> list[float]:
        """Turn on, and return when treats fell through the chute, in seconds since the interval's start."""
        speed = self.deg_per_s(bank)
        waited_s = 0.0
        if self.jammed:
            self._backwards_s = self._backwards_s + elapsed_s if speed < 0 else 0.0
            if self._backwards_s < self._world.unjam_s:
                return []
            waited_s = elapsed_s - (self._backwards_s - self._world.unjam_s)
            self.jammed = False
        self._backwards_s = 0.0
        start_deg = self.turned_deg
        self.turned_deg += speed * (elapsed_s - waited_s)
        falls = []
        for edge in self._passings(start_deg, self.turned_deg) if speed > 0 else ():
            slot = edge % len(self.slots)
            if self.slots[slot]:
                self.slots[slot] -= 1
                self.dropped += 1
                falls.append(((edge + 0.5) * self.pitch_deg - start_deg) / speed)
        return falls

    def next_fall_s(self, bank: GpioBank) -> float | None:
        """Seconds until the next treat falls, if nothing changes."""
        speed = self.deg_per_s(bank)
        if speed <= 0 or self.jammed:
            return None
        for edge in self._passings(self.turned_deg, self.turned_deg + 360.0):
            if self.slots[edge % len(self.slots)]:
                return ((edge + 0.5) * self.pitch_deg - self.turned_deg) / speed
        return None


class Machine:
    """Everything behind the pins. `now` is any monotonic clock, in seconds; every call first lets time pass to it."""

    def __init__(self, hardware: HardwareConfig, world: SimulatorConfig, now: float) -> None:
        board = hardware.servos.board
        self.bank = GpioBank()
        if uses_servo_board(hardware):
            self.bank.servo_board = Pca9685(board.oscillator_hz)
        self.edges_dropped = 0
        self.garbled_frames = 0
        self._hardware = hardware
        self._world = world
        self._now = now
        self._left = Wheel(hardware.motors.left, hardware.motors, world.wheel_lag_s)
        self._right = Wheel(hardware.motors.right, hardware.motors, world.wheel_lag_s)
        self._pan = Head(hardware.servos.pan, world.servo_slew_deg_per_s)
        self._tilt = Head(hardware.servos.tilt, world.servo_slew_deg_per_s)
        self._carousel = Carousel(hardware, world)
        self.battery = Battery(hardware.battery.cells, world)
        self.battery_adc = Ads1115(self._adc_input_v) if hardware.battery.fitted else None
        self._battery_adc_dead = False
        self._broken: deque[tuple[float, float]] = deque(maxlen=256)  # when falling treats break the beam: from, to
        self._beam_blocked = False
        self._beam_dead = False
        self._pixels: list[Rgb] = [(0, 0, 0)] * hardware.leds.pixels
        self._spi_modes: dict[int, int] = {}
        self._edges: deque[Edge] = deque()
        self._levels = self.bank.levels
        self._hold_beam(now)
        self.take_edges()

    # -- time -------------------------------------------------------------------------------------

    def advance(self, now: float) -> None:
        """Let time pass. A clock that stands still or goes back passes none."""
        start, elapsed_s = self._now, now - self._now
        if elapsed_s <= 0:
            return
        for part in (self._left, self._right, self._pan, self._tilt):
            part.advance(self.bank, elapsed_s)
        self.battery.advance(self._drawn_amps(), elapsed_s)
        if self.battery_adc is not None:
            self.battery_adc.advance(now)
        for fell_s in self._carousel.advance(self.bank, elapsed_s):
            begins = start + fell_s + self._world.fall_s
            self._broken.append((begins, begins + self._world.beam_s))
        for moment in sorted(moment for window in self._broken for moment in window):
            if start < moment <= now:
                self._hold_beam(moment)
        while self._broken and self._broken[0][1] <= now:
            self._broken.popleft()
        self._now = now

    def next_event_s(self) -> float | None:
        """When a line changes next by itself, on the clock of `now`; None if nothing is under way."""
        moments = [moment for window in self._broken for moment in window if moment > self._now]
        falls_in_s = self._carousel.next_fall_s(self.bank)
        if falls_in_s is not None:
            moments.append(self._now + falls_in_s + self._world.fall_s)
        return min(moments, default=None)

    def note_edge(self, now: float) -> None:
        """Something was done to a pin: keep the edge, if a line's level changed by it."""
        if self._levels == self.bank.levels:
            return
        if len(self._edges) >= MAX_EDGES:
            self._edges.popleft()
            self.edges_dropped += 1
        self._levels = self.bank.levels
        self._edges.append(Edge(now, self._levels))

    def take_edges(self) -> list[Edge]:
        """The level changes since the last call, oldest first."""
        edges = list(self._edges)
        self._edges.clear()
        return edges

    # -- the battery ------------------------------------------------------------------------------

    def _drawn_amps(self) -> float:
        motors = self._left.amps(self.bank, self._world) + self._right.amps(self.bank, self._world)
        tube_w = TUBE_W * self.bank.pins[self._hardware.leds.tube_gpio].duty
        lights_w = CHANNEL_W * sum(map(sum, self._pixels)) / 255 + tube_w
        return motors + (self._world.computer_w + lights_w) / CONVERTED / max(self.battery.volts, 1.0)

    def _adc_input_v(self, channel: int) -> float:
        battery = self._hardware.battery
        return self.battery.volts / battery.factor if channel == battery.channel else 0.0

    # -- the beam ---------------------------------------------------------------------------------

    def _beam_broken(self, moment: float) -> bool:
        return self._beam_blocked or any(begins <= moment < ends for begins, ends in self._broken)

    def _hold_beam(self, moment: float) -> None:
        """The sensor pulls its line low while the beam is broken; a dead one never does."""
        if self._hardware.beam.fitted:
            self.bank.hold(self._hardware.beam.gpio, int(self._beam_dead or not self._beam_broken(moment)))
            self.note_edge(moment)

    # -- SPI --------------------------------------------------------------------------------------

    def spi_begin(self, leave_chip_selects: int) -> None:
        """SPI 0 takes its pins; bit n of `leave_chip_selects` leaves chip select n alone."""
        selects = [gpio for n, gpio in enumerate(SPI_CHIP_SELECTS) if not leave_chip_selects >> n & 1]
        for gpio in (*selects, *SPI_GPIOS.values()):
            self._spi_modes[gpio] = self.bank.get_mode(gpio)
            self.bank.set_mode(gpio, Mode.ALT0)

    def spi_end(self) -> None:
        """SPI 0 gives its pins back as it found them."""
        for gpio, mode in self._spi_modes.items():
            self.bank.set_mode(gpio, mode)
        self._spi_modes.clear()

    def spi_write(self, data: bytes) -> None:
        """Bytes on MOSI: the strip shows what it can read; pixels beyond them keep their colours."""
        try:
            pixels = decode(data)[: len(self._pixels)]
        except ValueError:
            self.garbled_frames += 1
            return
        self._pixels[: len(pixels)] = pixels

    # -- I²C --------------------------------------------------------------------------------------

    def i2c_chip(self, bus: int, address: int) -> I2cChip | None:
        """What answers at an address; None where nothing does."""
        board, battery = self._hardware.servos.board, self._hardware.battery
        if (bus, address) == (battery.i2c_bus, battery.address):
            return None if self._battery_adc_dead else self.battery_adc
        return self.bank.servo_board if (bus, address) == (board.i2c_bus, board.address) else None

    # -- for people and tests ---------------------------------------------------------------------

    def apply(self, fault: SimulatedFault) -> None:
        """Break or mend something, as of the last `advance`; a field that is None leaves things as they are."""
        if fault.jam is not None:
            self._carousel.jammed = fault.jam
        if fault.beam_blocked is not None:
            self._beam_blocked = fault.beam_blocked
        if fault.beam_dead is not None:
            self._beam_dead = fault.beam_dead
        if fault.refill is not None:
            self._carousel.refill(fault.refill)
        if fault.battery_pct is not None:
            self.battery.set_pct(fault.battery_pct)
        if fault.charging is not None:
            self.battery.charging = fault.charging
        if fault.battery_adc_dead is not None:
            self._battery_adc_dead = fault.battery_adc_dead
        self._hold_beam(self._now)

    def snapshot(self, clients: int = 0) -> MachineState:
        """The machine as of the last `advance`. `clients` is how many programs hold its pins."""
        bank, carousel, pixels = self.bank, self._carousel, self._shown()
        return MachineState(
            pins={str(gpio): self._pin(gpio) for gpio in HEADER_PINS},
            motors=SimulatedMotors(self._motor(self._left), self._motor(self._right)),
            servos=SimulatedServos(
                pan_deg=round(self._pan.deg, 2),
                tilt_deg=round(self._tilt.deg, 2),
                pan_us=_rounded(self._pan.pulse_us(bank)),
                tilt_us=_rounded(self._tilt.pulse_us(bank)),
            ),
            carousel=SimulatedCarousel(
                angle_deg=round(carousel.turned_deg % 360.0, 2),
                deg_per_s=0.0 if carousel.jammed else round(carousel.deg_per_s(bank), 1),
                slots=len(carousel.slots),
                treats_left=sum(carousel.slots),
                dropped=carousel.dropped,
                jammed=carousel.jammed,
            ),
            beam=SimulatedBeam(broken=self._beam_broken(self._now)),
            leds=SimulatedLeds(
                pixels=pixels,
                lit=sum(pixel != (0, 0, 0) for pixel in pixels),
                tube=round(bank.pins[self._hardware.leds.tube_gpio].duty, 4),
            ),
            clients=clients,
            battery=SimulatedBattery(
                volts=round(self.battery.volts, 2),
                amps=round(self.battery.amps, 1) + 0.0,
                charge_pct=round(self.battery.pct, 1),
                charging=self.battery.charging,
            ),
        )

    def _shown(self) -> list[Rgb]:
        """The colours of the strip, or of the RGB LED, each of whose legs shines against the common one."""
        leds = self._hardware.leds
        if leds.driver == "strip":
            return list(self._pixels)
        red, green, blue = (self._shines(gpio) for gpio in (leds.rgb.red, leds.rgb.green, leds.rgb.blue))
        return [(red, green, blue)]

    def _shines(self, gpio: int) -> int:
        pin = self.bank.pins[gpio]
        if pin.mode is Mode.INPUT:
            return 0
        return round(255 * (pin.duty if self._hardware.leds.rgb.common == "cathode" else 1 - pin.duty))

    def _pin(self, gpio: int) -> SimulatedPin:
        pin = self.bank.pins[gpio]
        return SimulatedPin(pin.mode.name.lower(), pin.level, round(pin.duty, 4), pin.frequency_hz)

    def _motor(self, wheel: Wheel) -> SimulatedMotor:
        return SimulatedMotor(duty=round(wheel.duty(self.bank), 4) + 0.0, speed=round(wheel.speed, 3) + 0.0)


def _rounded(us: float | None) -> float | None:
    return None if us is None else round(us, 1)
