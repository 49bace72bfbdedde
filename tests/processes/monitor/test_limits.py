from __future__ import annotations

import pytest

from bus.messages import Fault
from processes.monitor.battery import Reading
from processes.monitor.config import MonitorConfig
from processes.monitor.limits import LINGERS_S, UNMEASURED_S, Limit, Limits
from processes.monitor.machine import Condition


def told(faults: list[Fault]) -> list[tuple[str, bool]]:
    return [(fault.code, fault.active) for fault in faults]


class Watch:
    """The limits, and a clock that goes on by a second with each reading."""

    def __init__(self) -> None:
        self.limits = Limits(MonitorConfig())
        self.now = 0.0

    def condition(self, **readings: float | bool | None) -> list[tuple[str, bool]]:
        self.now += 1.0
        return told(list(self.limits.on_condition(Condition(1, **readings), self.now)))  # type: ignore[arg-type]

    def battery(self, pct: float | None, *, cut_off: bool = False, fitted: bool = True) -> list[tuple[str, bool]]:
        self.now += 1.0
        reading = Reading() if pct is None else Reading(14.0, pct, False, cut_off)
        return told(list(self.limits.on_battery(reading, self.now, fitted=fitted)))


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.mark.parametrize(
    ("reading", "code", "values"),
    [
        ("temperature_c", "OVERHEAT", [None, 79.0, 80.0, 78.0, 81.0, None, 75.1, 75.0, 79.0]),
        ("disk_free_mib", "DISK_FULL", [None, 201, 200, 300, 100, None, 399, 400, 250]),
    ],
)
def test_a_limit_has_a_hysteresis(watch: Watch, reading: str, code: str, values: list[float | None]) -> None:
    changes = [watch.condition(**{reading: value}) for value in values]

    assert changes == [[], [], [(code, True)], [], [], [], [], [(code, False)], []]


def test_little_memory_is_told_when_it_lasts(watch: Watch) -> None:
    assert watch.condition(memory_free_pct=3.0) == []
    assert watch.condition(memory_free_pct=6.0) == []
    changes = [watch.condition(memory_free_pct=3.0) for _ in range(11)]
    assert changes == [[]] * 10 + [[("LOW_MEMORY", True)]]
    assert watch.condition(memory_free_pct=10.0) == [("LOW_MEMORY", False)]


@pytest.mark.parametrize(("reading", "code"), [("undervoltage", "UNDERVOLTAGE"), ("throttled", "THROTTLED")])
def test_what_comes_and_goes_is_told_once(watch: Watch, reading: str, code: str) -> None:
    assert watch.condition(**{reading: True}) == [(code, True)]
    for n in range(200):
        assert watch.condition(**{reading: n % 20 == 0}) == []
    for _ in range(round(LINGERS_S) - 19):
        changes = watch.condition(**{reading: False})
    assert changes == []
    while not (changes := watch.condition(**{reading: False})):
        assert watch.now < 400
    assert changes == [(code, False)]


def test_a_low_battery_is_told_once_and_a_critical_one_too(watch: Watch) -> None:
    changes = [watch.battery(pct) for pct in (21, 20, 19, 22, 20, 5, 4, 6, 9.9, 10, 24.9, 25, 21)]

    assert [change for change in changes if change] == [
        [("LOW_BATTERY", True)],
        [("BATTERY_CRITICAL", True)],
        [("BATTERY_CRITICAL", False)],
        [("LOW_BATTERY", False)],
    ]
    assert (changes[1], changes[5], changes[9], changes[11]) == tuple(change for change in changes if change)


def test_a_battery_that_gives_way_is_critical_whatever_its_charge(watch: Watch) -> None:
    assert watch.battery(40) == []
    assert watch.battery(40, cut_off=True) == [("BATTERY_CRITICAL", True)]
    assert watch.battery(40, cut_off=True) == []
    assert watch.battery(40) == [("BATTERY_CRITICAL", False)]


def test_a_critical_battery_stays_so_while_it_is_not_known(watch: Watch) -> None:
    watch.battery(3)
    assert watch.battery(None) == []
    assert watch.limits.battery_state(Reading()).critical is None
    assert watch.battery(6) == []
    assert watch.limits.battery_state(Reading(13.0, 6.0, False)).critical is True


def test_a_battery_that_cannot_be_measured_is_told_after_a_while(watch: Watch) -> None:
    changes = [change for _ in range(round(UNMEASURED_S) + 5) for change in watch.battery(None)]
    assert changes == [("BATTERY_UNKNOWN", True)]
    assert watch.battery(50) == [("BATTERY_UNKNOWN", False)]


def test_a_battery_that_is_not_fitted_is_no_fault(watch: Watch) -> None:
    assert [watch.battery(None, fitted=False) for _ in range(100)] == [[]] * 100


def test_the_message_holds_the_reading() -> None:
    limit = Limit("HOT", "warning", 80, 75, lambda value: f"{value} °C")
    fault = limit.on_reading(81.0, 0.0)
    assert fault == Fault("HOT", "81.0 °C", "warning", active=True)


def test_the_critical_charge_lies_below_the_low_one() -> None:
    with pytest.raises(ValueError, match="critical_battery_pct must be the smaller"):
        MonitorConfig(low_battery_pct=10, critical_battery_pct=10)
