"""The parts of a picture that are looked at by themselves, since a network on 300 pixels sees nothing small. Pure.

Seen whole, a picture of 16:9 shows this network dogs from about a third of its height up. Measured with dogs of a tenth
of the height: filling a quarter of a square they are seen in four of ten, filling half of it in eight, and from 0.6 on
in nine. Below that they leave a weak trace at least, which is worth a closer look.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contract.models import BoundingBox

SIDES = ((0.36, (0.30, 0.55)), (0.60, (0.15, 0.40)), (0.24, (0.36, 0.53)))
"""Of squares, in heights of the picture, each with where its rows begin, from the top. A robot looks along the floor,
so far dogs stand in the middle."""
MAX_STEP = 0.75
"""Squares overlap by a quarter of their side at least, so that a dog between two is whole in one."""
PYRAMID_SIDES = (1.0, 0.6, 0.36, 0.24)
"""Of the squares that cover a still, in heights of the picture; they overlap by half."""
DOG_SHARE = 0.6
"""How much of a square that is centred on a dog the dog fills; the rest is for where it may have gone since."""
MIN_SIDE, MAX_SIDE = 0.1, 1.0


@dataclass(frozen=True)
class Region:
    """A part of a picture, in fractions of its sides."""

    x: float
    y: float
    width: float
    height: float

    def outwards(self, edges: NDArray[np.float32]) -> BoundingBox:
        """Left, top, right, bottom within this region as a box (left, top, width, height) of the whole picture."""
        left, top, right, bottom = (min(1.0, max(0.0, float(edge))) for edge in edges)
        x, y = min(1.0, self.x + left * self.width), min(1.0, self.y + top * self.height)
        return x, y, min(1.0 - x, (right - left) * self.width), min(1.0 - y, (bottom - top) * self.height)

    def cuts(self, box: BoundingBox, margin: float = 0.02) -> bool:
        """Whether a box ends where the region does and the picture does not: then there is more of it outside."""
        x, y, width, height = box
        by_x, by_y = margin * self.width, margin * self.height
        return (
            (self.x > 0 and x < self.x + by_x)
            or (self.y > 0 and y < self.y + by_y)
            or (self.x + self.width < 1 - 1e-6 and x + width > self.x + self.width - by_x)
            or (self.y + self.height < 1 - 1e-6 and y + height > self.y + self.height - by_y)
        )


WHOLE = Region(0.0, 0.0, 1.0, 1.0)


def squares(aspect: float) -> list[Region]:
    """Squares over the part of a picture where dogs are small, in the order of looking.

    Args:
        aspect: the picture's width by its height.
    """
    return [
        Region(left, top, min(1.0, side / aspect), side)
        for side, tops in SIDES
        for top in tops
        for left in _lefts(min(1.0, side / aspect))
    ]


def _lefts(width: float) -> list[float]:
    """Where squares of this width begin, so that they cover the picture's width."""
    return _starts(width, MAX_STEP)


def _starts(side: float, step: float) -> list[float]:
    """Where squares of this side begin, so that they cover from 0 to 1; at most `step` of a side apart."""
    if side >= 1.0:
        return [0.0]
    count = 1 + math.ceil((1.0 - side) / (side * step) - 1e-6)
    return [(1.0 - side) * place / (count - 1) for place in range(count)]


def pyramid(aspect: float) -> list[Region]:
    """Squares of several sizes, each size covering the whole picture, from large to small.

    Args:
        aspect: the picture's width by its height.
    """
    return [
        Region(left, top, min(1.0, side / aspect), side)
        for side in PYRAMID_SIDES
        for top in _starts(side, 0.5)
        for left in _starts(min(1.0, side / aspect), 0.5)
    ]


def around(box: BoundingBox, aspect: float, share: float = DOG_SHARE) -> Region:
    """A square centred on a dog, as far as the picture's edges allow.

    Args:
        share: how much of it the dog fills.
    """
    x, y, width, height = box
    side = min(MAX_SIDE, max(MIN_SIDE, max(height, width * aspect) / share))
    part_width, part_height = min(1.0, side / aspect), side
    left = min(max(0.0, x + width / 2 - part_width / 2), 1.0 - part_width)
    top = min(max(0.0, y + height / 2 - part_height / 2), 1.0 - part_height)
    return Region(left, top, part_width, part_height)
