"""Looks at one picture thoroughly, for tools: nothing is known from before, and there is no hurry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bus.frames import Picture
from contract.models import BoundingBox
from processes.detector.driver import Detector
from processes.detector.found import Found
from processes.detector.regions import around, pyramid
from processes.detector.tracker import iou

CANDIDATE_SCORE = 0.15
MAX_CANDIDATES = 12
SHARES = (0.5, 0.6, 0.7, 0.8)
"""How much of its own square a candidate fills, in the looks that judge it."""
ZOOM_THRESHOLD = 0.33
"""Squares are many, and each has its chance of a false alarm: what they show has to be surer, on average of all looks.
Measured: dogs of a tenth of the height are above it, and what empty rooms leave in doubt stays below 0.25."""
SAME_IOU = 0.3
MAX_ASPECT = 8.0
"""Of a picture's longer side to the other; beyond it is a stripe, which would have thousands of squares."""


def look(detector: Detector, picture: Picture, number: int, threshold: float) -> list[Found]:
    """The dogs of a picture, best first: seen whole, or where that shows none, in squares of several sizes.

    What squares show is a candidate only. It is looked at again, filling more and more of a square of its own, and the
    mean of those looks decides; so does the mean of their boxes.

    Args:
        picture: I420.
        threshold: the least score of a dog.
    """
    whole = detector.find(picture, number)
    found = [one for one in whole if one.score >= threshold]
    if found or not detector.zooms:
        return found
    aspect = picture.shape[1] / (picture.shape[0] * 2 // 3)
    if not 1 / MAX_ASPECT <= aspect <= MAX_ASPECT:
        return found
    seen = [*whole, *(one for region in pyramid(aspect) for one in detector.find(picture, number, region))]
    judged = [_judge(detector, picture, number, one, aspect) for one in _candidates(seen)]
    least = max(threshold, ZOOM_THRESHOLD)
    return _apart([one for one in judged if one.score >= least])


def _candidates(seen: Sequence[Found]) -> list[Found]:
    return _apart([one for one in seen if one.score >= CANDIDATE_SCORE])[:MAX_CANDIDATES]


def _apart(found: Sequence[Found]) -> list[Found]:
    """One of each place, best first."""
    kept: list[Found] = []
    for one in sorted(found, key=lambda one: -one.score):
        if all(iou(one.box, other.box) <= SAME_IOU for other in kept):
            kept.append(one)
    return kept


def _judge(detector: Detector, picture: Picture, number: int, one: Found, aspect: float) -> Found:
    """The same dog as all looks at it show it on average; a look that does not show it counts as 0."""
    looks = list(_closer(detector, picture, number, one.box, aspect))
    total = sum(look.score for look in looks)
    if total == 0:
        return Found(one.box, 0.0)
    x, y, width, height = (sum(look.score * look.box[side] for look in looks) / total for side in range(4))
    return Found((x, y, width, height), total / len(SHARES))


def _closer(detector: Detector, picture: Picture, number: int, box: BoundingBox, aspect: float) -> Iterator[Found]:
    for share in SHARES:
        shown = detector.find(picture, number, around(box, aspect, share))
        same = [look for look in shown if iou(look.box, box) > SAME_IOU]
        if same:
            best = max(same, key=lambda look: look.score)
            box = best.box  # a candidate may be a part: each look shows better where the whole is
            yield best
