"""The battery's physics, by a clock of the test's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.config import HardwareConfig
from processes.simulator.battery import Battery
from processes.simulator.config import SimulatorConfig
from processes.simulator.logic import Machine

WORLD = SimulatorConfig()
HOUR_S = 3600.0


def battery(pct: float = 50.0) -> Battery:
    battery = Battery(4, WORLD)
    battery.set_pct(pct)
    battery.advance(0.0, 1.0)
    return battery


def test_what_is_drawn_is_gone() -> None:
    pack = battery(100.0)
    pack.advance(WORLD.battery_ah / 4, HOUR_S)

    assert pack.pct == pytest.approx(75, abs=1)


def test_under_load_the_voltage_gives_way_at_once_then_slowly_and_comes_back_slowly() -> None:
    pack = battery()
    rest_v = pack.volts
    pack.advance(4.0, 1.0)
    at_once_v = pack.volts
    pack.advance(4.0, 119.0)
    after_minutes_v = pack.volts
    pack.advance(0.0, 1.0)
    let_go_v = pack.volts
    pack.advance(0.0, 1200.0)

    assert rest_v > at_once_v > after_minutes_v
    assert after_minutes_v < let_go_v < pack.volts < rest_v


def test_a_charger_lifts_the_voltage_fills_the_battery_and_stops() -> None:
    pack = battery(90.0)
    rest_v = pack.volts
    pack.charging = True
    pack.advance(0.4, 600.0)
    assert pack.volts > rest_v + 0.2
    assert pack.amps == pytest.approx(0.4 - WORLD.charger_amps)
    highest_v = 0.0
    for _ in range(240):
        pack.advance(0.4, 60.0)
        highest_v = max(highest_v, pack.volts)

    assert (pack.pct, pack.amps) == (100.0, 0.0)
    assert highest_v <= 16.8001


@given(st.lists(st.tuples(st.floats(0, 30), st.floats(0.001, 2000), st.booleans()), max_size=20), st.floats(0, 100))
def test_nothing_that_is_done_to_it_leaves_what_a_battery_can_be(
    days: list[tuple[float, float, bool]], pct: float
) -> None:
    pack = battery(pct)
    for amps, seconds, pack.charging in days:
        pack.advance(amps, seconds)
        assert 0 <= pack.pct <= 100
        assert 0 <= pack.volts < 20


def test_motors_and_lights_draw_from_it() -> None:
    machine = Machine(HardwareConfig(), WORLD, 0.0)
    machine.advance(1.0)
    idle = machine.snapshot().battery.amps
    for gpio in (17, 27):
        machine.bank.write(gpio, 1)
    for gpio in (13, 19):
        machine.bank.set_range(gpio, 200)
        machine.bank.set_pwm(gpio, 140)
    machine.advance(1.02)
    starting = machine.snapshot().battery
    machine.advance(5.0)
    driving = machine.snapshot().battery

    assert 0.2 < idle < driving.amps < starting.amps
    assert starting.volts < driving.volts
