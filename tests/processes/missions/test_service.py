"""The process on the bus: one mode, one mission, and treats that are never given twice."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import simplejpeg

from bus import snapshots
from bus.codec import Message
from bus.frames import FrameReader, FrameWriter, blank
from bus.memory import MemoryHub
from bus.messages import Fault, Heartbeat, ModeState, MotionState, Origin, RobotEvent, Sighting
from bus.recording import Record, Recording, Writer
from bus.topics import COMMAND_TOPICS, EVENTS, FAULTS, HEARTBEATS, MODE_STATE, MOTION_STATE, SIGHTING
from contract.commands import Dispensed, MissionRef, ModeChange, Nothing
from contract.errors import ContractError
from contract.models import Mission
from processes.missions.config import GuardianConfig, MissionsConfig
from processes.missions.service import MissionsService
from processes.missions.shelf import Shelf
from processes.missions.snapshots import Snapshots
from processes.missions.store import MissionStore
from tests.processes.missions.traces import SIT, dog, sighting

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)  # a Monday
LAN = Origin("lan", "rest:test")


class Robot:
    """Missions on a bus with the processes it speaks to, played by the test."""

    def __init__(self, directory: Path, **changes: Any) -> None:
        self.directory = directory
        self.folder = directory / "missions"
        self.folder.mkdir(exist_ok=True)
        (self.folder / "sit.yaml").write_text(SIT)
        self.hub = MemoryHub()
        self.started_at = self.hub.now
        self.clock = NOON
        self.config = MissionsConfig(**changes)
        self.treats: list[str | None] = []
        self.treat_error: ContractError | None = None
        self.asked: list[tuple[str, Any]] = []
        self.releases: list[Any] = []
        self.hold_treats = False
        self.held: Future[Any] = Future()
        self.events: list[RobotEvent] = []
        self.faults: list[Fault] = []
        self.states: list[ModeState] = []
        self.dispenser = self.hub.bus("dispenser")
        self.dispenser.serve(COMMAND_TOPICS["treat"], self._treat)
        self.dispenser.serve(COMMAND_TOPICS["led"], lambda request: self.asked.append(("led", request.body.pattern)))
        self.audio = self.hub.bus("audio")
        self.audio.serve(COMMAND_TOPICS["audio"], lambda request: self.asked.append(("audio", request.body.file)))
        self.audio.serve(COMMAND_TOPICS["audio_stop"], lambda request: self.asked.append(("audio", None)))
        self.motion = self.hub.bus("motion")
        self.motion.serve(COMMAND_TOPICS["release"], lambda request: self.releases.append(request.origin))
        self.detector = self.hub.bus("detector")
        self.monitor = self.hub.bus("monitor")
        self.monitor.subscribe(EVENTS["missions"], lambda message: self.events.append(message.value))
        self.monitor.subscribe(FAULTS["missions"], lambda message: self.faults.append(message.value))
        self.monitor.subscribe(MODE_STATE, lambda message: self.states.append(message.value))
        self.lan = self.hub.bus("local_api")
        self.start()

    def start(self) -> None:
        """Start the process, or start it again after a kill."""
        bus = self.hub.bus("missions")
        guardian = self.config.guardian
        pictures = Snapshots(
            snapshots.folder(self.directory),
            FrameReader(self.directory, "main"),
            quality=80,
            most=guardian.snapshots,
            most_bytes=int(guardian.snapshots_mb * 1e6),
        )
        self.store = MissionStore(self.directory / "missions.sqlite")
        self.service = MissionsService(
            bus,
            self.config,
            self.store,
            lambda told: Shelf(self.folder, told),
            pictures,
            ZoneInfo("Europe/Berlin"),
            self.wall_clock,
            beside=lambda call: call(),
        )
        self.hub.run()

    def restart(self) -> None:
        """kill -9, and up again."""
        self.hub.kill("missions")
        self.store.close()
        self.start()

    def wall_clock(self) -> datetime:
        return self.clock + timedelta(seconds=self.hub.now - self.started_at)

    def _treat(self, request: Any) -> Any:
        self.treats.append(request.id)
        if self.treat_error is not None:
            raise self.treat_error
        return self.held if self.hold_treats else Dispensed(5, True)

    def ask(self, command: str, body: Any = None, origin: Origin | None = LAN) -> Any:
        """The result, or the error that came instead."""
        future = self.lan.request(COMMAND_TOPICS[command], body or Nothing(), origin=origin)
        self.hub.run()
        for _ in range(30):
            if future.done():
                break
            self.hub.advance(0.1)
        error = future.exception(0)
        return error if error is not None else future.result()

    def mode(self) -> str:
        return str(self.ask("mode_get").mode)

    def sit(self) -> Mission:
        mission: Mission = self.ask("mission_get", MissionRef("sit"))
        return mission

    def see(self, seconds: float, *behaviors: Any) -> None:
        for _ in range(round(seconds / 0.2)):
            self.hub.advance(0.2)
            self.publish_sighting(sighting(self.hub.now, *map(dog, behaviors, range(9))))

    def publish_sighting(self, value: Sighting) -> None:
        self.detector.publish(SIGHTING, value)
        self.hub.run()

    def emergency(self, latched: bool) -> None:
        self.motion.publish(MOTION_STATE, MotionState(0, 0, 0, 0, latched, None))
        self.hub.run()

    def told(self, event: str = "mission") -> list[Any]:
        key = {"mission": "status", "mode": "mode", "alert": "kind"}[event]
        return [each.data[key] for each in self.events if each.event == event]


@pytest.fixture
def robot(tmp_path: Path) -> Robot:
    return Robot(tmp_path)


def code(outcome: Any) -> str:
    assert isinstance(outcome, ContractError), outcome
    return outcome.code


# -- the mode ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "mode"),
    [("guardian", "guardian"), ("silent_guardian", "guardian"), ("coach", "training"), ("mission", "training")],
)
def test_a_mode_is_set_by_any_of_its_names(robot: Robot, name: Any, mode: str) -> None:
    assert robot.ask("mode", ModeChange(name)) == Nothing()
    now = robot.ask("mode_get")
    assert (now.mode, now.source, now.reason) == (mode, "lan", "Asked for by lan.")
    assert robot.states[-1].mode == mode
    (event,) = robot.events
    assert event.event == "mode"
    assert event.data == {"mode": mode, "previous": "idle", "reason": "Asked for by lan.", "source": "lan"}


def test_without_a_dock_there_is_no_docking(robot: Robot) -> None:
    error = robot.ask("mode", ModeChange("docking"))
    assert code(error) == "NOT_FITTED"
    assert error.status == 409
    assert robot.mode() == "idle"


def test_the_mode_outlives_a_restart(robot: Robot) -> None:
    robot.ask("mode", ModeChange("guardian"))
    robot.restart()
    assert robot.mode() == "guardian"
    assert robot.told("mode") == ["guardian"]


def test_only_manual_releases_the_emergency_stop_and_is_answered_after_it(robot: Robot) -> None:
    robot.emergency(True)
    for name in ("idle", "guardian", "training"):
        robot.ask("mode", ModeChange(name))
    assert robot.releases == []
    assert robot.ask("mode", ModeChange("manual")) == Nothing()
    assert robot.releases == [LAN]
    assert robot.mode() == "manual"


def test_manual_asked_for_again_releases_again(robot: Robot) -> None:
    robot.ask("mode", ModeChange("manual"))
    robot.emergency(True)
    robot.ask("mode", ModeChange("manual"))
    assert len(robot.releases) == 2


def test_where_motion_does_not_answer_the_mode_stays(robot: Robot) -> None:
    robot.hub.kill("motion")
    assert code(robot.ask("mode", ModeChange("manual"))) == "UNAVAILABLE"
    assert robot.mode() == "idle"


def test_an_emergency_stop_that_was_pressed_later_is_not_released(robot: Robot) -> None:
    future = robot.lan.request(COMMAND_TOPICS["mode"], ModeChange("manual"), origin=LAN)
    robot.hub.now += 0.01
    robot.service._safety.on_emergency(True, robot.hub.now)
    robot.hub.run()
    assert code(future.exception(0)) == "EMERGENCY_STOPPED"
    assert robot.releases == []


def test_a_full_disk_is_told_and_the_mode_is_not_changed(robot: Robot) -> None:
    robot.store.close()
    assert code(robot.ask("mode", ModeChange("guardian"))) == "INTERNAL_ERROR"
    assert robot.faults[-1].code == "MISSION_STORE"
    assert robot.told("mode") == []


# -- missions ------------------------------------------------------------------------------------------


def test_a_mission_from_start_to_end(robot: Robot) -> None:
    assert robot.ask("mission_start", MissionRef("sit")) == Nothing()
    assert robot.mode() == "training"
    assert robot.sit().is_active
    robot.see(6, "sitting")
    assert robot.asked == [
        ("led", "attention"),
        ("audio", "whistle.flac"),
        ("led", "celebration"),
        ("audio", "good_dog.mp3"),
        ("led", "off"),
    ]
    robot.see(2, "standing")
    robot.see(8, "sitting")
    assert robot.told() == ["started", "success", "rewarded", "success", "rewarded", "completed"]
    sit = robot.sit()
    assert (sit.is_active, sit.rewards_given, sit.success_count, sit.fail_count) == (False, 2, 2, 0)
    assert len(set(robot.treats)) == 2
    assert robot.asked[-1] == ("led", "off")
    assert robot.mode() == "idle"
    assert robot.told("mode") == ["training", "idle"]


def test_one_mission_at_a_time(robot: Robot) -> None:
    (robot.folder / "stay.yaml").write_text(SIT.replace("Sit", "Stay"))
    robot.hub.advance(6)
    robot.ask("mission_start", MissionRef("sit"))
    assert code(robot.ask("mission_start", MissionRef("stay"))) == "CONFLICT"
    assert [mission.is_active for mission in robot.ask("mission_list").missions] == [True, False]


@pytest.mark.parametrize("command", ["mission_start", "mission_stop", "mission_get"])
def test_an_unknown_mission_is_not_found(robot: Robot, command: str) -> None:
    assert code(robot.ask(command, MissionRef("fly"))) == "NOT_FOUND"


def test_a_stop_half_way_is_answered_when_the_lights_are_off(robot: Robot) -> None:
    robot.ask("mission_start", MissionRef("sit"))
    robot.see(1, "sitting")
    assert robot.ask("mission_stop", MissionRef("sit")) == Nothing()
    assert robot.asked[-2:] == [("led", "off"), ("audio", None)]
    robot.see(20, "sitting")
    assert robot.treats == []
    assert robot.told() == ["started", "stopped"]
    assert robot.ask("mission_stop", MissionRef("sit")) == Nothing()


def test_another_mode_ends_the_mission_and_stays(robot: Robot) -> None:
    robot.ask("mission_start", MissionRef("sit"))
    robot.ask("mode", ModeChange("guardian"))
    assert robot.told() == ["started", "stopped"]
    assert robot.mode() == "guardian"
    assert robot.told("mode") == ["training", "guardian"]


def test_an_emergency_stop_parks_the_mission(robot: Robot) -> None:
    robot.ask("mode", ModeChange("guardian"))
    robot.ask("mission_start", MissionRef("sit"))
    robot.see(1, "sitting")
    robot.emergency(True)
    assert robot.told()[-1] == "stopped"
    now = robot.ask("mode_get")
    assert (now.mode, now.source) == ("idle", "safety")
    assert "emergency stop" in now.reason
    assert code(robot.ask("mission_start", MissionRef("sit"))) == "EMERGENCY_STOPPED"
    robot.emergency(False)
    assert robot.ask("mission_start", MissionRef("sit")) == Nothing()


def test_a_critical_fault_parks_the_mission_until_it_is_over(robot: Robot) -> None:
    robot.ask("mission_start", MissionRef("sit"))
    robot.monitor.publish(FAULTS["monitor"], Fault("LOW_BATTERY", "The battery is empty.", "critical"))
    robot.hub.run()
    assert robot.told()[-1] == "stopped"
    assert code(robot.ask("mission_start", MissionRef("sit"))) == "CONFLICT"
    robot.monitor.publish(FAULTS["monitor"], Fault("LOW_BATTERY", "Charged.", "info", active=False))
    robot.hub.run()
    assert robot.ask("mission_start", MissionRef("sit")) == Nothing()


def test_a_process_that_began_anew_has_no_critical_fault_until_it_says_so(robot: Robot) -> None:
    robot.monitor.publish(HEARTBEATS["monitor"], Heartbeat(10, 1.0, 0.0))
    robot.monitor.publish(FAULTS["monitor"], Fault("LOW_BATTERY", "The battery is empty.", "critical"))
    robot.monitor.publish(HEARTBEATS["monitor"], Heartbeat(11, 1.0, 0.0))
    robot.hub.run()
    assert robot.ask("mission_start", MissionRef("sit")) == Nothing()


def test_a_mission_that_was_cut_off_is_over_and_its_treat_is_not_asked_for_again(robot: Robot) -> None:
    robot.ask("mode", ModeChange("guardian"))
    robot.ask("mission_start", MissionRef("sit"))
    robot.hold_treats = True
    robot.see(4, "sitting")
    assert len(robot.treats) == 1
    robot.asked.clear()
    robot.restart()
    robot.see(10, "sitting")
    assert len(robot.treats) == 1
    assert robot.told()[-1] == "interrupted"
    assert robot.mode() == "guardian"
    assert robot.asked == [("led", "off")]
    assert robot.store.tally("sit", "2026-03-02").counted == 1


def test_the_dispensers_refusal_is_told_and_not_argued_with(robot: Robot) -> None:
    robot.treat_error = ContractError("EMPTY", "There are no treats left.")
    robot.ask("mission_start", MissionRef("sit"))
    robot.see(60, "sitting")
    assert len(robot.treats) == 1
    assert robot.told() == ["started", "success", "unrewarded", "stopped"]
    assert "no treats left" in robot.events[-2].data["reason"]
    assert robot.sit().rewards_given == 0


def test_the_days_limit_holds_over_restarts_until_midnight_in_the_robots_zone(robot: Robot) -> None:
    (robot.folder / "sit.yaml").write_text(SIT.replace("daily_limit: 10", "daily_limit: 1"))
    robot.hub.advance(6)
    robot.ask("mission_start", MissionRef("sit"))
    robot.see(8, "sitting")
    robot.restart()
    assert code(robot.ask("mission_start", MissionRef("sit"))) == "DAILY_LIMIT"
    robot.clock = datetime(2026, 3, 2, 22, 58, tzinfo=UTC)  # 23:58 in Berlin
    assert code(robot.ask("mission_start", MissionRef("sit"))) == "DAILY_LIMIT"
    robot.clock = datetime(2026, 3, 2, 23, 0, tzinfo=UTC)
    assert robot.ask("mission_start", MissionRef("sit")) == Nothing()
    assert robot.sit().rewards_given == 0


def test_a_detector_that_is_dead_rewards_nobody(robot: Robot) -> None:
    robot.ask("mission_start", MissionRef("sit"))
    robot.see(1, "sitting")
    robot.hub.advance(90)
    assert robot.treats == []
    assert robot.told() == ["started", "stopped"]


def test_cues_that_cannot_be_given_do_not_end_the_mission(robot: Robot) -> None:
    robot.hub.kill("audio")
    robot.ask("mission_start", MissionRef("sit"))
    robot.see(4, "sitting")
    assert len(robot.treats) == 1
    robot.hub.advance(6)
    assert robot.hub.buses["missions"].counters["missions.cues_failed"] > 0


def test_a_disk_that_fails_half_way_gives_no_treat(robot: Robot) -> None:
    robot.ask("mission_start", MissionRef("sit"))
    robot.see(1, "sitting")
    robot.store.close()
    robot.see(5, "sitting")
    assert robot.treats == []
    assert robot.told()[-1] == "stopped"


# -- files ---------------------------------------------------------------------------------------------


def test_a_broken_file_is_told_once_and_hurts_no_other(robot: Robot) -> None:
    (robot.folder / "broken.yaml").write_text("name: Broken\nrequired_duration: x\n")
    robot.hub.advance(6)
    assert [mission.id for mission in robot.ask("mission_list").missions] == ["sit"]
    assert robot.faults[0].code == "MISSION_FILE"
    assert robot.faults[0].message.startswith("missions/broken.yaml:2: required_duration: ")
    (robot.folder / "broken.yaml").unlink()
    robot.hub.advance(6)
    assert not robot.faults[-1].active


# -- schedules -----------------------------------------------------------------------------------------


def planned(robot: Robot, at: str) -> None:
    (robot.folder / "sit.yaml").write_text(SIT + f"\nschedule:\n  - {{at: {at}, days: [mon]}}\n")
    robot.hub.advance(6)


def test_a_planned_mission_starts_once(robot: Robot) -> None:
    planned(robot, "13:01")  # 12:01 UTC
    assert not robot.sit().is_active
    robot.hub.advance(60)
    assert robot.sit().is_active
    assert "planned for 13:01" in robot.ask("mode_get").reason
    robot.ask("mission_stop", MissionRef("sit"))
    robot.restart()
    robot.hub.advance(30)
    assert not robot.sit().is_active


def test_a_start_that_was_slept_through_is_not_made_up_for_beyond_its_window(robot: Robot) -> None:
    robot.clock = NOON + timedelta(minutes=10)
    planned(robot, "13:01")
    robot.hub.advance(10)
    assert not robot.sit().is_active
    robot.clock = NOON + timedelta(days=7, minutes=3)
    robot.hub.advance(2)
    assert robot.sit().is_active


def test_a_planned_mission_leaves_somebody_who_drives_alone(robot: Robot) -> None:
    robot.ask("mode", ModeChange("manual"))
    planned(robot, "13:01")
    robot.hub.advance(120)
    assert robot.told() == ["skipped"]
    assert robot.mode() == "manual"


# -- guardian ------------------------------------------------------------------------------------------


def write_frame(robot: Robot) -> None:
    picture = blank(320, 180)
    picture[:90] = 200
    FrameWriter(robot.directory, "main", 320, 180).write(picture, int(robot.hub.now * 1e9))


def test_guardian_tells_of_a_dog_with_a_picture(tmp_path: Path) -> None:
    robot = Robot(tmp_path, guardian=GuardianConfig(snapshots=2))
    robot.see(5, "standing")
    assert robot.told("alert") == []
    robot.ask("mode", ModeChange("guardian"))
    robot.see(1, "standing")
    write_frame(robot)
    robot.see(2, "standing")
    assert robot.told("alert") == ["presence"]
    name = robot.events[-1].data["snapshot"]
    data = snapshots.read(snapshots.folder(robot.directory), name)
    assert data is not None
    decoded = simplejpeg.decode_jpeg(data, "GRAY")
    assert decoded.shape[:2] == (180, 320)
    assert np.mean(decoded[:80]) > np.mean(decoded[100:]) + 100


def test_guardian_keeps_so_many_pictures_and_no_more(tmp_path: Path) -> None:
    robot = Robot(tmp_path, guardian=GuardianConfig(snapshots=2, quiet_s=1.0, absence_s=1.0, presence_s=0.4))
    robot.ask("mode", ModeChange("guardian"))
    for _ in range(4):
        write_frame(robot)
        robot.see(1, "standing")
        robot.see(2)
    assert robot.told("alert") == ["presence"] * 4
    kept = snapshots.names(snapshots.folder(robot.directory))
    assert [name[:8] for name in kept] == ["00000003", "00000004"]


def test_an_alert_without_a_camera_has_no_picture(robot: Robot) -> None:
    robot.ask("mode", ModeChange("guardian"))
    robot.see(3, "standing")
    assert robot.events[-1].data == {"kind": "presence", "message": "A dog is in view.", "snapshot": None}
    assert robot.hub.buses["missions"].counters["missions.snapshots_missed"] == 1


def test_guardian_tells_when_the_dog_is_restless(robot: Robot) -> None:
    robot.ask("mode", ModeChange("guardian"))
    robot.see(19, "moving")
    assert robot.told("alert") == ["presence"]
    robot.see(40, "moving")
    assert robot.told("alert") == ["presence", "activity"]


# -- a recorded trace ------------------------------------------------------------------------------------


def recorded(robot: Robot, play: Callable[[], None]) -> bytes:
    """What `wimz bus record detector/sighting` writes while something is played."""
    writer = Writer([SIGHTING], "2026-03-02T12:00:00.000Z", int(robot.hub.now * 1e9))
    lines = [writer.header()]

    def write(message: Message[Sighting]) -> None:
        lines.append(writer.line(SIGHTING, message))

    robot.monitor.subscribe(SIGHTING, write)
    play()
    return b"".join(lines)


def replay(robot: Robot, trace: bytes) -> list[Any]:
    """Play a recording into the process, on its own clock."""
    begin = robot.hub.now
    robot.ask("mission_start", MissionRef("sit"))
    records: list[Record] = list(Recording(io.BytesIO(trace)))
    shift_ns = int((begin + records[0].at_s) * 1e9) - records[0].value.capture_ns
    for record in records:
        robot.hub.advance(begin + record.at_s - robot.hub.now)
        value: Sighting = record.value
        robot.publish_sighting(Sighting(value.frame, value.capture_ns + shift_ns, value.dogs, value.model))
    return [robot.asked, [each.data for each in robot.events if each.event == "mission"], len(robot.treats)]


def test_a_recorded_trace_drives_a_whole_mission_the_same_way_each_time(tmp_path: Path) -> None:
    def robot_in(name: str) -> Robot:
        (tmp_path / name).mkdir()
        return Robot(tmp_path / name)

    first = robot_in("first")

    def play() -> None:
        first.see(2.0, "standing")
        first.see(5.0, "sitting")
        first.see(4.0, "moving", "standing")
        first.see(14.0, "lying")
        first.see(9.0, "sitting")
        first.see(3.0)

    trace = recorded(first, play)
    outcomes = [replay(robot_in(name), trace) for name in ("second", "third")]
    assert outcomes[0] == outcomes[1]
    assert [data["status"] for data in outcomes[0][1]] == [
        "started",
        "success",
        "rewarded",
        "fail",
        "success",
        "rewarded",
        "completed",
    ]
    assert outcomes[0][2] == 2
