from __future__ import annotations

from pathlib import Path

import pytest

from hardware.board import board_model, is_raspberry_pi, is_raspberry_pi_5


@pytest.mark.parametrize(
    ("model", "is_pi", "is_pi_5"),
    [
        ("Raspberry Pi 5 Model B Rev 1.0", True, True),
        ("Raspberry Pi Compute Module 5 Rev 1.0", True, True),
        ("Raspberry Pi 4 Model B Rev 1.5", True, False),
        ("Raspberry Pi 3 Model B Plus Rev 1.3", True, False),
        ("QEMU Virt Machine", False, False),
    ],
)
def test_the_board_is_known_by_the_device_trees_model(tmp_path: Path, model: str, is_pi: bool, is_pi_5: bool) -> None:
    path = tmp_path / "model"
    path.write_bytes(model.encode() + b"\0")  # the device tree's strings end so

    assert board_model(path) == model
    assert is_raspberry_pi(path) is is_pi
    assert is_raspberry_pi_5(path) is is_pi_5


def test_a_machine_without_a_device_tree_is_no_pi(tmp_path: Path) -> None:
    missing = tmp_path / "model"

    assert board_model(missing) is None
    assert not is_raspberry_pi(missing)
    assert not is_raspberry_pi_5(missing)
