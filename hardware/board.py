"""Which machine this is."""

from __future__ import annotations

from pathlib import Path

DEVICE_TREE_MODEL = Path("/proc/device-tree/model")
"""Filled by the firmware on every Raspberry Pi; absent on a PC, in most containers and virtual machines."""


def board_model(path: Path = DEVICE_TREE_MODEL) -> str | None:
    """The board's name, such as "Raspberry Pi 5 Model B Rev 1.0", or None where the firmware tells none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \n") or None
    except OSError:
        return None


def is_raspberry_pi(path: Path = DEVICE_TREE_MODEL) -> bool:
    """Whether this machine is a Raspberry Pi of any kind."""
    return (board_model(path) or "").startswith("Raspberry Pi")


def is_raspberry_pi_5(path: Path = DEVICE_TREE_MODEL) -> bool:
    """Whether the pins hang on the RP1 chip (Pi 5, 500, Compute Module 5), which pigpio's daemon cannot drive."""
    model = board_model(path) or ""
    return model.startswith(("Raspberry Pi 5", "Raspberry Pi Compute Module 5"))
