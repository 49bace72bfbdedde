"""A detector that looks at picture after picture, and what it knows of the dogs by then."""

from __future__ import annotations

from bus.frames import Picture
from bus.messages import Box, Dog
from processes.detector.config import DetectorConfig
from processes.detector.driver import Detector
from processes.detector.found import Found
from processes.detector.logic import Gaze
from processes.detector.regions import WHOLE, Region
from processes.detector.tracker import Tracker


class Follower:
    """Chooses where to look, looks, and follows the dogs.

    Args:
        aspect: the pictures' width by their height.
    """

    def __init__(self, detector: Detector, config: DetectorConfig, aspect: float) -> None:
        self.detector, self.aspect = detector, aspect
        self._gaze = Gaze(config.threshold, aspect)
        self._tracker = Tracker(config.threshold, config.forget_s, aspect)

    def look(self, now: float, small: Picture, main: Picture, number: int) -> tuple[Region, list[Found]]:
        """One look: at the whole small picture, or at a part of the main one, both of frame `number`.

        Raises:
            ModelError: the detector does not work any more.
        """
        region = self._gaze.next(now) if self.detector.zooms else WHOLE
        return region, self.detector.find(small if region == WHOLE else main, number, region)

    def take(self, now: float, region: Region, found: list[Found]) -> list[Dog]:
        """What that look has shown counts. Returns the dogs that are there, the largest first."""
        return self._tracker.on_look(now, self._gaze.on_look(now, region, found))

    def boxes(self, now: float) -> list[Box]:
        """Where the dogs are in a frame taken at `now`, looked at or not."""
        return self._tracker.boxes(now)
