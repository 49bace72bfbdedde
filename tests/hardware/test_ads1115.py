"""The converter: on a simulated chip that obeys the datasheet, directly and through pigpio's own client."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from bus.messages import SimulatedFault
from hardware.ads1115 import Ads1115, battery_adc
from hardware.config import BatteryConfig, HardwareConfig, PinsConfig
from hardware.errors import HardwareError
from hardware.pins import close_factory, pin_factory
from processes.simulator.ads1115 import Ads1115 as Chip
from processes.simulator.local import LocalSimulator
from tests.hardware import lgpio_standin


class WiredChip:
    """The simulated chip without a bus, and a clock that only `sleep` moves. `stuck`: it converts for ever."""

    def __init__(self) -> None:
        self.inputs = [0.0, 0.0, 0.0, 0.0]
        self.chip = Chip(lambda channel: self.inputs[channel])
        self.now = 0.0
        self.stuck = False
        self.resets_itself = False
        self.writes: list[tuple[int, bytes]] = []

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if not self.stuck:
            self.chip.advance(self.now)
        if self.resets_itself:
            self.chip.reset()

    def read(self, register: int) -> int:
        return self.chip.read(register)

    def read_word(self, register: int) -> int:
        word = self.chip.read_word(register)
        return (word & 0xFF) << 8 | word >> 8

    def write(self, register: int, data: bytes) -> None:
        self.writes.append((register, data))
        self.chip.write(register, data)

    def close(self) -> None:
        self.writes.append((-1, b""))


@pytest.fixture
def wired() -> WiredChip:
    return WiredChip()


def adc(wired: WiredChip, channel: int = 0) -> Ads1115:
    return Ads1115(channel, wired, wired.sleep, lambda: wired.now)


def test_the_settings_are_the_datasheets(wired: WiredChip) -> None:
    adc(wired).volts()
    adc(wired, 3).volts()

    # Single shot, input 0 (then 3) against ground, ±4.096 V, 128 a second, no comparator.
    assert wired.writes == [(1, b"\xc3\x83"), (1, b"\xf3\x83")]


@pytest.mark.parametrize("volts", [0.0, 0.5, 2.7055, 3.3, 4.09])
def test_a_voltage_is_right_to_a_step(wired: WiredChip, volts: float) -> None:
    wired.inputs = [9.0, 9.0, volts, 9.0]

    assert adc(wired, 2).volts() == pytest.approx(volts, abs=4.096 / 32768)


def test_every_reading_is_a_new_one(wired: WiredChip) -> None:
    converter = adc(wired)
    wired.inputs[0] = 2.0
    assert converter.volts() == pytest.approx(2.0, abs=0.001)
    wired.inputs[0] = 1.0
    assert converter.volts() == pytest.approx(1.0, abs=0.001)


def test_a_little_below_ground_is_nothing(wired: WiredChip) -> None:
    wired.inputs[0] = -0.01

    assert adc(wired).volts() == 0.0


def test_more_than_it_can_measure_is_no_reading(wired: WiredChip) -> None:
    wired.inputs[0] = 5.0

    with pytest.raises(HardwareError, match="voltage divider"):
        adc(wired).volts()


def test_a_conversion_that_never_ends_is_given_up(wired: WiredChip) -> None:
    wired.stuck = True

    with pytest.raises(HardwareError, match="does not end it"):
        adc(wired).volts()
    assert wired.now < 0.1


def test_a_chip_that_was_reset_meanwhile_gives_no_stale_reading(wired: WiredChip) -> None:
    wired.inputs[0] = 2.0
    wired.resets_itself = True

    with pytest.raises(HardwareError, match="no ADS1115, or it was reset"):
        adc(wired).volts()


@pytest.fixture
def simulated() -> Iterator[LocalSimulator]:
    with LocalSimulator() as simulated:
        yield simulated


def test_the_simulated_battery_is_read_through_pigpio(simulated: LocalSimulator) -> None:
    battery = simulated.hardware.battery
    factory = pin_factory(simulated.pins)
    converter = battery_adc(battery, factory)

    told = converter.volts() * battery.factor

    assert told == pytest.approx(simulated.state().battery.volts, abs=0.03)
    simulated.apply(SimulatedFault(battery_pct=5.0))
    assert converter.volts() * battery.factor < told - 1.0
    simulated.apply(SimulatedFault(battery_adc_dead=True))
    with pytest.raises(HardwareError, match="0x48 on I²C bus 1"):
        converter.volts()
    simulated.apply(SimulatedFault(battery_adc_dead=False))
    converter.volts()
    converter.close()
    close_factory(factory)


def test_where_none_is_fitted_nothing_answers() -> None:
    wiring = msgspec.structs.replace(HardwareConfig(), battery=BatteryConfig(fitted=False))
    with LocalSimulator(wiring) as simulated:
        factory = pin_factory(simulated.pins)
        with pytest.raises(HardwareError, match="0x48 on I²C bus 1"):
            battery_adc(BatteryConfig(), factory).volts()
        close_factory(factory)


def test_on_a_pi_5_the_registers_go_through_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = lgpio_standin.install(monkeypatch, {0: 54})
    chip = machine.i2c[1, 0x48] = lgpio_standin.I2cChip()
    factory = pin_factory(PinsConfig(factory="lgpio"))
    converter = battery_adc(BatteryConfig(), factory)
    # This stand-in has registers of a byte: CONVERSION is bytes 0 and 1, and CONFIG, bytes 1 and 2, is ready at once.
    volts = converter.volts()

    assert chip.transactions == [(1, b"\xc3\x83")]
    assert volts == pytest.approx(0x00C3 * 4.096 / 32768)
    converter.close()
    close_factory(factory)
