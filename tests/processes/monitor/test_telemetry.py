from __future__ import annotations

from typing import Any

import pytest

from bus.memory import MemoryHub
from bus.messages import DispenserState, Dog, ModeState, MotionState, Sighting
from bus.topics import DISPENSER_STATE, MODE_STATE, MOTION_STATE, SIGHTING
from contract.models import Mission, Telemetry, status_of
from processes.monitor.battery import Reading
from processes.monitor.machine import Condition
from processes.monitor.telemetry import Surroundings

CONDITION = Condition(9, 48.5, -60, undervoltage=False, throttled=True, disk_free_mib=900, memory_free_pct=40.0)
BOX = (0.1, 0.1, 0.5, 0.5)


def mission(id: str, *, active: bool) -> Mission:
    return Mission(
        id=id,
        name=id,
        description="",
        target_behavior="sitting",
        required_duration=3.0,
        cooldown_seconds=10.0,
        daily_limit=5,
        is_active=active,
        rewards_given=0,
        progress=0.0,
        success_count=0,
        fail_count=0,
        created_at="2026-01-31T12:00:00Z",
    )


class Room:
    def __init__(self) -> None:
        self.hub = MemoryHub()
        self.surroundings = Surroundings(self.hub.bus("monitor"))

    def say(self, topic: Any, value: Any) -> None:
        self.hub.bus(topic.owner).publish(topic, value)
        self.hub.run()

    def telemetry(self, battery: Reading = Reading()) -> Telemetry:  # noqa: B008
        return self.surroundings.telemetry(CONDITION, battery)


@pytest.fixture
def room() -> Room:
    return Room()


def test_what_nobody_says_is_unknown(room: Room) -> None:
    assert room.telemetry() == Telemetry(
        temperature=48.5,
        wifi_strength=-60,
        uptime_seconds=9,
        undervoltage=False,
        throttled=True,
        disk_free_mib=900,
        memory_free=40.0,
    )


def test_the_battery_is_told_as_precisely_as_it_is_known(room: Room) -> None:
    telemetry = room.telemetry(Reading(15.12345, 48.6789, True))
    assert (telemetry.battery, telemetry.battery_voltage, telemetry.is_charging) == (48.7, 15.12, True)


def test_mode_and_mission_are_those_of_missions_while_it_speaks(room: Room) -> None:
    missions = [mission("sit", active=False), mission("stay", active=True)]
    room.say(MODE_STATE, ModeState("training", "a mission", "lan", "2026-01-31T12:00:00Z", missions))
    assert (room.telemetry().mode, room.telemetry().active_mission_id) == ("training", "stay")
    room.hub.advance(MODE_STATE.max_age_s + 1)
    assert (room.telemetry().mode, room.telemetry().active_mission_id) == (None, None)


def test_the_dog_is_the_one_that_is_seen_best(room: Room) -> None:
    dogs = [Dog(1, BOX, 0.4, "moving", 0.9, 2.0), Dog(2, BOX, 0.8, "sitting", 0.7, 1.0)]
    room.say(SIGHTING, Sighting(5, 1, dogs, "mobilenet"))
    telemetry = room.telemetry()
    assert (telemetry.dog_detected, telemetry.current_behavior, telemetry.confidence) == (True, "sitting", 0.7)


@pytest.mark.parametrize(("model", "seen"), [("mobilenet", (False, "absent")), (None, (None, None))])
def test_no_dog_is_something_else_than_nobody_who_looks(
    room: Room, model: str | None, seen: tuple[bool | None, str | None]
) -> None:
    room.say(SIGHTING, Sighting(5, 1, [], model))
    assert (room.telemetry().dog_detected, room.telemetry().current_behavior) == seen


def test_what_was_seen_is_soon_over(room: Room) -> None:
    room.say(SIGHTING, Sighting(5, 1, [Dog(1, BOX, 0.4, "moving", 0.9, 2.0)], "scene"))
    room.hub.advance(SIGHTING.max_age_s + 0.1)
    assert (room.telemetry().dog_detected, room.telemetry().current_behavior) == (None, None)


def test_the_emergency_stop_is_motions(room: Room) -> None:
    assert room.telemetry().emergency_stop is None
    for latched in (True, False):
        room.say(MOTION_STATE, MotionState(0.0, 0.0, 0.0, 0.0, latched, None))
        assert room.telemetry().emergency_stop is latched
        assert status_of(room.telemetry()).emergency_stop is latched


def test_treats_are_the_dispensers(room: Room) -> None:
    room.say(DISPENSER_STATE, DispenserState(11, "idle", "2026-01-31T12:00:00Z", "off"))
    assert (room.telemetry().treats_remaining, room.telemetry().last_treat_time) == (11, "2026-01-31T12:00:00Z")


def test_the_load_is_what_the_motors_take_while_motion_speaks(room: Room) -> None:
    assert room.surroundings.load() == 0
    room.say(MOTION_STATE, MotionState(0.7, -0.5, 0.0, 0.0, False, None))
    assert room.surroundings.load() == pytest.approx(0.6)
    room.hub.advance(MOTION_STATE.max_age_s + 0.1)
    assert room.surroundings.load() == 0
