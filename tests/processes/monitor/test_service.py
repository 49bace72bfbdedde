from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bus.base import Latest
from bus.memory import MemoryBus, MemoryHub
from bus.messages import DispenserState, Fault, Heartbeat, RobotEvent
from bus.topics import COMMAND_TOPICS, DISPENSER_STATE, EVENTS, FAULTS, HEALTH, HEARTBEATS, TELEMETRY
from contract.commands import Nothing
from contract.models import Status
from processes.monitor.config import MonitorConfig
from processes.monitor.logic import Program
from processes.monitor.service import MonitorService


class FakeMachine:
    temperature: float | None = 51.5

    def temperature_c(self) -> float | None:
        return self.temperature

    def wifi_dbm(self) -> int | None:
        return None

    def uptime_s(self) -> int:
        return 4711


class Room:
    def __init__(self) -> None:
        self.hub = MemoryHub()
        self.machine = FakeMachine()
        self.app = self.hub.bus("local_api")
        self.service = self.start()
        self.health = Latest(self.app, HEALTH)
        self.telemetry = Latest(self.app, TELEMETRY)
        self.events: list[RobotEvent] = []
        self.app.subscribe(EVENTS["monitor"], lambda message: self.events.append(message.value))
        self.hub.run()

    def start(self) -> MonitorService:
        bus = self.hub.bus("monitor")
        return MonitorService(bus, MonitorConfig(), self.machine, lambda: datetime(2026, 1, 31, tzinfo=UTC))

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


def test_who_hangs_is_decided_by_the_heartbeats(room: Room) -> None:
    programs = {"motion": Program(True, 5, 1.0), "camera": Program(True, 6, 1.0)}
    for _ in range(60):
        room.hub.advance(0.5)
        room.beat("motion")
        room.hub.run()
        hung = room.service.decide(programs)
        if hung:
            break
    assert hung == ["camera"]
