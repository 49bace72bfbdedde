from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from bus.base import Latest
from bus.memory import MemoryBus, MemoryHub
from bus.messages import BatteryState, DispenserState, Fault, Heartbeat, RobotEvent
from bus.topics import (
    BATTERY_STATE,
    COMMAND_TOPICS,
    DISPENSER_STATE,
    EVENTS,
    FAULTS,
    HEALTH,
    HEARTBEATS,
    TELEMETRY,
    TELEMETRY_HISTORY,
)
from contract.commands import Nothing
from contract.errors import ContractError
from contract.models import HistoryQuery, Status, TelemetryHistory
from hardware.config import BatteryConfig
from hardware.errors import HardwareError
from processes.monitor.config import MonitorConfig
from processes.monitor.history import Row
from processes.monitor.logic import Action, Program, Record, Usage
from processes.monitor.machine import Condition
from processes.monitor.service import MonitorService

EMPTY_HISTORY = TelemetryHistory(
    step_s=60,
    timestamp=[],
    battery=[],
    battery_voltage=[],
    is_charging=[],
    temperature=[],
    wifi_strength=[],
    disk_free_mib=[],
    memory_free=[],
    treats_remaining=[],
)


class FakeMachine:
    temperature: float | None = 51.5

    def read(self) -> Condition:
        return Condition(4711, self.temperature)


class FakeHistory:
    """Keeps minutes in memory; `full`: the disk does not take them."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.asked: list[int] = []
        self.full = False

    def append(self, row: Row) -> None:
        if self.full:
            raise OSError("No space left on device")
        self.rows.append(row)

    def latest(self, minutes: int) -> TelemetryHistory:
        self.asked.append(minutes)
        return EMPTY_HISTORY


class FakeMeter:
    def read(self, pids: Mapping[str, int]) -> dict[str, Usage]:
        return {name: Usage(2.5, 1000 + pid, 500) for name, pid in pids.items()}


class FakeStore:
    """Keeps records in memory; `full`: it cannot."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.full = False

    def load(self) -> dict[str, Record]:
        return dict(self.records)

    def save(self, records: Mapping[str, Record]) -> None:
        if self.full:
            raise OSError("No space left on device")
        self.records = dict(records)


class FakeKeeper:
    def __init__(self) -> None:
        self.pokes = 0
        self.working = True

    def poke(self) -> None:
        self.pokes += 1

    def works(self) -> bool:
        return self.working


class Room:
    def __init__(self, *, history: bool = True, battery_fitted: bool = False) -> None:
        self.battery_fitted = battery_fitted
        self.store = FakeStore()
        self.history: FakeHistory | None = FakeHistory() if history else None
        self.hub = MemoryHub()
        self.machine = FakeMachine()
        self.app = self.hub.bus("local_api")
        self.service = self.start()
        self.health = Latest(self.app, HEALTH)
        self.telemetry = Latest(self.app, TELEMETRY)
        self.battery = Latest(self.app, BATTERY_STATE)
        self.events: list[RobotEvent] = []
        self.app.subscribe(EVENTS["monitor"], lambda message: self.events.append(message.value))
        self.hub.run()

    def start(self) -> MonitorService:
        bus = self.hub.bus("monitor")
        return MonitorService(
            bus,
            MonitorConfig(),
            self.machine,
            FakeMeter(),
            self.store,
            BatteryConfig(fitted=self.battery_fitted),
            self.history,
            lambda: datetime(2026, 1, 31, tzinfo=UTC),
        )

    def measure(self, volts: float, seconds: float) -> None:
        """The battery has so much for so long."""
        for _ in range(round(seconds / 0.5)):
            self.hub.advance(0.5)
            self.service.on_battery(volts)

    def beat(self, name: str, pid: int = 5) -> MemoryBus:
        bus = self.hub.bus(name)
        bus.publish(HEARTBEATS[name], Heartbeat(pid, 3.0, 0.1))
        return bus


@pytest.fixture
def room() -> Room:
    return Room()


def test_health_names_every_process_and_whether_it_beats(room: Room) -> None:
    room.beat("motion")
    room.hub.advance(1.0)
    assert room.health.message is not None
    by_name = {process.name: process for process in room.health.message.value.processes}
    assert by_name["motion"].alive
    assert by_name["motion"].pid == 5
    assert not by_name["camera"].alive


