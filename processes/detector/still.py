"""Looks at one picture thoroughly, for tools: nothing is known from before, and there is no hurry."""

from __future__ import annotations

from bus.frames import Picture
from processes.detector.driver import Detector
from processes.detector.found import Found
from processes.detector.regions import around, squares
from processes.detector.tracker import iou

ZOOM_THRESHOLD = 0.35
"""Squares are many, and each has its chance of a false alarm: what they show has to be surer."""
SAME_IOU = 0.3


def look(detector: Detector, picture: Picture, number: int, threshold: float) -> list[Found]:
    """The dogs of a picture, best first: seen whole, or where that shows none, in squares, each looked at twice.

    Args:
        picture: I420.
        threshold: the least score of a dog.
    """
    found = [one for one in detector.find(picture, number) if one.score >= threshold]
    if found or not detector.zooms:
        return found
    aspect = picture.shape[1] / (picture.shape[0] * 2 // 3)
    least = max(threshold, ZOOM_THRESHOLD)
    kept: list[Found] = []
    for region in squares(aspect):
        for one in detector.find(picture, number, region):
            if one.score < threshold or any(iou(one.box, dog.box) > SAME_IOU for dog in kept):
                continue
            again = _again(detector, picture, number, one, aspect)
            if again is not None and (one.score + again.score) / 2 >= least:
                kept.append(again)
    return sorted(kept, key=lambda dog: -dog.score)


def _again(detector: Detector, picture: Picture, number: int, one: Found, aspect: float) -> Found | None:
    """The same dog in a square of its own; None when it is not seen there."""
    region = around(one.box, aspect)
    seen = [dog for dog in detector.find(picture, number, region) if iou(dog.box, one.box) > SAME_IOU]
    return next((dog for dog in seen if not region.cuts(dog.box)), None)
