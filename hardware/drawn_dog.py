"""The dog of the drawn room: where it is and what it does, frame by frame. Pure.

The synthetic camera draws it, and the detector that knows the drawn room's truth tells of it; both go by the frame's
number in the ring, so they cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from contract.models import BoundingBox

DrawnBehavior = Literal["moving", "sitting", "lying"]

WALK_FRAMES, REST_FRAMES = 90, 60
CYCLE_FRAMES = 2 * (WALK_FRAMES + REST_FRAMES)
"""One round: to the right, sit, back to the left, lie down. 20 s at 15 frames a second."""
GROUND = 0.90
WIDTH, HEIGHT = 0.28, 0.36
_LEFT_END, _RIGHT_END = 0.06, 0.66
_LYING_HEIGHT = 0.56 * HEIGHT


@dataclass(frozen=True)
class DrawnDog:
    """Where the dog is, and what it does.

    Attributes:
        bbox: `[x, y, width, height]`, fractions of the picture.
    """

    bbox: BoundingBox
    behavior: DrawnBehavior


def dog_at(number: int) -> DrawnDog:
    """The dog in the frame of that number: what a detector should find there."""
    phase = number % CYCLE_FRAMES
    top = GROUND - HEIGHT
    if phase < WALK_FRAMES:
        return DrawnDog((_between(_LEFT_END, _RIGHT_END, phase / WALK_FRAMES), top, WIDTH, HEIGHT), "moving")
    phase -= WALK_FRAMES
    if phase < REST_FRAMES:
        return DrawnDog((_RIGHT_END, top, WIDTH, HEIGHT), "sitting")
    phase -= REST_FRAMES
    if phase < WALK_FRAMES:
        return DrawnDog((_between(_RIGHT_END, _LEFT_END, phase / WALK_FRAMES), top, WIDTH, HEIGHT), "moving")
    return DrawnDog((_LEFT_END, GROUND - _LYING_HEIGHT, WIDTH, _LYING_HEIGHT), "lying")


def _between(start: float, end: float, part: float) -> float:
    return start + (end - start) * part
