from __future__ import annotations

from collections.abc import Callable

import pytest
from PIL import Image, ImageEnhance

from bus.frames import blank
from cli.pictures import i420
from contract.models import BoundingBox
from processes.detector import still
from processes.detector.driver import MobilenetDetector
from processes.detector.found import Found
from processes.detector.regions import WHOLE, Region, pyramid
from processes.detector.tracker import iou
from tests.processes.detector.conftest import Told

Photograph = Callable[[str], Image.Image]

SIZE = (1280, 720)
FAR = Found((0.5, 0.6, 0.05, 0.1), 0.6)


def in_a_room(photograph: Photograph, height: float, left: float, brightness: float) -> tuple[Image.Image, BoundingBox]:
    """The photographed dog, standing that high (of the picture) in front of a blurred kitchen-like ground."""
    image = photograph("dog")
    width, tall = image.size
    dog = image.crop((round(0.12 * width), round(0.34 * tall), round(0.46 * width), round(0.99 * tall)))
    room = image.resize((16, 9)).resize(SIZE, Image.Resampling.BICUBIC)
    share = 0.58 / 0.65  # of the crop's height that is dog
    scale = height * SIZE[1] / share / dog.height
    dog = dog.resize((round(dog.width * scale), round(dog.height * scale)), Image.Resampling.LANCZOS)
    x, y = round(left * (SIZE[0] - dog.width)), min(SIZE[1] - dog.height, round(0.5 * SIZE[1]))
    room.paste(dog, (x, y))
    box = (
        (x + dog.width * (0.16 - 0.12) / 0.34) / SIZE[0],
        (y + dog.height * (0.37 - 0.34) / 0.65) / SIZE[1],
        dog.width * 0.26 / 0.34 / SIZE[0],
        dog.height * share / SIZE[1],
    )
    return ImageEnhance.Brightness(room).enhance(brightness), box


@pytest.mark.parametrize("height", [0.1, 0.15, 0.3])
@pytest.mark.parametrize(("left", "brightness"), [(0.1, 1.0), (0.45, 0.8), (0.8, 1.2)])
def test_a_dog_is_found_at_any_distance(
    network: MobilenetDetector, photograph: Photograph, height: float, left: float, brightness: float
) -> None:
    image, where = in_a_room(photograph, height, left, brightness)
    found = still.look(network, i420(image), 0, 0.3)
    assert any(iou(one.box, where) >= 0.5 for one in found), found


def test_an_empty_ground_shows_none(network: MobilenetDetector, photograph: Photograph) -> None:
    for name in ("dog", "kite", "scream"):
        ground = photograph(name).resize((16, 9)).resize(SIZE, Image.Resampling.BICUBIC)
        assert still.look(network, i420(ground), 0, 0.3) == []


def test_a_dog_that_is_seen_whole_needs_no_closer_look() -> None:
    told = Told(zooms=True)
    told.found = [FAR, Found((0.1, 0.1, 0.2, 0.2), 0.2)]
    assert still.look(told, blank(64, 36), 0, 0.3) == [FAR]
    assert told.looks == [WHOLE]


def test_a_far_dog_has_to_be_seen_from_near_too() -> None:
    told, far_off = Told(zooms=True), pyramid(64 / 36)
    told.found = lambda region: [FAR] if region in far_off else []
    assert still.look(told, blank(64, 36), 0, 0.3) == []
    told.found = lambda region: [FAR] if region != WHOLE else []
    (dog,) = still.look(told, blank(64, 36), 0, 0.3)
    assert dog.score == pytest.approx(FAR.score)
    assert dog.box == pytest.approx(FAR.box)


def test_a_weak_trace_becomes_a_dog_where_closer_looks_show_one() -> None:
    told, far_off = Told(zooms=True), pyramid(64 / 36)
    told.found = lambda region: [Found(FAR.box, 0.16)] if region in far_off else [FAR] if region != WHOLE else []
    (dog,) = still.look(told, blank(64, 36), 0, 0.3)
    assert dog.score == pytest.approx(FAR.score)


def test_a_box_is_the_mean_of_what_the_looks_show() -> None:
    told, far_off = Told(zooms=True), pyramid(64 / 36)
    near = iter([Found((0.49, 0.6, 0.05, 0.1), 0.8), Found((0.51, 0.6, 0.05, 0.1), 0.8), FAR, FAR])
    told.found = lambda region: [] if region == WHOLE else [FAR] if region in far_off else [next(near)]
    (dog,) = still.look(told, blank(64, 36), 0, 0.3)
    assert dog.box == pytest.approx(FAR.box)
    assert dog.score == pytest.approx(0.7)


def test_a_far_dog_has_to_be_surer_on_average() -> None:
    told = Told(zooms=True)
    weak = Found(FAR.box, 0.32)
    told.found = lambda region: [weak] if region != WHOLE else []
    assert still.look(told, blank(64, 36), 0, 0.3) == []


def test_what_does_not_zoom_is_asked_once() -> None:
    told = Told(zooms=False)
    assert still.look(told, blank(64, 36), 0, 0.3) == []
    assert told.looks == [Region(0.0, 0.0, 1.0, 1.0)]
