"""The gauge, on made-up voltages and on the simulated battery's physics; time is the test's own."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware.config import BatteryConfig
from hardware.li_ion import charge_at_pct, rest_v
from processes.monitor.battery import MEDIAN_OF, STALE_S, Gauge, Reading
from processes.simulator.battery import Battery
from processes.simulator.config import SimulatorConfig

CONFIG = BatteryConfig()
PERIOD_S = 0.5
IDLE_AMPS, DRIVING_AMPS = 0.45, 1.7
DUTY = 0.7
MINUTE_S = 60.0


def pack_v(pct: float) -> float:
    return 4 * rest_v(charge_at_pct(pct))


class Day:
    """A gauge, and what it hears."""

    def __init__(self, pct: float = 60.0) -> None:
        self.now = 1000.0
        self.gauge = Gauge(CONFIG)
        self.pack = Battery(CONFIG.cells, SimulatorConfig(battery_pct=pct))

    def hear(self, volts: float, seconds: float, load: float = 0.0) -> Reading:
        for _ in range(max(1, round(seconds / PERIOD_S))):
            self.now += PERIOD_S
            self.gauge.on_voltage(volts, load, self.now)
        return self.gauge.reading(self.now)

    def live(self, seconds: float, *, driving: bool = False) -> list[Reading]:
        """Time passes for the simulated battery; every reading."""
        readings = []
        for _ in range(round(seconds / PERIOD_S)):
            self.now += PERIOD_S
            self.pack.advance(DRIVING_AMPS if driving else IDLE_AMPS, PERIOD_S)
            self.gauge.on_voltage(self.pack.volts, DUTY if driving else 0.0, self.now)
            readings.append(self.gauge.reading(self.now))
        return readings


def known(pct: float | None) -> float:
    assert pct is not None
    return pct


def test_nothing_is_known_before_there_are_enough_readings_and_after_they_ended() -> None:
    day = Day()
    assert day.gauge.reading(day.now) == Reading()
    assert day.hear(15.0, PERIOD_S * (MEDIAN_OF - 1)) == Reading()
    assert day.hear(15.0, PERIOD_S).pct is not None
    assert day.gauge.reading(day.now + STALE_S + 0.1) == Reading()


@pytest.mark.parametrize("pct", [0.0, 5.0, 20.0, 50.0, 90.0, 100.0])
def test_a_rested_battery_is_read_by_the_curve(pct: float) -> None:
    assert known(Day().hear(pack_v(pct), 60).pct) == pytest.approx(pct, abs=0.1)


def test_a_wild_reading_changes_nothing() -> None:
    day = Day()
    before = day.hear(15.2, 60)
    for wild in (0.0, 22.0, 0.0):
        day.hear(wild, PERIOD_S)
        day.hear(15.2, 2)
    assert day.hear(15.2, PERIOD_S) == before


def test_a_step_is_smoothed() -> None:
    day = Day()
    day.hear(15.2, 60)
    assert 15.0 < known(day.hear(14.8, 10).volts) < 15.2
    assert day.hear(14.8, 180).volts == pytest.approx(14.8, abs=0.001)


def test_driving_takes_from_the_charge_what_it_takes_and_no_more() -> None:
    day = Day(60.0)
    day.live(2 * MINUTE_S)
    shown = [known(reading.pct) for reading in day.live(5 * MINUTE_S, driving=True)]

    assert abs(shown[-1] - day.pack.pct) < 8
    assert all(later <= earlier for earlier, later in pairwise(shown))


def test_after_driving_the_charge_rises_only_once_the_battery_has_rested() -> None:
    day = Day(60.0)
    day.live(MINUTE_S)
    lowest = known(day.live(10 * MINUTE_S, driving=True)[-1].pct)
    first_minute = day.live(55)
    assert all(known(reading.pct) <= lowest for reading in first_minute)
    day.live(20 * MINUTE_S)
    assert known(day.gauge.reading(day.now).pct) == pytest.approx(day.pack.pct, abs=6)


@pytest.mark.parametrize("pct", [10.0, 30.0, 60.0, 95.0])
def test_a_voltage_that_comes_back_after_driving_is_no_charging(pct: float) -> None:
    day = Day(pct)
    for _ in range(3):
        day.live(2 * MINUTE_S)
        day.live(3 * MINUTE_S, driving=True)
        assert not any(reading.charging for reading in day.live(15 * MINUTE_S))


def test_no_charging_is_seen_where_monitor_began_right_after_a_drive() -> None:
    day = Day(40.0)
    day.pack.advance(3 * DRIVING_AMPS, 5 * MINUTE_S)

    assert not any(reading.charging for reading in day.live(30 * MINUTE_S))


def test_lights_that_go_out_are_no_charging() -> None:
    day = Day()
    day.hear(15.0, 20 * MINUTE_S)
    assert day.hear(15.2, 20 * MINUTE_S).charging is False


def test_a_charger_is_seen_within_minutes_and_its_end_at_once() -> None:
    day = Day(50.0)
    day.live(15 * MINUTE_S)
    day.pack.charging = True
    readings = day.live(40 * MINUTE_S)
    seen_after_s = next(n for n, reading in enumerate(readings) if reading.charging) * PERIOD_S
    assert 2 * MINUTE_S <= seen_after_s < 20 * MINUTE_S
    assert all(reading.charging for reading in readings[round(seen_after_s / PERIOD_S) :])

    day.pack.charging = False
    readings = day.live(5 * MINUTE_S)
    assert readings[-1].charging is False
    changes = sum(one.charging != other.charging for one, other in pairwise(readings))
    assert changes == 1
    assert not any(reading.charging for reading in day.live(30 * MINUTE_S))


def test_a_charger_is_seen_again_after_it_was_gone() -> None:
    day = Day(30.0)
    day.live(15 * MINUTE_S)
    for _ in range(2):
        day.pack.charging = True
        assert any(reading.charging for reading in day.live(60 * MINUTE_S))
        day.pack.charging = False
        day.live(30 * MINUTE_S)
        day.live(10 * MINUTE_S, driving=True)
        day.live(30 * MINUTE_S)
        assert day.gauge.reading(day.now).charging is False


def test_driving_off_ends_charging() -> None:
    day = Day(50.0)
    day.live(15 * MINUTE_S)
    day.pack.charging = True
    day.live(40 * MINUTE_S)
    assert day.gauge.reading(day.now).charging
    day.pack.charging = False
    assert day.live(5, driving=True)[-1].charging is False


def test_an_outage_of_the_sensor_is_no_evidence_of_anything() -> None:
    day = Day()
    day.hear(14.8, 20 * MINUTE_S)
    day.now += 600
    assert day.hear(15.0, 10 * MINUTE_S).charging is False


def test_after_an_outage_the_charge_is_what_is_measured_then() -> None:
    day = Day()
    day.hear(pack_v(10.0), 60, load=0.1)
    day.now += STALE_S + 1
    assert known(day.hear(pack_v(60.0), 10, load=0.0).pct) == pytest.approx(60, abs=0.1)


def test_a_battery_that_gives_way_to_empty_for_seconds_is_cut_off() -> None:
    day = Day()
    day.hear(14.5, 60)
    assert not day.hear(11.9, 4, load=0.7).cut_off
    assert day.hear(11.9, 6, load=0.7).cut_off
    assert not day.hear(14.4, 10).cut_off


@settings(max_examples=60)
@given(
    st.floats(15, 95),
    st.lists(st.tuples(st.booleans(), st.integers(5, 600)), min_size=1, max_size=10),
)
def test_however_it_is_driven_no_charger_is_seen_that_is_not_there(pct: float, spells: list[tuple[bool, int]]) -> None:
    day = Day(pct)
    for driving, seconds in spells:
        for reading in day.live(seconds, driving=driving):
            assert not reading.charging
            assert reading.pct is None or 0 <= reading.pct <= 100
