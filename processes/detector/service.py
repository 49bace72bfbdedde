"""The detector on the bus: looks at pictures as they come, tells what it sees, and says so when it cannot."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from bus import settings
from bus.base import Bus
from bus.bell import follow
from bus.errors import SettingsError
from bus.events import robot_event, timestamp, utc_now
from bus.frames import Frame, FrameReader
from bus.messages import Boxes, Dog, Fault, Sighting
from bus.runner import Context
from bus.topics import BOXES, EVENTS, FAULTS, SIGHTING
from contract.models import Detection
from processes.detector.config import DetectorConfig
from processes.detector.driver import Detector, MobilenetDetector, ModelError, SceneDetector
from processes.detector.follow import Follower
from processes.detector.logic import News, Pace

log = logging.getLogger(__name__)

CHECK_S = 1.0
"""How often a missing model is looked for."""
REPEAT_FAULT_S = 10.0
"""Monitor may have started after us. It tells people once, however often it hears it."""
NICE = 5
"""Video and motion come first."""


class DetectorService:
    """Wires a detector to the rings `small` and `main`, and to the bus.

    Args:
        open_detector: raises ModelError as long as there is no model.
        cpu_s: what this process has used of the processor.
    """

    def __init__(
        self,
        bus: Bus,
        config: DetectorConfig,
        run_dir: Path,
        open_detector: Callable[[], Detector],
        wall_clock: Callable[[], datetime] = utc_now,
        cpu_s: Callable[[], float] = time.process_time,
    ) -> None:
        self._bus, self._config, self._open, self._wall_clock, self._cpu_s = (
            bus,
            config,
            open_detector,
            wall_clock,
            cpu_s,
        )
        self._small = FrameReader(run_dir, "small")
        self._detector: Detector | None = None
        self._follower: Follower | None = None
        self._boxes_shown = False
        self._trouble: str | None = None
        self._told_at = float("-inf")
        self._news = News()
        self._pace = self._new_pace()
        follow(bus, FrameReader(run_dir, "main"), self._on_frame)
        bus.every(CHECK_S, self._check)
        bus.call_soon(self._check)

    def _new_pace(self) -> Pace:
        return Pace(self._config.rate_hz, self._config.cpu_limit_pct / 100, self._bus.now(), self._cpu_s())

    # -- the model --------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._detector is None:
            try:
                self._detector = self._open()
            except ModelError as error:
                self._set_trouble(str(error))
            else:
                log.info("dogs are found by: %s", self._detector.name)
                self._set_trouble(None)
                self._follower, self._pace = None, self._new_pace()
        if self._trouble is not None:
            self._bus.publish(SIGHTING, Sighting(0, 0, [], None))
            if self._bus.now() - self._told_at >= REPEAT_FAULT_S:
                self._tell_fault()

    def _set_trouble(self, trouble: str | None) -> None:
        before, self._trouble = self._trouble, trouble
        if before == trouble:
            return
        if trouble is not None:
            log.warning("no dog can be found: %s", trouble)
        self._tell_fault()

    def _tell_fault(self) -> None:
        there = self._trouble is not None
        text = f"The robot cannot see dogs: {self._trouble}." if there else "The robot can see dogs again."
        self._bus.publish(FAULTS["detector"], Fault("MODEL_MISSING", text, "warning", active=there))
        self._told_at = self._bus.now()

    # -- looking ----------------------------------------------------------------------------------

    def _on_frame(self, main: Frame) -> None:
        if self._detector is None:
            return
        if self._pace.due(self._bus.now()):
            self._look_at(self._detector, main)
        elif self._boxes_shown:
            self._show_boxes(main)

    def _look_at(self, detector: Detector, main: Frame) -> None:
        small = self._small.latest()
        if small is None or small.capture_ns != main.capture_ns:
            self._bus.counters["detector.unpaired"] += 1  # the next frame is being written: its bell comes
            return
        try:
            self._look(detector, small, main)
        except ModelError as error:
            self._detector = None
            self._set_trouble(str(error))
        self._pace.on_look(self._bus.now(), self._cpu_s())

    def _look(self, detector: Detector, small: Frame, main: Frame) -> None:
        aspect = main.width / main.height
        if self._follower is None or self._follower.aspect != aspect:
            self._follower = Follower(detector, self._config, aspect)
        now, began = main.capture_ns / 1e9, self._cpu_s()
        region, found = self._follower.look(now, small.picture, main.picture, main.number)
        counters = self._bus.counters
        counters["detector.looks"] += 1
        counters["detector.look_us"] += round((self._cpu_s() - began) * 1e6)
        if not (small.still_valid() and main.still_valid()):
            counters["detector.overtaken"] += (
                1  # the camera was a whole ring ahead of us: half of it was another picture
            )
            return
        dogs = self._follower.take(now, region, found)
        self._bus.publish(SIGHTING, Sighting(main.number, main.capture_ns, dogs, detector.name))
        self._show_boxes(main)
        news, dog = self._news.on_look(now, dogs)
        if news:
            self._tell(dog)

    def _show_boxes(self, main: Frame) -> None:
        boxes = self._follower.boxes(main.capture_ns / 1e9) if self._follower is not None else []
        self._bus.publish(BOXES, Boxes(main.number, main.capture_ns, boxes))
        self._boxes_shown = bool(boxes)

    def _tell(self, dog: Dog | None) -> None:
        at = self._wall_clock()
        detection = Detection(
            detected=dog is not None,
            behavior="absent" if dog is None else dog.behavior,
            confidence=None if dog is None else round(dog.confidence, 3),
            bbox=None if dog is None else dog.box,
            timestamp=timestamp(at),
        )
        self._bus.publish(EVENTS["detector"], robot_event("detection", detection, at))


class ModelFile:
    """Opens the network when its file is there; one that was refused is not tried again until it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._refused: tuple[tuple[int, int], ModelError] | None = None

    def open(self) -> Detector:
        """Raises ModelError."""
        try:
            status = self._path.stat()
        except OSError as error:
            raise ModelError(f"there is no model at {self._path}; `make model` fetches it") from error
        version = status.st_mtime_ns, status.st_size
        if self._refused is not None and self._refused[0] == version:
            raise self._refused[1]
        try:
            return MobilenetDetector(self._path)
        except ModelError as error:
            self._refused = version, error
            raise


class _Camera(Struct, frozen=True):
    """What matters here of the section `camera`: whether the room is drawn."""

    source: str = "synthetic"


def opener(config: DetectorConfig, camera_source: str) -> Callable[[], Detector]:
    """What opens the configured detector.

    Raises:
        SettingsError: the drawn room's truth is asked for with another camera.
    """
    synthetic = camera_source == "synthetic"
    if config.model == "scene" and not synthetic:
        raise SettingsError(
            f"detector.model: scene knows the drawn room only, and camera.source is {camera_source!r}. "
            "Accepted: auto, mobilenet, or `camera: {source: synthetic}`."
        )
    if config.model == "scene" or (config.model == "auto" and synthetic):
        return SceneDetector
    return ModelFile(settings.ROOT / config.model_file).open


def build(context: Context) -> None:
    """Raises:
    SettingsError: a setting is wrong.
    """
    config = context.section("detector", DetectorConfig)
    open_detector = opener(config, context.section("camera", _Camera).source)
    os.nice(NICE)
    DetectorService(context.bus, config, context.run_dir, open_detector)