def test_unknown_readings_are_null_and_treats_come_from_the_dispenser(room: Room) -> None:
    assert room.telemetry.message is not None
    first = room.telemetry.message.value
    assert (first.battery, first.wifi_strength, first.treats_remaining) == (None, None, None)
    assert (first.temperature, first.uptime_seconds) == (51.5, 4711)
    room.hub.bus("dispenser").publish(DISPENSER_STATE, DispenserState(11, "idle", "2026-01-31T12:00:00Z", "off"))
    room.hub.advance(1.0)
    assert room.telemetry.message.value.treats_remaining == 11
    room.hub.advance(10.0)
    assert room.telemetry.message.value.treats_remaining is None


def test_get_status_is_answered(room: Room) -> None:
    asked = room.app.request(COMMAND_TOPICS["get_status"], Nothing())
    room.hub.run()
    assert asked.result() == Status(temperature=51.5)


def test_a_fault_becomes_one_error_event(room: Room) -> None:
    camera = room.hub.bus("camera")
    for _ in range(3):
        camera.publish(FAULTS["camera"], Fault("CAMERA_FAULT", "No frames come.", "error"))
    room.hub.advance(5.0)
    (event,) = room.events
    assert event.event == "error"
    assert event.data == {"code": "CAMERA_FAULT", "message": "No frames come.", "severity": "error"}


def test_a_restarted_process_tells_its_fault_again(room: Room) -> None:
    room.beat("camera", 5).publish(FAULTS["camera"], Fault("CAMERA_FAULT", "No frames come.", "error"))
    room.hub.advance(20.0)
    room.beat("camera", 6).publish(FAULTS["camera"], Fault("CAMERA_FAULT", "No frames come.", "error"))
    room.hub.run()
    assert len(room.events) == 2


def test_overheating_is_told(room: Room) -> None:
    room.machine.temperature = 85.0
    room.hub.advance(3.0)
    (event,) = room.events
    assert event.data["code"] == "OVERHEAT"


def test_who_hangs_is_killed_and_told_of_once(room: Room) -> None:
    programs = {"motion": Program("RUNNING", 5, 1.0), "camera": Program("RUNNING", 6, 1.0)}
    actions: list[Action] = []
    for _ in range(60):
        room.hub.advance(0.5)
        room.beat("motion")
        room.hub.run()
        actions += room.service.decide(programs)
    assert set(actions) == {Action("kill", "camera")}
    room.hub.run()
    (event,) = room.events
    assert event.event == "error"
    assert event.data["code"] == "PROCESS_HUNG"
    assert event.data["message"].startswith("camera hung")


def crash(room: Room, times: int) -> list[Action]:
    """Camera dies again and again; what is asked of supervisord after the last time."""
    actions: list[Action] = []
    for number in range(times + 1):
        room.hub.advance(1.0)
        actions = room.service.decide({"camera": Program("RUNNING", 10 + number, float(number))})
    room.hub.run()
    return actions


def test_a_crash_loop_is_told_once_and_kept_for_the_next_monitor(room: Room) -> None:
    assert crash(room, 5) == [Action("stop", "camera")]
    assert [event.data["code"] for event in room.events] == ["PROCESS_CRASHED", "CRASH_LOOP"]
    assert room.events[1].data["severity"] == "error"
    record = room.store.records["camera"]
    assert (record.restarts, record.holds) == (5, 1)
    assert record.held_until is not None
    room.hub.advance(1.0)
    assert room.health.message is not None
    (camera,) = [process for process in room.health.message.value.processes if process.name == "camera"]
    assert (camera.state, camera.restarts) == ("held", 5)
    assert (camera.cpu_pct, camera.own_kib) == (2.5, 500)
    assert camera.last_error is not None
    assert "crashed 5 times" in camera.last_error


def test_what_the_next_monitor_would_not_know_of_is_not_stopped(room: Room) -> None:
    room.store.full = True
    assert crash(room, 5) == []
    room.store.full = False
    assert room.service.decide({"camera": Program("RUNNING", 15, 5.0)}) == [Action("stop", "camera")]


def test_a_restarted_monitor_starts_what_it_held(room: Room) -> None:
    crash(room, 5)
    room.service = room.start()
    stopped = {"camera": Program("STOPPED", 0, 5.0)}
    assert room.service.decide(stopped) == []
    room.hub.advance(11.0)
    assert room.service.decide(stopped) == [Action("start", "camera")]


