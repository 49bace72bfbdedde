"""Motion on the in-memory bus: what a command, a lost daemon or a silent guard does to the pins."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from bus.base import Latest
from bus.memory import MemoryHub
from bus.messages import BatteryState, Beat, Fault, Heartbeat, Origin, SessionEnd
from bus.topics import (
    BATTERY_STATE,
    COMMAND_TOPICS,
    DRIVER_GONE,
    FAULTS,
    GUARD_BEAT,
    HEARTBEATS,
    MOTION_BEAT,
    MOTION_STATE,
)
from contract.commands import Driven, Motor, Nothing, Pointed, Servo
from contract.errors import ContractError
from hardware.config import ServoConfig, ServosConfig
from hardware.errors import HardwareError
from processes.motion.config import HeadConfig, MotionConfig
from processes.motion.driver import HeadFile, LatchFile
from processes.motion.service import MotionService

APP = Origin("datachannel", "phone")
CLAMP = 0.7


class FakeMotors:
    def __init__(self) -> None:
        self.duty = (0.0, 0.0)
        self.writes = 0
        self.broken = False

    def _write(self, left: float, right: float) -> tuple[float, float]:
        if self.broken:
            raise HardwareError("the daemon hung up")
        self.writes += 1
        self.duty = (left, right)
        return self.duty

    def set(self, left: float, right: float) -> tuple[float, float]:
        return self._write(min(max(left, -CLAMP), CLAMP), min(max(right, -CLAMP), CLAMP))

    def stop(self) -> None:
        self._write(0.0, 0.0)

    def close(self) -> None:
        self.stop()


class FakeServo:
    def __init__(self) -> None:
        self.deg: float | None = None
        self.broken = False

    def set_deg(self, deg: float) -> float:
        if self.broken:
            raise HardwareError("the servo board does not answer")
        self.deg = deg
        return deg

    def release(self) -> None:
        self.deg = None

    def close(self) -> None:
        self.release()


class FakeDevices:
    def __init__(self) -> None:
        self.answers = True
        self.given_back = self.abandoned = False

    def check(self) -> None:
        if not self.answers:
            raise HardwareError("the pins no longer answer")

    def when_lost(self, call: Callable[[], None]) -> None: ...

    def close(self) -> None:
        self.given_back = True

    def abandon(self) -> None:
        self.abandoned = True


class FakeDrive(FakeDevices):
    def __init__(self) -> None:
        super().__init__()
        self.motors = FakeMotors()

    def close(self) -> None:
        self.motors.close()
        super().close()


class FakeHead(FakeDevices):
    def __init__(self) -> None:
        super().__init__()
        self.pan = FakeServo()
        self.tilt = FakeServo()


class FakeDoors:
    def __init__(self) -> None:
        self.followed: dict[str, int] = {}
        self.over: list[str] = []

    def follow(self, name: str, pid: int) -> None:
        self.followed[name] = pid

    def ended(self) -> list[str]:
        over, self.over = self.over, []
        return over


class Robot:
    """Motion with a guard, an app, and pins that can break."""

    def __init__(self, tmp_path: Path, config: MotionConfig | None = None) -> None:
        self.hub = MemoryHub()
        self.drives: list[FakeDrive] = []
        self.heads: list[FakeHead] = []
        self.doors = FakeDoors()
        self.reachable = self.head_reachable = True
        self.latch = LatchFile(tmp_path / "emergency_stop")
        self.head_file = HeadFile(tmp_path / "head")
        self.guard = self.hub.bus("guard")
        self.guard_timer = self.guard.every(0.05, lambda: self.guard.publish(GUARD_BEAT, Beat(1)))
        self.app = self.hub.bus("webrtc")
        self.state = Latest(self.app, MOTION_STATE)
        self.faults: list[Fault] = []
        self.app.subscribe(FAULTS["motion"], lambda message: self.faults.append(message.value))
        self.service = self.start(config or MotionConfig())
        self.hub.advance(0.1)

    def start(self, config: MotionConfig) -> MotionService:
        servos = ServosConfig(tilt=ServoConfig(gpio=6, limit_deg=20.0))
        bus = self.hub.bus("motion")
        return MotionService(
            bus,
            config,
            servos,
            self.open_drive,
            self.open_head,
            self.doors,
            self.latch,
            self.head_file,
            beside=lambda call: call(),
        )

    def open_drive(self) -> FakeDrive:
        if not self.reachable:
            raise HardwareError("no pigpio daemon answers")
        self.drives.append(FakeDrive())
        return self.drives[-1]

    def open_head(self) -> FakeHead:
        if not self.reachable or not self.head_reachable:
            raise HardwareError("no pigpio daemon answers, or no servo board")
        self.heads.append(FakeHead())
        return self.heads[-1]

    @property
    def drive(self) -> FakeDrive:
        return self.drives[-1]

    @property
    def head(self) -> FakeHead:
        return self.heads[-1]

    @property
    def duty(self) -> tuple[float, float]:
        return self.drive.motors.duty

    def ask(self, command: str, body: Struct | None = None, origin: Origin | None = APP) -> Any:
        future = self.app.request(COMMAND_TOPICS[command], body or Nothing(), origin=origin)
        self.hub.run()
        return future.result(0)

    def refused(self, command: str, body: Struct | None = None, origin: Origin = APP) -> ContractError:
        with pytest.raises(ContractError) as refusal:
            self.ask(command, body, origin)
        return refusal.value

    def full_speed(self) -> None:
        for _ in range(10):
            self.ask("motor", Motor(1.0, 1.0))
            self.hub.advance(0.05)
        assert self.duty == (CLAMP, CLAMP)


@pytest.fixture
def robot(tmp_path: Path) -> Robot:
    return Robot(tmp_path)


def test_the_answer_tells_the_duty_that_was_written(robot: Robot) -> None:
    driven = robot.ask("motor", Motor(1.0, -1.0))
    assert driven == Driven(0.15, -0.15)
    assert robot.duty == (0.15, -0.15)


def test_the_answer_at_full_speed_tells_the_clamp(robot: Robot) -> None:
    robot.full_speed()
    assert robot.ask("motor", Motor(1.0, 1.0)) == Driven(CLAMP, CLAMP)


def test_the_pins_are_written_only_when_something_changes(robot: Robot) -> None:
    robot.full_speed()
    writes = robot.drive.motors.writes
    robot.ask("motor", Motor(1.0, 1.0))
    robot.hub.advance(0.1)
    assert robot.drive.motors.writes == writes


def test_the_deadman_stops_the_motors(robot: Robot) -> None:
    robot.full_speed()
    robot.hub.advance(0.42)
    assert robot.duty == (0.0, 0.0)


@pytest.mark.parametrize("command", ["stop", "emergency_stop"])
def test_anyone_may_stop(robot: Robot, command: str) -> None:
    robot.full_speed()
    robot.ask(command, origin=Origin("cloud", "somebody", role="viewer"))
    assert robot.duty == (0.0, 0.0)


def test_stop_writes_zero_even_where_zero_is(robot: Robot) -> None:
    writes = robot.drive.motors.writes
    robot.ask("stop")
    assert robot.drive.motors.writes == writes + 1


def test_a_session_that_ends_stops_its_motors(robot: Robot) -> None:
    robot.full_speed()
    robot.app.request(DRIVER_GONE, SessionEnd(APP))
    robot.hub.run()
    assert robot.duty == (0.0, 0.0)


def test_the_emergency_stop_outlives_a_restart(robot: Robot) -> None:
    robot.ask("emergency_stop")
    robot.hub.kill("motion")
    robot.start(MotionConfig())
    robot.hub.advance(0.2)
    assert robot.refused("motor", Motor(1.0, 1.0)).code == "EMERGENCY_STOPPED"
    robot.ask("release")
    assert not robot.latch.is_set()
    robot.ask("motor", Motor(1.0, 1.0))


def test_the_emergency_stop_stops_the_head_too(robot: Robot) -> None:
    robot.ask("servo", Servo(pan=90.0))
    robot.hub.advance(0.1)
    robot.ask("emergency_stop")
    stood = robot.head.pan.deg
    robot.hub.advance(0.5)
    assert robot.head.pan.deg == stood


@pytest.mark.parametrize(
    ("command", "body"), [("motor", Motor(1.0, 1.0)), ("servo", Servo(pan=1.0)), ("servo_center", None)]
)
def test_nothing_moves_while_the_emergency_stop_is_on(robot: Robot, command: str, body: Struct | None) -> None:
    robot.ask("emergency_stop")
    refusal = robot.refused(command, body)
    assert (refusal.code, refusal.status) == ("EMERGENCY_STOPPED", 409)
    robot.hub.advance(0.5)
    assert (robot.duty, robot.head.pan.deg) == ((0.0, 0.0), None)


def test_a_release_from_within_the_robot_is_a_release(robot: Robot) -> None:
    robot.ask("emergency_stop")
    robot.hub.advance(0.01)
    missions = robot.hub.bus("missions")
    released = missions.request(COMMAND_TOPICS["release"], Nothing())
    robot.hub.run()
    assert released.result(0) == Nothing()
    robot.ask("motor", Motor(1.0, 1.0))


def test_nothing_but_a_release_opens_the_latch(robot: Robot) -> None:
    robot.ask("emergency_stop")
    robot.ask("stop")
    robot.app.request(DRIVER_GONE, SessionEnd(APP))
    robot.doors.over = ["webrtc"]
    robot.drive.answers = False
    robot.hub.advance(5.0)
    assert robot.refused("motor", Motor(1.0, 1.0)).code == "EMERGENCY_STOPPED"


def test_a_release_that_an_emergency_stop_overtook_releases_nothing(robot: Robot) -> None:
    released = robot.app.request(COMMAND_TOPICS["release"], Nothing(), origin=APP)
    robot.app.request(COMMAND_TOPICS["emergency_stop"], Nothing(), origin=APP)
    robot.hub.run()
    with pytest.raises(ContractError, match="EMERGENCY_STOPPED"):
        released.result(0)
    assert robot.refused("motor", Motor(1.0, 1.0)).code == "EMERGENCY_STOPPED"
    robot.hub.advance(0.1)
    robot.ask("release")
    robot.ask("motor", Motor(1.0, 1.0))


def test_drivers_are_gone_with_the_process_that_they_came_by(robot: Robot) -> None:
    robot.full_speed()
    robot.doors.over = ["local_api"]
    robot.hub.advance(0.02)
    assert robot.duty == (CLAMP, CLAMP), "they came by another"
    robot.doors.over = ["webrtc"]
    robot.hub.advance(0.02)
    assert robot.duty == (0.0, 0.0)
    robot.full_speed()


def test_the_doors_are_known_by_their_heartbeats(robot: Robot) -> None:
    robot.app.publish(HEARTBEATS["webrtc"], Heartbeat(4711, 1.0, 0.0))
    robot.hub.run()
    assert robot.doors.followed == {"webrtc": 4711}


def test_a_servo_board_that_does_not_answer_keeps_no_motor_from_turning_or_stopping(tmp_path: Path) -> None:
    robot = Robot(tmp_path)
    robot.full_speed()
    robot.head.pan.broken = True
    robot.head_reachable = False
    assert robot.refused("servo", Servo(pan=10.0)).code == "MOTOR_FAULT"
    robot.full_speed()
    robot.hub.advance(2.0)
    assert robot.duty == (0.0, 0.0)
    robot.full_speed()
    robot.ask("stop")
    assert robot.duty == (0.0, 0.0)
    assert len(robot.drives) == 1
    assert [fault.message for fault in robot.faults if "Pan and tilt" in fault.message]
    robot.head_reachable = True
    robot.hub.advance(2.5)
    assert robot.ask("servo", Servo(pan=10.0)) == Pointed(10.0, 0.0)
    assert not robot.faults[-1].active


def test_an_emergency_stop_that_is_not_kept_still_stops(robot: Robot, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object, __: bool) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(LatchFile, "put", full)
    robot.full_speed()
    robot.ask("emergency_stop")
    assert robot.duty == (0.0, 0.0)
    assert robot.refused("motor", Motor(1.0, 1.0)).code == "EMERGENCY_STOPPED"
    assert robot.hub.buses["motion"].counters["motion.latch_not_kept"] >= 1


def test_a_silent_guard_stops_the_motors(robot: Robot) -> None:
    robot.full_speed()
    robot.guard_timer.cancel()
    robot.ask("motor", Motor(1.0, 1.0))
    robot.hub.advance(0.25)
    assert robot.duty == (0.0, 0.0)
    refusal = robot.refused("motor", Motor(1.0, 1.0))
    assert (refusal.code, refusal.status) == ("MOTOR_FAULT", 503)


def test_a_driver_loses_no_words_over_a_short_silence_of_guard(robot: Robot) -> None:
    robot.guard_timer.cancel()
    robot.hub.advance(0.5)
    robot.guard.every(0.05, lambda: robot.guard.publish(GUARD_BEAT, Beat(1)))
    robot.hub.advance(2.0)
    assert robot.faults == []


def test_a_fault_that_lasts_is_told_once_and_when_it_is_over(robot: Robot) -> None:
    robot.guard_timer.cancel()
    robot.hub.advance(5.0)
    assert [(fault.code, fault.active) for fault in robot.faults] == [("MOTOR_FAULT", True)]
    robot.guard.every(0.05, lambda: robot.guard.publish(GUARD_BEAT, Beat(1)))
    robot.hub.advance(1.0)
    assert [fault.active for fault in robot.faults] == [True, False]


def test_a_write_that_fails_is_answered_as_a_fault_and_the_pins_are_opened_again(robot: Robot) -> None:
    robot.full_speed()
    robot.drive.motors.broken = True
    refusal = robot.refused("motor", Motor(0.3, 0.3))
    assert (refusal.code, refusal.status) == ("MOTOR_FAULT", 503)
    assert robot.drive.abandoned
    robot.hub.advance(0.2)
    assert len(robot.drives) == 2
    assert robot.duty == (0.0, 0.0)
    assert robot.ask("motor", Motor(1.0, 1.0)) == Driven(0.15, 0.15)


def test_a_stop_that_could_not_be_written_is_not_answered_with_success(robot: Robot) -> None:
    robot.full_speed()
    robot.drive.motors.broken = True
    assert robot.refused("stop").code == "MOTOR_FAULT"


def test_a_daemon_that_is_gone_is_noticed_at_rest_and_tried_again_with_backoff(robot: Robot) -> None:
    robot.reachable = False
    robot.drive.answers = robot.head.answers = False
    robot.hub.advance(10.0)
    assert robot.refused("motor", Motor(1.0, 1.0)).code == "MOTOR_FAULT"
    assert robot.refused("servo", Servo(pan=1.0)).code == "MOTOR_FAULT"
    assert robot.state.message is not None
    assert "no pigpio daemon" in (robot.state.message.value.fault or "")
    robot.reachable = True
    robot.hub.advance(2.5)
    assert robot.ask("motor", Motor(1.0, 1.0)) == Driven(0.15, 0.15)


def test_the_head_turns_smoothly_to_within_its_units_limits(robot: Robot) -> None:
    assert robot.head.pan.deg is None
    assert robot.ask("servo", Servo(pan=45.0, tilt=40.0)) == Pointed(45.0, 20.0)
    assert robot.head.pan.deg is not None
    assert robot.head.pan.deg < 5
    robot.hub.advance(2.0)
    assert (robot.head.pan.deg, robot.head.tilt.deg) == (45.0, 20.0)
    assert robot.ask("servo_center") == Pointed(0.0, 0.0)
    robot.hub.advance(2.0)
    assert (robot.head.pan.deg, robot.head.tilt.deg) == (0.0, 0.0)


def test_a_motion_that_was_killed_in_a_turn_goes_on_from_there_without_a_jump(robot: Robot) -> None:
    robot.ask("servo", Servo(pan=80.0, tilt=15.0))
    robot.hub.advance(0.3)
    stood = robot.head.pan.deg
    assert stood is not None
    assert 30 < stood < 80
    robot.hub.kill("motion")

    robot.start(MotionConfig())
    robot.hub.advance(0.2)
    assert robot.head.pan.deg is None, "no pulse before a command"
    robot.ask("servo", Servo(pan=-80.0))
    robot.hub.advance(0.02)

    assert robot.head.pan.deg == pytest.approx(stood, abs=2 * 180 * 0.02)


def test_a_disk_that_does_not_keep_the_head_stops_nobody_and_is_said_once(
    robot: Robot, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_: object, __: float, ___: float) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(HeadFile, "write", full)
    robot.ask("servo", Servo(pan=45.0))
    robot.hub.advance(2.0)

    assert robot.head.pan.deg == 45.0
    assert robot.hub.buses["motion"].counters["motion.head_not_kept"] > 5
    assert caplog.text.count("is not kept on disk") == 1


def test_one_angle_leaves_the_other(robot: Robot) -> None:
    robot.ask("servo", Servo(tilt=10.0))
    assert robot.ask("servo", Servo(pan=-30.0)) == Pointed(-30.0, 10.0)


def test_a_farther_source_may_not_turn_the_head_of_a_nearer_one(robot: Robot) -> None:
    robot.ask("servo", Servo(pan=10.0))
    assert robot.refused("servo", Servo(pan=-10.0), Origin("cloud", "web")).code == "BUSY"
    robot.hub.advance(0.5)
    robot.ask("servo", Servo(pan=-10.0), Origin("cloud", "web"))


def test_the_head_rests_without_pulses_where_that_is_configured(tmp_path: Path) -> None:
    robot = Robot(tmp_path, MotionConfig(head=HeadConfig(release_after_s=1.0)))
    robot.ask("servo", Servo(pan=20.0))
    robot.hub.advance(0.8)
    assert robot.head.pan.deg == 20.0
    robot.hub.advance(2.0)
    assert robot.head.pan.deg is None


def test_a_command_from_inside_the_robot_ranks_last(robot: Robot) -> None:
    robot.ask("motor", Motor(0.1, 0.1))
    with pytest.raises(ContractError, match="BUSY"):
        robot.ask("motor", Motor(0.1, 0.1), origin=None)


def test_state_and_beat_are_published_from_the_loop(robot: Robot) -> None:
    beats: list[int] = []
    states: list[float] = []
    robot.app.subscribe(MOTION_BEAT, lambda message: beats.append(message.value.pid))
    robot.app.subscribe(MOTION_STATE, lambda message: states.append(message.value.left))
    robot.hub.run()
    beats.clear()
    states.clear()
    robot.hub.advance(2.0)
    assert len(beats) == pytest.approx(40, abs=2)
    assert set(beats) == {os.getpid()}
    assert len(states) == pytest.approx(10, abs=1)
    robot.full_speed()
    assert robot.state.message is not None
    assert robot.state.message.value.driver == APP
    assert robot.state.message.value.left == CLAMP


def test_closing_brings_the_motors_to_zero(robot: Robot) -> None:
    robot.full_speed()
    robot.service.close()
    assert robot.duty == (0.0, 0.0)
    assert robot.drive.given_back
    assert robot.head.given_back


def test_a_critical_battery_stops_the_motors_and_a_silent_monitor_lets_nobody_drive(robot: Robot) -> None:
    robot.full_speed()
    monitor = robot.hub.bus("monitor")
    monitor.publish(BATTERY_STATE, BatteryState(12.5, 3.0, False, True))
    robot.hub.run()
    assert robot.duty == (0.0, 0.0)
    robot.hub.advance(3 * BATTERY_STATE.max_age_s)
    assert robot.refused("motor", Motor(1.0, 1.0)).code == "LOW_BATTERY"
    monitor.publish(BATTERY_STATE, BatteryState(None, None, None, None))
    robot.hub.run()
    assert robot.refused("motor", Motor(1.0, 1.0)).code == "LOW_BATTERY"
