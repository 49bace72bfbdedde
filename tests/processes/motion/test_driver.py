"""What motion holds of the machine: its servos wherever they are wired, and where the head looks, kept on disk."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import msgspec
import pytest

from hardware.config import HardwareConfig, ServoConfig, ServosConfig
from processes.motion.driver import HeadFile, open_body
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
        body = open_body(simulated.hardware)
        body.check()
        state = simulated.state()
        assert (state.servos.pan_us, state.servos.tilt_us, state.motors.left.duty) == (None, None, 0)

        body.motors.set(0.5, -0.5)
        body.pan.set_deg(30)
        body.tilt.set_deg(-20)
        simulated.wait_for(lambda state: abs(state.servos.pan_deg - 30) < 1 and abs(state.servos.tilt_deg + 20) < 1)
        assert simulated.state().motors.left.duty == 0.5

        body.close()
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
