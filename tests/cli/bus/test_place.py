from __future__ import annotations

from pathlib import Path

import pytest

from bus.lock import hold
from bus.topics import PROCESSES
from cli.bus.place import lives, run_dir, who_lives
from cli.errors import CommandError
from tests.cli.bus.conftest import Robot, until


def test_a_process_lives_while_it_has_its_sockets_and_not_after_a_kill(robot: Robot) -> None:
    assert who_lives(robot.run_dir) == set()
    robot.bus("motion")
    assert who_lives(robot.run_dir) == {"motion"}
    robot.end("motion")
    until(lambda: not lives(robot.run_dir, "motion"), "motion is gone")


def test_looking_takes_nobodys_place(robot: Robot) -> None:
    """Guard tries motion's lock once when the motors have to be zeroed, and would not do so while a tool has it."""
    for process in PROCESSES:
        lives(robot.run_dir, process)
    assert list(robot.run_dir.iterdir()) == []


def test_a_lock_that_guard_holds_in_motions_place_is_no_motion(robot: Robot) -> None:
    with open(hold(robot.run_dir, "motion"), closefd=True):
        assert not lives(robot.run_dir, "motion")


def test_where_no_robot_is_it_says_how_to_get_one(short_dir: Path) -> None:
    with pytest.raises(CommandError, match=r"no robot runs with .*`wimz demo`"):
        run_dir(short_dir / "data")
