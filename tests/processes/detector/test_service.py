"""The detector on the in-memory bus, with a real ring."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from bus.bell import Bell
from bus.errors import SettingsError
from bus.frames import SLOTS, FrameWriter, blank
from bus.memory import MemoryHub
from bus.messages import Boxes, Fault, RobotEvent, Sighting
from bus.topics import BOXES, EVENTS, FAULTS, SIGHTING
from processes.detector.config import DetectorConfig
from processes.detector.driver import Detector, ModelError, SceneDetector
from processes.detector.found import Found
from processes.detector.service import DetectorService, ModelFile, opener
from tests.processes.detector.conftest import Told

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
FRAME_S = 1 / 15


class Room:
    """A camera that fills the rings, and a detector that looks at them."""

    def __init__(self, run_dir: Path, detector: Detector | None = None, config: DetectorConfig | None = None) -> None:
        self.hub = MemoryHub()
        self.detector = detector
        self.cpu_s = 0.0
        self.small, self.main = FrameWriter(run_dir, "small", 64, 36), FrameWriter(run_dir, "main", 128, 72)
        self.bell = Bell(run_dir)
        self.sightings: list[Sighting] = []
        self.boxes: list[Boxes] = []
        self.events: list[RobotEvent] = []
        self.faults: list[Fault] = []
        listener = self.hub.bus("missions")
        listener.subscribe(SIGHTING, lambda message: self.sightings.append(message.value), every_value=True)
        listener.subscribe(BOXES, lambda message: self.boxes.append(message.value), every_value=True)
        listener.subscribe(EVENTS["detector"], lambda message: self.events.append(message.value))
        listener.subscribe(FAULTS["detector"], lambda message: self.faults.append(message.value))
        self.bus = self.hub.bus("detector")
        self.service = DetectorService(
            self.bus, config or DetectorConfig(), run_dir, self.open, lambda: NOON, lambda: self.cpu_s
        )
        self.hub.run()

    def open(self) -> Detector:
        if self.detector is None:
            raise ModelError("there is no model at models/x.tflite; `make model` fetches it")
        return self.detector

    def film(self, seconds: float) -> None:
        for _ in range(round(seconds / FRAME_S)):
            self.frame()
            self.hub.advance(FRAME_S)

    def frame(self) -> None:
        capture_ns = round(self.hub.now * 1e9)
        self.small.write(blank(64, 36), capture_ns)
        self.main.write(blank(128, 72), capture_ns)
        self.bell.ring()
        self.hub.run()


def test_every_frame_has_its_boxes_as_long_as_there_is_a_dog(tmp_path: Path) -> None:
    room = Room(tmp_path, SceneDetector())
    room.film(22.0)
    shown = [boxes for boxes in room.boxes if boxes.boxes]
    frames = [boxes.frame for boxes in room.boxes]
    assert frames == sorted(set(frames))
    first, last = shown[0].frame, shown[-1].frame
    assert [frame for frame in frames if first <= frame <= last] == list(range(first, last + 1))
    looked_at = {sighting.frame for sighting in room.sightings}
    for boxes in shown:
        assert all(box.predicted == (boxes.frame not in looked_at) for box in boxes.boxes)


def test_without_a_dog_only_the_looks_have_boxes_and_they_are_none(tmp_path: Path) -> None:
    room = Room(tmp_path, Told(zooms=False))
    room.film(4.0)
    assert [boxes.frame for boxes in room.boxes] == [sighting.frame for sighting in room.sightings]
    assert not any(boxes.boxes for boxes in room.boxes)


def test_the_drawn_dog_is_told_of_with_its_frame_and_behaviour(tmp_path: Path) -> None:
    room = Room(tmp_path, SceneDetector())
    room.film(22.0)
    assert 100 <= len(room.sightings) <= 111
    last = room.sightings[-1]
    assert last.model == "scene"
    assert len({dog.id for sighting in room.sightings for dog in sighting.dogs}) == 1
    numbers = [sighting.frame for sighting in room.sightings]
    assert numbers == sorted(set(numbers))
    assert [event.data["behavior"] for event in room.events] == ["moving", "sitting", "moving", "lying", "moving"]
    assert room.events[0].data["detected"] is True
    assert room.events[0].data["timestamp"] == "2026-01-31T12:00:00.000Z"
    assert room.faults == []


def test_a_dog_that_leaves_is_told_once(tmp_path: Path) -> None:
    told = Told()
    told.found = [Found((0.3, 0.4, 0.2, 0.5), 0.7)]
    room = Room(tmp_path, told)
    room.film(4.0)
    told.found = []
    room.film(6.0)
    assert [event.data["detected"] for event in room.events] == [True, False]
    assert room.events[-1].data["behavior"] == "absent"
    assert room.sightings[-1].dogs == []


def test_without_a_model_it_says_so_and_begins_when_there_is_one(tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.film(3.0)
    assert [(fault.code, fault.active) for fault in room.faults] == [("MODEL_MISSING", True)]
    assert "make model" in room.faults[0].message
    assert {sighting.model for sighting in room.sightings} == {None}
    room.detector = SceneDetector()
    room.film(3.0)
    assert [fault.active for fault in room.faults] == [True, False]
    assert room.sightings[-1].model == "scene"
    assert len(room.sightings[-1].dogs) == 1


def test_a_late_monitor_hears_of_a_missing_model_too(tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.film(25.0)
    assert len(room.faults) == 3


def test_a_model_that_breaks_is_told_and_opened_again(tmp_path: Path) -> None:
    told = Told()
    room = Room(tmp_path, told)
    room.film(1.0)
    told.error = ModelError("the model does not run: out of memory")
    room.film(0.5)
    assert [fault.active for fault in room.faults] == [True]
    assert "out of memory" in room.faults[0].message
    told.error = None
    room.film(2.0)
    assert [fault.active for fault in room.faults] == [True, False]


def test_a_look_at_a_picture_that_was_written_over_meanwhile_does_not_count(tmp_path: Path) -> None:
    told = Told()
    told.found = [Found((0.3, 0.4, 0.2, 0.5), 0.7)]
    room = Room(tmp_path, told)

    def camera_comes_round() -> None:
        for _ in range(SLOTS):
            room.small.write(blank(64, 36), 1)
            room.main.write(blank(128, 72), 1)

    told.while_looking = camera_comes_round
    room.film(1.0)
    assert room.sightings == []
    assert room.bus.counters["detector.overtaken"] >= 4


def test_a_slow_machine_looks_less_often(tmp_path: Path) -> None:
    told = Told()
    room = Room(tmp_path, told, DetectorConfig(cpu_limit_pct=10.0))

    def take_40_ms() -> None:
        room.cpu_s += 0.04

    told.while_looking = take_40_ms
    room.film(30.0)
    assert room.cpu_s <= 30 * 0.10
    assert len(told.looks) >= 50


def test_a_camera_that_stands_still_is_not_looked_at_again(tmp_path: Path) -> None:
    room = Room(tmp_path, SceneDetector())
    room.film(2.0)
    seen = len(room.sightings)
    room.hub.advance(10.0)
    assert len(room.sightings) == seen


def test_the_drawn_rooms_truth_is_for_the_synthetic_camera_only(tmp_path: Path) -> None:
    assert isinstance(opener(DetectorConfig(), "synthetic")(), SceneDetector)
    with pytest.raises(SettingsError, match="Accepted"):
        opener(DetectorConfig(model="scene"), "file")
    missing = DetectorConfig(model_file=str(tmp_path / "none.tflite"))
    with pytest.raises(ModelError):
        opener(missing, "picamera2")()


def test_a_file_that_is_no_model_is_read_again_only_when_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "x.tflite"
    path.write_bytes(b"nonsense")
    model = ModelFile(path)
    refusals = []
    for _ in range(2):
        with pytest.raises(ModelError) as refused:
            model.open()
        refusals.append(refused.value)
    assert refusals[0] is refusals[1]
    path.write_bytes(b"other nonsense")
    with pytest.raises(ModelError) as refused:
        model.open()
    assert refused.value is not refusals[0]
