"""What motion holds of the machine: its servos wherever they are wired, and where the head looks, kept on disk."""

from __future__ import annotations

import math
import struct
import subprocess
from pathlib import Path

import msgspec
import pytest

from hardware.config import HardwareConfig, ServoConfig, ServosConfig
from hardware.errors import HardwareError
from processes.motion.driver import HeadFile, PidfdDoors, open_drive, open_head
from processes.simulator.local import LocalSimulator

ON_BOARD = HardwareConfig(
    servos=ServosConfig(
        pan=ServoConfig(driver="pca9685", channel=0), tilt=ServoConfig(driver="pca9685", channel=1, limit_deg=45.0)
    )
)
MIXED = msgspec.structs.replace(
    ON_BOARD, servos=msgspec.structs.replace(ON_BOARD.servos, tilt=HardwareConfig().servos.tilt)
)


@pytest.mark.parametrize("wiring", [HardwareConfig(), ON_BOARD, MIXED], ids=["gpio", "pca9685", "mixed"])
def test_motors_and_head_move_as_they_are_wired_and_rest_when_closed(wiring: HardwareConfig) -> None:
    with LocalSimulator(wiring) as simulated:
        drive, head = open_drive(simulated.hardware), open_head(simulated.hardware)
        drive.check()
        head.check()
        state = simulated.state()
        assert (state.servos.pan_us, state.servos.tilt_us, state.motors.left.duty) == (None, None, 0)

        drive.motors.set(0.5, -0.5)
        head.pan.set_deg(30)
        head.tilt.set_deg(-20)
        simulated.wait_for(lambda state: abs(state.servos.pan_deg - 30) < 1 and abs(state.servos.tilt_deg + 20) < 1)
        assert simulated.state().motors.left.duty == 0.5

        drive.close()
        head.close()
        state = simulated.state()
        assert (state.servos.pan_us, state.servos.tilt_us, state.motors.left.duty) == (None, None, 0)


def test_where_the_head_looks_is_kept(tmp_path: Path) -> None:
    file = HeadFile(tmp_path / "head")
    assert file.read() == (0.0, 0.0)

    file.write(12.5, -7.25)
    file.write(13.5, -8.25)

    assert HeadFile(tmp_path / "head").read() == (13.5, -8.25)


@pytest.mark.parametrize("kept", [b"", b"12.5", bytes(17), struct.pack("<2d", math.nan, 1.0)])
def test_what_is_no_angle_is_straight_ahead(tmp_path: Path, kept: bytes) -> None:
    (tmp_path / "head").write_bytes(kept)
    file = HeadFile(tmp_path / "head")

    assert file.read() == (0.0, 0.0)
    file.write(1.0, 2.0)
    assert file.read() == (1.0, 2.0)


def test_the_motors_are_opened_where_the_servo_board_does_not_answer() -> None:
    with LocalSimulator() as simulated:  # no board is wired to this one
        wiring = msgspec.structs.replace(simulated.hardware, servos=ON_BOARD.servos)
        with pytest.raises(HardwareError):
            open_head(wiring)
        drive = open_drive(wiring)
        drive.motors.set(0.5, 0.5)
        assert simulated.state().motors.left.duty == 0.5
        drive.close()
        assert simulated.state().motors.left.duty == 0


def test_a_process_that_ends_is_told_once() -> None:
    doors = PidfdDoors()
    with subprocess.Popen(["sleep", "60"]) as process:
        doors.follow("webrtc", process.pid)
        doors.follow("webrtc", process.pid)
        assert doors.ended() == []
        process.kill()
        process.wait()
    assert doors.ended() == ["webrtc"]
    assert doors.ended() == []


def test_a_process_is_followed_by_its_successor() -> None:
    doors = PidfdDoors()
    with subprocess.Popen(["sleep", "60"]) as first, subprocess.Popen(["sleep", "60"]) as second:
        doors.follow("webrtc", first.pid)
        doors.follow("webrtc", second.pid)
        first.kill()
        first.wait()
        assert doors.ended() == []
        second.kill()
        second.wait()
        assert doors.ended() == ["webrtc"]


def test_a_process_that_is_gone_already_is_not_followed() -> None:
    doors = PidfdDoors()
    with subprocess.Popen(["true"]) as process:
        process.wait()
        doors.follow("webrtc", process.pid)
    assert doors.ended() == []
