"""The synthetic scene: a room with a dog that walks, sits and lies down, a clock, and the frame's number and time.

Pure: the picture is a function of the frame number and the time of day it is asked for. Drawn from rectangles straight
into I420; the room is painted once, then only what changes is painted again.
"""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from bus.frames import Picture, blank, planes
from hardware.drawn_dog import CYCLE_FRAMES, GROUND, HEIGHT, REST_FRAMES, WALK_FRAMES, WIDTH, dog_at
from processes.camera.barcode import Stamp, Strip

Color = tuple[int, int, int]
"""Y, U, V, limited range (BT.601)."""
Box = tuple[float, float, float, float]
"""Left, top, right, bottom, as fractions of whatever it is inside."""

_FUR, _DARK_FUR, _NOSE, _COLLAR = (125, 103, 158), (80, 112, 148), (25, 128, 128), (95, 105, 205)
_STEP_FRAMES = 4

# The dog inside its own box, looking right: (box, colour); legs come from `_legs`.
_HEAD: list[tuple[Box, Color]] = [
    ((0.70, 0.04, 0.94, 0.36), _FUR),
    ((0.90, 0.18, 1.00, 0.34), _FUR),
    ((0.97, 0.18, 1.00, 0.24), _NOSE),
    ((0.82, 0.12, 0.86, 0.17), _NOSE),
    ((0.70, 0.04, 0.77, 0.30), _DARK_FUR),
    ((0.68, 0.34, 0.80, 0.41), _COLLAR),
]
_MOVING: list[tuple[Box, Color]] = [
    ((0.12, 0.36, 0.80, 0.70), _FUR),
    ((0.02, 0.22, 0.14, 0.44), _DARK_FUR),
    *_HEAD,
]
_SITTING: list[tuple[Box, Color]] = [
    ((0.46, 0.36, 0.80, 0.78), _FUR),
    ((0.34, 0.56, 0.72, 1.00), _FUR),
    ((0.70, 0.70, 0.78, 1.00), _DARK_FUR),
    ((0.20, 0.92, 0.36, 1.00), _DARK_FUR),
    *_HEAD,
]
_LYING: list[tuple[Box, Color]] = [
    ((0.10, 0.64, 0.82, 0.98), _FUR),
    ((0.00, 0.86, 0.14, 0.96), _DARK_FUR),
    ((0.76, 0.90, 1.00, 1.00), _DARK_FUR),
    *(((x0, y0 + 0.40, x1, y1 + 0.40), color) for (x0, y0, x1, y1), color in _HEAD),
]

_ROOM: list[tuple[Box, Color]] = [
    ((0.00, 0.00, 1.00, 0.66), (182, 120, 134)),  # wall
    ((0.00, 0.64, 1.00, 0.66), (215, 126, 130)),  # skirting board
    ((0.00, 0.66, 1.00, 1.00), (118, 110, 146)),  # floor
    *(((0.00, 0.66 + 0.085 * i, 1.00, 0.665 + 0.085 * i), (98, 112, 144)) for i in range(1, 4)),  # planks
    ((0.08, 0.16, 0.34, 0.54), (225, 128, 128)),  # window frame
    ((0.10, 0.19, 0.32, 0.51), (190, 150, 112)),  # sky
    ((0.10, 0.42, 0.32, 0.51), (120, 108, 112)),  # meadow
    ((0.205, 0.19, 0.215, 0.51), (225, 128, 128)),  # glazing bar
    ((0.46, 0.20, 0.60, 0.40), (70, 116, 140)),  # picture on the wall
    ((0.475, 0.225, 0.585, 0.375), (150, 100, 140)),
    ((0.20, 0.80, 0.80, 0.96), (105, 135, 165)),  # rug
    ((0.22, 0.82, 0.78, 0.94), (130, 130, 158)),
    ((0.86, 0.86, 0.95, 0.93), (90, 175, 105)),  # bowl
    ((0.87, 0.85, 0.94, 0.87), (60, 115, 140)),
]

_CLOCK: Box = (0.68, 0.14, 0.96, 0.26)
_CLOCK_BACK, _CLOCK_ON = 30, 200
# Segments of a digit: a (top) … g (middle), each a box inside the digit.
_SEGMENTS: list[Box] = [
    (0.0, 0.0, 1.0, 0.15),
    (0.78, 0.0, 1.0, 0.5),
    (0.78, 0.5, 1.0, 1.0),
    (0.0, 0.85, 1.0, 1.0),
    (0.0, 0.5, 0.22, 1.0),
    (0.0, 0.0, 0.22, 0.5),
    (0.0, 0.43, 1.0, 0.57),
]
_DIGITS = ("abcdef", "bc", "abdeg", "abcdg", "bcfg", "acdfg", "acdefg", "abc", "abcdefg", "abcdfg")


