"""Modes, safety, and what guardian tells."""

from __future__ import annotations

from typing import Any

import pytest

from bus.messages import Fault
from contract.errors import ContractError
from processes.missions.config import GuardianConfig
from processes.missions.logic import MAX_FAULTS, Safety, Watch, after_mission, resolve
from tests.processes.missions.traces import dog, sighting


def code(safety: Safety) -> str | None:
    trouble = safety.trouble()
    return None if trouble is None else trouble.code


def test_docking_needs_a_dock() -> None:
    with pytest.raises(ContractError, match="no dock"):
        resolve("docking")
    assert resolve("coach") == "training"


def test_an_emergency_stop_is_trouble_until_it_is_released() -> None:
    safety = Safety()
    safety.on_emergency(True, 5.0)
    safety.on_emergency(True, 6.0)
    assert (code(safety), safety.emergency_since_s) == ("EMERGENCY_STOPPED", 5.0)
    safety.on_emergency(False, 7.0)
    assert code(safety) is None


def test_what_motion_said_before_the_release_is_past() -> None:
    safety = Safety()
    safety.on_emergency(True, 5.0)
    safety.on_release(6.0)
    safety.on_emergency(True, 5.9)
    assert code(safety) is None
    safety.on_emergency(True, 6.1)
    assert code(safety) == "EMERGENCY_STOPPED"


def test_only_critical_faults_are_trouble_and_they_are_bounded() -> None:
    safety = Safety()
    safety.on_fault("audio", Fault("AUDIO_UNAVAILABLE", "No card.", "warning"))
    assert code(safety) is None
    for number in range(MAX_FAULTS + 3):
        safety.on_fault("monitor", Fault(f"F{number}", "Bad.", "critical"))
    assert (code(safety), safety.refused) == ("CONFLICT", 3)
    safety.on_heartbeat("monitor", 1)
    assert code(safety) == "CONFLICT"
    safety.on_heartbeat("monitor", 2)
    assert code(safety) is None


def test_a_critical_fault_that_becomes_less_is_none() -> None:
    safety = Safety()
    safety.on_fault("monitor", Fault("LOW_BATTERY", "Empty.", "critical"))
    safety.on_fault("monitor", Fault("LOW_BATTERY", "Low.", "warning"))
    assert code(safety) is None


def test_a_mission_that_safety_ended_leaves_the_robot_idle() -> None:
    assert after_mission("guardian", None) == "guardian"
    assert after_mission("guardian", ContractError("CONFLICT", "x")) == "idle"


class Guard:
    """A watch, seen at 5 Hz."""

    def __init__(self, **changes: Any) -> None:
        self.now = 1000.0
        self.watch = Watch(GuardianConfig(**changes), self.now)

    def see(self, seconds: float, *behaviors: Any) -> list[str]:
        told = []
        for _ in range(round(seconds * 5)):
            self.now += 0.2
            told += self.watch.on_sighting(sighting(self.now, *map(dog, behaviors)), self.now)
        return [alert.kind for alert in told]


def test_a_dog_is_told_once_while_it_is_there_and_again_when_it_was_away() -> None:
    guard = Guard(quiet_s=1.0)
    assert guard.see(30, "lying") == ["presence"]
    guard.see(10)
    assert guard.see(5, "lying") == []
    guard.see(21)
    assert guard.see(5, "lying") == ["presence"]


def test_a_glimpse_is_no_dog() -> None:
    guard = Guard()
    for _ in range(5):
        assert guard.see(1.0, "standing") == []
        guard.see(1.0)


def test_alerts_keep_their_distance() -> None:
    guard = Guard(absence_s=1.0, quiet_s=60.0)
    told = [kind for _ in range(12) for kind in guard.see(5, "standing") + guard.see(5)]
    assert len(told) == 2


def test_a_restless_dog_is_told_once_until_it_has_calmed_down() -> None:
    guard = Guard(quiet_s=1.0)
    assert guard.see(60, "moving") == ["presence", "activity"]
    assert guard.see(60, "lying") == []
    assert guard.see(30, "moving") == ["activity"]


def test_some_moving_is_usual() -> None:
    guard = Guard()
    told = [kind for _ in range(10) for kind in guard.see(4, "moving") + guard.see(16, "lying")]
    assert told == ["presence"]


def test_a_watch_without_sight_tells_nothing() -> None:
    watch = Watch(GuardianConfig(), 0.0)
    for step in range(100):
        assert watch.on_sighting(sighting(step * 0.2, dog("moving"), model=None), step * 0.2) == []
        assert watch.on_sighting(sighting(1.0, dog("moving")), 100.0) == []
