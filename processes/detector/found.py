"""What a detector finds in one picture."""

from __future__ import annotations

from dataclasses import dataclass

from contract.models import BoundingBox
from contract.units import Behavior


@dataclass(frozen=True)
class Found:
    """A dog in one picture.

    Attributes:
        box: left, top, width, height as fractions of the whole picture.
        score: 0 to 1.
        behavior: what it does, where the detector itself can tell; None: its track has to.
    """

    box: BoundingBox
    score: float
    behavior: Behavior | None = None
