"""Follows dogs from look to look: ids, hysteresis, smoothing. Pure; times are monotonic seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bus.messages import Box, Dog
from contract.models import BoundingBox
from processes.detector.behavior import BehaviorTrack
from processes.detector.found import Found

HITS = 2
"""A dog that was seen once only may be none: it has to be seen again, as surely as that."""
KEEP_FACTOR = 2 / 3
"""A dog that is followed stays with this much of the score that a new one needs."""
MIN_IOU = 0.15
MAX_SPEED, SHORT_S, LONG_S = 6.0, 0.2, 0.5
"""How far a box without overlap may be from where the dog was: in their mean size a second, for at least and at most so
long. A running dog makes some five of its lengths a second."""
SMOOTHING_S = 0.15
"""Time constant of the box: what is older counts for less than a third after it."""
UNCONFIRMED_S = 1.0
MAX_DOGS = 8


class _Track:
    def __init__(self, number: int, found: Found, aspect: float, now: float) -> None:
        self.id, self.box, self.score = number, found.box, found.score
        self.seen_box = found.box
        self.hits, self.seen_at = 1, now
        self.speed = (0.0, 0.0)
        self.behavior = BehaviorTrack(aspect, now)

    def on_seen(self, found: Found, now: float) -> None:
        elapsed_s = now - self.seen_at
        weight = 1.0 - math.exp(-max(0.0, elapsed_s) / SMOOTHING_S)
        if elapsed_s > 0:
            moved = (new - old for old, new in zip(_centre(self.seen_box), _centre(found.box), strict=True))
            vx, vy = (old + (way / elapsed_s - old) * weight for old, way in zip(self.speed, moved, strict=True))
            self.speed = (vx, vy)
        x, y, width, height = (old + (new - old) * weight for old, new in zip(self.box, found.box, strict=True))
        self.box, self.score = (x, y, min(width, 1 - x), min(height, 1 - y)), found.score
        self.seen_box = found.box
        self.hits += 1
        self.seen_at = now

    def box_at(self, now: float) -> BoundingBox:
        """Where it is by now, if it moves on as it did; for at most LONG_S, and within the picture."""
        x, y, width, height = self.box
        ahead_s = min(max(0.0, now - self.seen_at), LONG_S)
        vx, vy = self.speed
        return (
            min(max(0.0, x + vx * ahead_s), 1.0 - width),
            min(max(0.0, y + vy * ahead_s), 1.0 - height),
            width,
            height,
        )


class Tracker:
    """All dogs that are followed.

    Args:
        threshold: the least score that begins a dog.
        forget_s: one that was not seen for so long is gone.
        aspect: the picture's width by its height.
    """

    def __init__(self, threshold: float, forget_s: float, aspect: float = 16 / 9) -> None:
        self._threshold, self._forget_s, self.aspect = threshold, forget_s, aspect
        self._tracks: list[_Track] = []
        self._next_id = 1

    def on_look(self, now: float, found: Sequence[Found]) -> list[Dog]:
        """What one look has shown; returns the dogs that are there, the largest first."""
        self._forget(now)
        left = list(found)
        for overlap, track, one in self._pairs(now, left):
            if track.seen_at < now and one in left and one.score >= self._least(track):
                assert overlap > 0
                left.remove(one)
                track.on_seen(one, now)
                told = None if one.behavior is None else (one.behavior, one.score)
                track.behavior.on_seen(now, track.box, told)
        for one in left:
            # What lies on a dog that is followed is the same dog, seen twice.
            if one.score >= self._threshold and all(iou(one.box, track.box) < MIN_IOU for track in self._tracks):
                self._begin(one, now)
        return self.dogs(now)

    def dogs(self, now: float) -> list[Dog]:
        """The dogs that are there, the largest first."""
        there = [track for track in self._tracks if track.hits >= HITS]
        there.sort(key=lambda track: -track.box[2] * track.box[3])
        return [
            Dog(
                track.id,
                track.box,
                track.score,
                track.behavior.behavior,
                track.behavior.confidence,
                max(0.0, now - track.behavior.since),
            )
            for track in there
        ]

    def boxes(self, now: float) -> list[Box]:
        """Where the dogs are in a frame taken at `now`, which need not have been looked at."""
        return [
            Box(track.id, track.box_at(now), predicted=track.seen_at < now)
            for track in self._tracks
            if track.hits >= HITS and now - track.seen_at <= self._forget_s
        ]

    def _least(self, track: _Track) -> float:
        return self._threshold * KEEP_FACTOR if track.hits >= HITS else self._threshold

    def _begin(self, one: Found, now: float) -> None:
        if len(self._tracks) >= MAX_DOGS:
            return
        track = _Track(self._next_id, one, self.aspect, now)
        track.behavior.on_seen(now, one.box, None if one.behavior is None else (one.behavior, one.score))
        self._next_id += 1
        self._tracks.append(track)

    def _forget(self, now: float) -> None:
        self._tracks = [
            track
            for track in self._tracks
            if now - track.seen_at <= (self._forget_s if track.hits >= HITS else min(UNCONFIRMED_S, self._forget_s))
        ]

    def _pairs(self, now: float, found: Sequence[Found]) -> list[tuple[float, _Track, Found]]:
        """Who may be whom, the likeliest first: overlap, and where there is none, nearness (worth less)."""
        pairs = []
        for track in self._tracks:
            for one in found:
                overlap = iou(track.seen_box, one.box)
                if overlap < MIN_IOU:
                    overlap = MIN_IOU * self._nearness(track, one, now)
                if overlap > 0:
                    pairs.append((overlap, track, one))
        return sorted(pairs, key=lambda pair: -pair[0])

    def _nearness(self, track: _Track, one: Found, now: float) -> float:
        """1 at the same place, 0 where it cannot have come to since."""
        (ax, ay, aw, ah), (bx, by, bw, bh) = track.seen_box, one.box
        size_a, size_b = math.sqrt(aw * ah * self.aspect), math.sqrt(bw * bh * self.aspect)
        if min(size_a, size_b) < 0.4 * max(size_a, size_b, 1e-6):
            return 0.0
        way = math.hypot((ax + aw / 2 - bx - bw / 2) * self.aspect, ay + ah / 2 - by - bh / 2)
        reach = MAX_SPEED * min(LONG_S, max(SHORT_S, now - track.seen_at)) * (size_a + size_b) / 2
        return max(0.0, 1.0 - way / max(reach, 1e-6))


def _centre(box: BoundingBox) -> tuple[float, float]:
    x, y, width, height = box
    return x + width / 2, y + height / 2


def iou(one: BoundingBox, other: BoundingBox) -> float:
    """Intersection over union of two boxes (left, top, width, height)."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / max(one[2] * one[3] + other[2] * other[3] - shared, 1e-9)
