"""What a dog does, from how its box changes. Pure.

This is geometry over time, not an understanding of dogs: a box that wanders is moving, one that grows is approaching,
one that is low and wide is lying, one that is taller than wide is sitting, and anything between is standing. A dog that
sits sideways or stands facing the robot is told wrong, and the confidence of a posture never passes MAX_POSTURE for
that reason. A detector that can tell postures itself is believed instead.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from contract.models import BoundingBox
from contract.units import Behavior

WINDOW_S = 0.8
"""Motion is measured over this long."""
MAX_POINTS = 32
HOLD_S = 0.6
"""Another behaviour has to last this long before it is told."""
REST_S = 10.0
"""Lying still for so long is resting."""
MOVING_FROM, MOVING_UNTIL = 0.35, 0.20
"""Of its own size (the root of its box's area) a second."""
GROWING_FROM, GROWING_UNTIL = 0.15, 0.07
"""Growth of its size a second, as a change of the logarithm: 0.15 is twice as large in 4.6 s."""
SITTING_BELOW, LYING_ABOVE = 1.05, 1.70
"""Width by height in pixels."""
STICKY = 0.10
"""How far (logarithm) a boundary moves away from the posture that it is in now."""
EDGE = 0.01
"""A box this near to the picture's edge may be cut off there."""
MIN_POSTURE, MAX_POSTURE, CUT_FACTOR = 0.5, 0.85, 0.7
CLEAR = 0.35
"""So far (logarithm) from the next boundary a posture is as clear as it gets."""


@dataclass(frozen=True)
class _Point:
    at: float
    x: float
    y: float
    log_size: float


class BehaviorTrack:
    """One dog's behaviour.

    Args:
        aspect: the picture's width by its height.

    Attributes:
        behavior, confidence: as they stand.
        since: monotonic s; when this behaviour began.
    """

    def __init__(self, aspect: float, now: float) -> None:
        self.behavior: Behavior = "standing"
        self.confidence = MIN_POSTURE
        self.since = now
        self._aspect = aspect
        self._points: deque[_Point] = deque(maxlen=MAX_POINTS)
        self._posture: Behavior | None = None
        self._lying_since: float | None = None
        self._candidate: tuple[Behavior, float] | None = None
        self._begun = False

    def on_seen(self, now: float, box: BoundingBox, told: tuple[Behavior, float] | None) -> None:
        """The dog was seen.

        Args:
            box: left, top, width, height as fractions of the picture.
            told: what the detector itself says it does, and its confidence.
        """
        behavior, confidence = told if told is not None else self._judge(now, box)
        if not self._begun or behavior == self.behavior:
            if not self._begun:
                self._begun, self.behavior, self.since = True, behavior, now
            self.confidence, self._candidate = confidence, None
            return
        if self._candidate is None or self._candidate[0] != behavior:
            self._candidate = behavior, now
        if now - self._candidate[1] >= HOLD_S:
            self.behavior, self.confidence, self.since = behavior, confidence, self._candidate[1]
            self._candidate = None

    def _judge(self, now: float, box: BoundingBox) -> tuple[Behavior, float]:
        x, y, width, height = box[0] * self._aspect, box[1], box[2] * self._aspect, box[3]
        size = math.sqrt(max(width * height, 1e-6))
        self._points.append(_Point(now, x + width / 2, y + height / 2, math.log(size)))
        while len(self._points) > 2 and now - self._points[1].at >= WINDOW_S:
            self._points.popleft()
        speed, growth = self._motion(size)
        posture, confidence = self._judge_posture(width / max(height, 1e-6), _is_cut(box))
        self._posture = posture
        moving_at = MOVING_UNTIL if self.behavior == "moving" else MOVING_FROM
        growing_at = GROWING_UNTIL if self.behavior == "approaching" else GROWING_FROM
        if growth >= growing_at or speed >= moving_at:
            self._lying_since = None
            if growth >= growing_at:
                return "approaching", min(0.9, 0.5 + growth)
            return "moving", min(0.95, 0.5 + speed / 2)
        if posture != "lying":
            self._lying_since = None
        elif self._lying_since is None:
            self._lying_since = now
        elif now - self._lying_since >= REST_S:
            return "resting", confidence
        return posture, confidence

    def _motion(self, size: float) -> tuple[float, float]:
        """Speed in own sizes a second, and growth; none before the window is at least half full."""
        first, last = self._points[0], self._points[-1]
        seconds = last.at - first.at
        if seconds < WINDOW_S / 2:
            return 0.0, 0.0
        way = math.hypot(last.x - first.x, last.y - first.y)
        return way / size / seconds, (last.log_size - first.log_size) / seconds

    def _judge_posture(self, shape: float, cut: bool) -> tuple[Behavior, float]:
        log_shape = math.log(max(shape, 1e-3))
        low, high = math.log(SITTING_BELOW), math.log(LYING_ABOVE)
        now = self._posture or ""
        low += {"sitting": STICKY, "standing": -STICKY}.get(now, 0.0)
        high += {"lying": -STICKY, "standing": STICKY}.get(now, 0.0)
        posture: Behavior = "sitting" if log_shape < low else "lying" if log_shape > high else "standing"
        clear = min(1.0, min(abs(log_shape - low), abs(log_shape - high)) / CLEAR)
        confidence = MIN_POSTURE + (MAX_POSTURE - MIN_POSTURE) * clear
        return posture, confidence * CUT_FACTOR if cut else confidence


def _is_cut(box: BoundingBox) -> bool:
    x, y, width, height = box
    return x < EDGE or y < EDGE or x + width > 1 - EDGE or y + height > 1 - EDGE
