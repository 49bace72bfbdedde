from __future__ import annotations

import numpy as np
import pytest

from bus.frames import planes
from hardware.drawn_dog import CYCLE_FRAMES, REST_FRAMES, WALK_FRAMES, dog_at
from processes.camera import barcode
from processes.camera.scene import Scene, luma

NOON_MS = 1_769_860_800_000  # 2026-01-31T12:00:00Z


def test_the_picture_depends_on_nothing_but_number_and_time() -> None:
    straight, jumping = Scene(640, 360), Scene(640, 360)
    for number in (0, 17, 95, 160, 290, 3):
        jumping.draw(number, NOON_MS + number * 5000)
    for number in (1, 100, 200, 299):
        assert (straight.draw(number, NOON_MS) == jumping.draw(number, NOON_MS)).all()
        assert (straight.draw(number, NOON_MS) == Scene(640, 360).draw(number, NOON_MS)).all()


def test_the_picture_carries_its_number_and_time() -> None:
    picture = Scene(640, 360).draw(123_456, NOON_MS + 7)
    assert picture.shape == (540, 640)
    assert barcode.read(luma(picture)) == barcode.Stamp(123_456, NOON_MS + 7)


def test_the_dog_walks_sits_walks_back_and_lies_down() -> None:
    dogs = [dog_at(number) for number in range(CYCLE_FRAMES)]
    behaviors = [dog.behavior for dog in dogs]
    changes = [here for before, here in zip(["", *behaviors], behaviors, strict=False) if here != before]
    assert changes == ["moving", "sitting", "moving", "lying"]
    assert dogs[0].bbox[0] < dogs[WALK_FRAMES - 1].bbox[0]
    back = dogs[WALK_FRAMES + REST_FRAMES :]
    assert back[0].bbox[0] > back[WALK_FRAMES - 1].bbox[0]
    assert dog_at(CYCLE_FRAMES + 42) == dog_at(42)
    for x, y, width, height in (dog.bbox for dog in dogs):
        assert 0 <= x <= x + width <= 1
        assert 0 <= y <= y + height <= 1


@pytest.mark.parametrize("number", range(5, CYCLE_FRAMES, 20))
def test_the_dog_is_drawn_where_it_is_said_to_be_and_nowhere_else(number: int) -> None:
    """Against a frame with the dog elsewhere, everything that differs is in one of the two boxes."""
    other = (number + CYCLE_FRAMES // 2 + 20) % CYCLE_FRAMES
    here, there = Scene(640, 360).draw(number, NOON_MS), Scene(640, 360).draw(other, NOON_MS)
    rows, columns = np.nonzero(luma(here)[44:] != luma(there)[44:])
    in_box = []
    for x, y, width, height in (dog_at(number).bbox, dog_at(other).bbox):
        inside = (columns >= x * 640 - 2) & (columns <= (x + width) * 640 + 2)
        in_box.append(inside & (rows + 44 >= y * 360 - 2) & (rows + 44 <= (y + height) * 360 + 2))
    assert (in_box[0] | in_box[1]).all()
    assert in_box[0].sum() > 1000


def test_the_clock_shows_the_second() -> None:
    scene = Scene(640, 360)
    clock = (slice(50, 94), slice(436, 614))
    at_noon = luma(scene.draw(1, NOON_MS))[clock].copy()
    same_second = luma(scene.draw(1, NOON_MS + 999))[clock].copy()
    next_second = luma(scene.draw(1, NOON_MS + 1000))[clock].copy()
    assert (at_noon == same_second).all()
    assert (at_noon != next_second).any()


def test_there_is_colour() -> None:
    _, u, v = planes(Scene(320, 180).draw(0, NOON_MS))
    assert u.std() > 3
    assert v.std() > 3
