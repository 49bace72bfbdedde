"""Which sound plays, which comes next, how loud it is, and what may be a sound's name. Pure."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import Literal

from contract.units import PlayState

SUFFIXES = (".wav", ".mp3", ".ogg", ".oga", ".flac")
MAX_NAME = 128
"""Characters, as the contract has it."""
MAX_FILES = 200
"""Sounds that are listed: with the longest names (255 bytes) the list still fits into one frame of the contract."""
HIDDEN = ("Cc", "Cf", "Cs")
"""Unicode's control and format characters, and halves of characters: they hide what a name is, or cannot be sent."""
JOINERS = "\u200c\u200d"
"""Format characters that names are really written with."""


def is_sound_name(name: str) -> bool:
    """Whether `name` is a bare file name with a sound's suffix, which can be shown and sent as it is."""
    return (
        0 < len(name) <= MAX_NAME
        and not name.startswith(".")
        and "/" not in name
        and "\\" not in name
        and name.lower().endswith(SUFFIXES)
        and all(character in JOINERS or unicodedata.category(character) not in HIDDEN for character in name)
    )


def listed(names: Iterable[str]) -> list[str]:
    """The sounds among the names of a folder, sorted; the first `MAX_FILES` of them."""
    return sorted(name for name in names if is_sound_name(name))[:MAX_FILES]


def neighbour(files: Sequence[str], name: str | None, step: Literal[1, -1]) -> str | None:
    """The sound after (1) or before (-1) `name`, round and round; None where there are none.

    Args:
        files: sorted.
        name: may be gone from the folder; None: begin at the first or the last.
    """
    if not files:
        return None
    if name is None:
        return files[0 if step == 1 else -1]
    at = bisect_right(files, name) if step == 1 else bisect_left(files, name) - 1
    return files[at % len(files)]


def gain_of(volume_pct: int) -> float:
    """The factor 0–1 for samples: the cube of the volume, so that half the volume sounds half as loud (-18 dB).

    PulseAudio's and PipeWire's mapping (pulse/volume.c, `pa_sw_volume_to_linear`).
    """
    return (volume_pct / 100.0) ** 3


class Jukebox:
    """What plays. Each play has a number, by which news of an earlier one is known to be old.

    Attributes:
        state: what is heard.
        file: what was played last, whether or not it still is.
        number: of the last play.
        starting: it was begun, or resumed, and is not heard yet.
    """

    def __init__(self) -> None:
        self.state: PlayState = "stopped"
        self.file: str | None = None
        self.number = 0
        self.starting = False
        self.duration_s: float | None = None

    @property
    def idle(self) -> bool:
        return self.state == "stopped" and not self.starting

    def on_play(self, file: str) -> int:
        """Another sound is begun, and the one before is over. Returns its number."""
        self.state, self.starting, self.file, self.duration_s = "stopped", True, file, None
        self.number += 1
        return self.number

    def on_toggle(self) -> Literal["pause", "resume", "play"]:
        """What the one button does now. A sound that is only starting is begun again."""
        if self.state == "playing":
            self.state = "paused"
            return "pause"
        if self.state == "paused":
            self.starting = True
            return "resume"
        return "play"

    def on_started(self, number: int, duration_s: float | None) -> bool:
        """It is heard. False: old news."""
        if number != self.number or not self.starting:
            return False
        self.state, self.starting, self.duration_s = "playing", False, duration_s
        return True

    def on_over(self, number: int) -> bool:
        """It was heard to its end, or failed. False: old news."""
        if number != self.number or self.idle:
            return False
        self.on_stop()
        return True

    def on_stop(self) -> None:
        self.state, self.starting = "stopped", False
