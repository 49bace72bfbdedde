from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bus.frames import blank, planes
from cli.pictures import i420
from contract.models import BoundingBox
from hardware.drawn_dog import CYCLE_FRAMES, dog_at
from processes.camera.driver import Scaler
from processes.camera.scene import Scene
from processes.detector.driver import MobilenetDetector, ModelError, SceneDetector, cut_out
from processes.detector.regions import WHOLE, Region
from processes.detector.tracker import iou

HUSKY: BoundingBox = (0.17, 0.38, 0.24, 0.57)
KELPIE: BoundingBox = (0.11, 0.62, 0.21, 0.21)
"""Where the dogs in dog.jpg and person.jpg are, by eye."""

Photograph = Callable[[str], Image.Image]


@pytest.mark.parametrize(("name", "where"), [("dog", HUSKY), ("person", KELPIE)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_dog_in_a_photograph_is_found_by_what_the_small_stream_shows(
    network: MobilenetDetector, photograph: Photograph, name: str, where: BoundingBox, mirrored: bool
) -> None:
    image = photograph(name)
    if mirrored:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        where = (1 - where[0] - where[2], *where[1:])
    small = Scaler(320, 180)(i420(image))
    before = small.copy()
    found = network.find(small, 0)
    assert found[0].score >= 0.6
    assert iou(found[0].box, where) > 0.7
    assert (small == before).all()


@pytest.mark.parametrize("name", ["eagle", "giraffe", "horses", "kite", "scream"])
def test_there_is_no_dog_where_there_is_none(network: MobilenetDetector, photograph: Photograph, name: str) -> None:
    assert [one for one in network.find(i420(photograph(name)), 0) if one.score >= 0.3] == []


@pytest.mark.parametrize("brightness", [0, 128, 255])
def test_nothing_is_seen_in_the_dark_or_in_glaring_light(network: MobilenetDetector, brightness: int) -> None:
    picture = i420(Image.new("RGB", (320, 180), (brightness,) * 3))
    assert [one for one in network.find(picture, 0) if one.score >= 0.3] == []


def test_a_look_at_a_part_tells_boxes_of_the_whole_picture(network: MobilenetDetector, photograph: Photograph) -> None:
    found = network.find(i420(photograph("dog")), 0, Region(0.05, 0.3, 0.5, 0.7))
    assert iou(found[0].box, HUSKY) > 0.7


def test_a_model_that_is_not_there_or_is_none_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="make model"):
        MobilenetDetector(tmp_path / "none.tflite")
    (tmp_path / "bad.tflite").write_bytes(b"nonsense" * 1000)
    with pytest.raises(ModelError, match="make model"):
        MobilenetDetector(tmp_path / "bad.tflite")
    (tmp_path / "empty.tflite").write_bytes(b"")
    with pytest.raises(ModelError, match="make model"):
        MobilenetDetector(tmp_path / "empty.tflite")


@pytest.mark.parametrize("number", [5, 100, 200, CYCLE_FRAMES - 5])
def test_the_drawn_rooms_truth_is_where_the_dog_was_drawn(number: int) -> None:
    (found,) = SceneDetector().find(Scene(640, 360).draw(number, 0), number)
    assert (found.box, found.behavior) == (dog_at(number).bbox, dog_at(number).behavior)


def test_a_part_is_cut_out_of_all_three_planes_on_even_pixels() -> None:
    picture = blank(64, 48)
    y, u, v = planes(picture)
    y[:] = np.arange(64)[None, :]
    u[:] = np.arange(32)[None, :]
    v[:] = np.arange(24)[:, None]
    part, shown = cut_out(picture, Region(0.26, 0.25, 0.5, 0.5))
    assert part.shape == (24 * 3 // 2, 32)
    assert (shown.x * 64, shown.y * 48, shown.width * 64, shown.height * 48) == (16, 12, 32, 24)
    part_y, part_u, part_v = planes(part)
    assert (part_y[0, 0], part_y[0, -1], part_u[0, 0], part_u[0, -1]) == (16, 47, 8, 23)
    assert (part_v[0, 0], part_v[-1, 0]) == (6, 17)


def test_the_whole_is_not_copied() -> None:
    picture = blank(64, 48)
    assert cut_out(picture, WHOLE)[0] is picture