def test_a_missing_beat_pokes_the_thread_and_a_thread_that_works_not_winds_no_deadman(room: Room) -> None:
    keeper = FakeKeeper()
    wound: list[float] = []
    room.service.kept_by(keeper, lambda: wound.append(room.app.now()))
    room.hub.advance(1.0)
    assert len(wound) == 4
    assert keeper.pokes == 0
    room.beat("motion")
    room.hub.advance(2.0)
    assert keeper.pokes > 0
    keeper.working = False
    wound.clear()
    room.hub.advance(1.0)
    assert wound == []


def test_a_fault_is_the_last_error_of_its_process(room: Room) -> None:
    room.hub.bus("camera").publish(FAULTS["camera"], Fault("CAMERA_FAULT", "No frames come.", "error"))
    room.hub.advance(2.0)
    assert room.health.message is not None
    (camera,) = [process for process in room.health.message.value.processes if process.name == "camera"]
    assert camera.last_error == "No frames come."


CRITICAL_V, GOOD_V = 14.0, 16.0
"""Of 4 cells at rest: about 4 and 88 %."""


def codes(room: Room) -> list[str]:
    return [event.data["code"] for event in room.events]


def state(room: Room) -> BatteryState:
    assert room.battery.message is not None
    return room.battery.message.value


def test_the_battery_is_told_once_it_is_known(room: Room) -> None:
    assert state(room) == BatteryState(None, None, None, None)
    room.measure(GOOD_V, 10)
    assert room.telemetry.message is not None
    telemetry = room.telemetry.message.value
    assert telemetry.battery == pytest.approx(87.6, abs=0.2)
    assert (telemetry.battery_voltage, telemetry.is_charging) == (16.0, False)
    assert state(room).critical is False
    asked = room.app.request(COMMAND_TOPICS["get_status"], Nothing())
    room.hub.run()
    assert asked.result().battery == telemetry.battery


def test_a_critical_battery_is_said_to_all_and_told_once(room: Room) -> None:
    room.measure(GOOD_V, 60)
    room.measure(CRITICAL_V, 300)
    assert codes(room) == ["LOW_BATTERY", "BATTERY_CRITICAL"]
    assert room.events[-1].data["severity"] == "critical"
    assert state(room).critical is True
    room.measure(GOOD_V, 300)
    assert state(room).critical is False
    assert len(room.events) == 2


def test_a_battery_that_is_no_longer_measured_is_unknown_and_told() -> None:
    room = Room(battery_fitted=True)
    room.measure(GOOD_V, 10)
    for _ in range(60):
        room.hub.advance(1.0)
        room.service.on_battery(HardwareError("could not read the chip"))
    assert room.telemetry.message is not None
    assert room.telemetry.message.value.battery is None
    assert state(room).critical is None
    assert codes(room) == ["BATTERY_UNKNOWN"]


def test_a_restarted_monitor_says_nothing_of_what_it_does_not_know_yet(room: Room) -> None:
    room.measure(CRITICAL_V, 10)
    assert state(room).critical is True
    room.service = room.start()
    room.hub.advance(1.0)
    assert state(room).critical is None
    room.measure(CRITICAL_V, 10)
    assert state(room).critical is True


def test_a_minute_of_history_is_kept_each_minute(room: Room) -> None:
    assert room.history is not None
    room.measure(GOOD_V, 180.5)
    assert [kept.temperature for kept in room.history.rows] == [51.5, 51.5, 51.5]
    assert room.history.rows[-1].battery == pytest.approx(87.6, abs=0.2)
    room.history.full = True
    room.hub.advance(60)
    assert room.hub.buses["monitor"].counters["monitor.history_errors"] == 1
    room.history.full = False
    room.hub.advance(60)
    assert len(room.history.rows) == 4


def test_the_history_is_told_to_who_asks(room: Room) -> None:
    assert room.history is not None
    asked = room.app.request(TELEMETRY_HISTORY, HistoryQuery(30))
    room.hub.run()
    assert asked.result() == EMPTY_HISTORY
    assert room.history.asked == [30]


def test_without_a_history_everything_else_works() -> None:
    room = Room(history=False)
    room.hub.advance(120)
    asked = room.app.request(TELEMETRY_HISTORY, HistoryQuery())
    room.hub.run()
    with pytest.raises(ContractError, match="No history is kept"):
        asked.result()
    assert room.telemetry.message is not None