class Scene:
    """Draws the scene at one size. `draw` returns the same array each time, painted over."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._room = blank(width, height)
        self._canvas = self._room
        for box, color in _ROOM:
            self._fill(box, color)
        self._fill((0.0, 0.0, 1.0, 0.12), (60, 128, 128))  # behind the strip: no colour, medium dark
        self._fill(_CLOCK, (_CLOCK_BACK, 128, 128))
        self._canvas = self._room.copy()
        self._strip = Strip(width, height)
        self._dirty: Box | None = None
        self._shown_second = -1

    def draw(self, number: int, unix_ms: int) -> Picture:
        """The picture of frame `number` taken at `unix_ms` (milliseconds since 1970 UTC)."""
        if self._dirty is not None:
            self._restore(self._dirty)
        self._draw_dog(number)
        if unix_ms // 1000 != self._shown_second:
            self._shown_second = unix_ms // 1000
            self._draw_clock(self._shown_second)
        self._strip.draw(self._canvas[: self.height], Stamp(number, unix_ms))
        return self._canvas

    def _draw_dog(self, number: int) -> None:
        phase = number % CYCLE_FRAMES
        x, top = dog_at(number).bbox[0], GROUND - HEIGHT
        parts, mirrored = _MOVING + _legs(number), False
        if WALK_FRAMES <= phase < WALK_FRAMES + REST_FRAMES:
            parts = _SITTING
        elif phase >= WALK_FRAMES + REST_FRAMES:
            mirrored = True
            if phase >= CYCLE_FRAMES - REST_FRAMES:
                parts = _LYING
        for (x0, y0, x1, y1), color in parts:
            left, right = (1 - x1, 1 - x0) if mirrored else (x0, x1)
            self._fill(_inside((x, top, x + WIDTH, GROUND), (left, y0, right, y1)), color)
        self._dirty = (x, top, x + WIDTH, GROUND)

    def _draw_clock(self, second: int) -> None:
        digits = datetime.fromtimestamp(second, UTC).strftime("%H%M%S")
        self._restore(_CLOCK)
        for place, digit in enumerate(digits):
            left = 0.05 + place * 0.14 + place // 2 * 0.04
            cell = _inside(_CLOCK, (left, 0.18, left + 0.10, 0.82))
            for name in _DIGITS[int(digit)]:
                self._fill(_inside(cell, _SEGMENTS["abcdefg".index(name)]), (_CLOCK_ON, 128, 128))

    def _fill(self, box: Box, color: Color) -> None:
        rows, columns = self._pixels(box)
        for plane, value, scale in zip(planes(self._canvas), color, (1, 2, 2), strict=True):
            plane[_scaled(rows, scale), _scaled(columns, scale)] = value

    def _restore(self, box: Box) -> None:
        rows, columns = self._pixels(box)
        for plane, room, scale in zip(planes(self._canvas), planes(self._room), (1, 2, 2), strict=True):
            where = _scaled(rows, scale), _scaled(columns, scale)
            plane[where] = room[where]

    def _pixels(self, box: Box) -> tuple[slice, slice]:
        """Rows and columns on even pixels, so that colour fits."""
        x0, y0, x1, y1 = box
        columns = slice(_even(x0 * self.width), _even(x1 * self.width))
        return slice(_even(y0 * self.height), _even(y1 * self.height)), columns


def _legs(number: int) -> list[tuple[Box, Color]]:
    """Four legs in two pairs that take turns."""
    forward = number // _STEP_FRAMES % 2
    legs = []
    for index, left in enumerate((0.14, 0.26, 0.60, 0.71)):
        shift = 0.03 if index % 2 == forward else -0.02
        color = _DARK_FUR if index % 2 else _FUR
        legs.append(((left + shift, 0.66, left + shift + 0.08, 1.0), color))
    return legs


def _inside(outer: Box, inner: Box) -> Box:
    """A box given in fractions of `outer`."""
    width, height = outer[2] - outer[0], outer[3] - outer[1]
    x0, y0, x1, y1 = inner
    return outer[0] + x0 * width, outer[1] + y0 * height, outer[0] + x1 * width, outer[1] + y1 * height


def _even(value: float) -> int:
    return round(value / 2) * 2


def _scaled(part: slice, scale: int) -> slice:
    return slice(part.start // scale, part.stop // scale)


def luma(picture: Picture) -> NDArray[np.uint8]:
    """The brightness of a picture, shape (height, width)."""
    return picture[: picture.shape[0] * 2 // 3]
