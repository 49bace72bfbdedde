from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.models import BoundingBox
from processes.detector.found import Found
from processes.detector.tracker import MAX_DOGS, Tracker, iou

HERE: BoundingBox = (0.1, 0.5, 0.2, 0.3)
THERE: BoundingBox = (0.6, 0.5, 0.2, 0.3)


def tracker() -> Tracker:
    return Tracker(threshold=0.3, forget_s=1.5)


def test_a_dog_is_there_from_the_second_look_on_and_keeps_its_id() -> None:
    dogs = tracker()
    assert dogs.on_look(0.0, [Found(HERE, 0.6)]) == []
    seen = dogs.on_look(0.2, [Found(HERE, 0.6)])
    assert len(seen) == 1
    assert dogs.on_look(0.4, [Found(HERE, 0.6)])[0].id == seen[0].id


def test_a_weak_box_begins_no_dog_but_keeps_one() -> None:
    dogs = tracker()
    for look in range(5):
        assert dogs.on_look(look / 5, [Found(HERE, 0.25)]) == []
    dogs.on_look(1.0, [Found(HERE, 0.5)])
    dogs.on_look(1.2, [Found(HERE, 0.5)])
    for look in range(10, 40):
        assert len(dogs.on_look(look / 5, [Found(HERE, 0.22)])) == 1


def test_a_dog_that_was_seen_once_has_to_be_seen_again_as_surely() -> None:
    dogs = tracker()
    dogs.on_look(0.0, [Found(HERE, 0.5)])
    assert dogs.on_look(0.2, [Found(HERE, 0.25)]) == []
    assert len(dogs.on_look(0.4, [Found(HERE, 0.31)])) == 1


def test_a_dog_that_is_not_seen_for_a_moment_stays_and_then_is_gone() -> None:
    dogs = tracker()
    dogs.on_look(0.0, [Found(HERE, 0.6)])
    dogs.on_look(0.2, [Found(HERE, 0.6)])
    assert len(dogs.on_look(1.6, [])) == 1
    assert dogs.on_look(1.8, []) == []


def test_two_dogs_that_pass_each_other_are_two() -> None:
    dogs = tracker()
    ids = set()
    for look in range(30):
        way = look / 30
        found = [Found((0.1 + 0.6 * way, 0.3, 0.15, 0.2), 0.6), Found((0.7 - 0.6 * way, 0.6, 0.2, 0.3), 0.7)]
        seen = dogs.on_look(look / 5, found)
        ids |= {dog.id for dog in seen}
        if look > 0:
            assert len(seen) == 2
    assert len(ids) == 2


def test_a_dog_that_runs_so_fast_that_its_boxes_do_not_overlap_is_still_one() -> None:
    dogs = tracker()
    ids = {dog.id for look in range(8) for dog in dogs.on_look(look / 5, [Found((0.1 * look, 0.5, 0.1, 0.2), 0.6)])}
    assert len(ids) == 1


def test_another_dog_across_the_room_is_another() -> None:
    dogs = tracker()
    for look in range(3):
        dogs.on_look(look / 5, [Found(HERE, 0.6)])
    for look in range(3, 6):
        seen = dogs.on_look(look / 5, [Found(THERE, 0.6)])
    assert {dog.id for dog in seen} == {1, 2}


def test_the_box_is_smoothed_and_arrives() -> None:
    dogs = tracker()
    for look in range(3):
        dogs.on_look(look / 5, [Found(HERE, 0.6)])
    moved = (0.14, 0.5, 0.2, 0.3)
    first = dogs.on_look(0.6, [Found(moved, 0.6)])[0].box[0]
    assert 0.1 < first < 0.14
    for look in range(4, 12):
        last = dogs.on_look(look / 5, [Found(moved, 0.6)])[0].box[0]
    assert last == pytest.approx(0.14, abs=0.001)


def test_the_largest_dog_comes_first() -> None:
    dogs = tracker()
    for look in range(2):
        seen = dogs.on_look(look / 5, [Found((0.1, 0.5, 0.1, 0.1), 0.9), Found(THERE, 0.5)])
    assert [dog.box for dog in seen] == [THERE, (0.1, 0.5, 0.1, 0.1)]


def test_between_looks_a_box_goes_on_as_the_dog_moved_and_says_so() -> None:
    dogs = tracker()
    for look in range(6):
        dogs.on_look(look / 5, [Found((0.1 + 0.04 * look, 0.5, 0.2, 0.3), 0.6)])
    seen, *between = (dogs.boxes(1.0 + frame / 15)[0] for frame in range(4))
    assert not seen.predicted
    assert all(box.predicted and box.id == seen.id for box in between)
    ways = [after.box[0] - before.box[0] for before, after in itertools.pairwise([seen, *between])]
    assert ways == pytest.approx([0.2 / 15] * 3, rel=0.1)
    assert [box.box[1:] for box in between] == [seen.box[1:]] * 3


def test_a_box_goes_on_for_half_a_second_at_most_stays_in_the_picture_and_ends_with_the_dog() -> None:
    dogs = tracker()
    for look in range(6):
        dogs.on_look(look / 5, [Found((0.15 * look, 0.5, 0.2, 0.3), 0.6)])
    (late,) = dogs.boxes(1.5)
    assert late.box[0] == pytest.approx(0.8)
    assert dogs.boxes(1.6)[0].box == late.box
    assert dogs.boxes(2.6) == []


def test_a_dog_that_was_seen_once_has_no_box_yet() -> None:
    dogs = tracker()
    dogs.on_look(0.0, [Found(HERE, 0.6)])
    assert dogs.boxes(0.0) == []


found_lists = st.lists(
    st.lists(st.tuples(*[st.floats(0.0, 1.0)] * 5), max_size=20), max_size=30
)  # fmt: skip


@given(found_lists)
def test_whatever_is_found_dogs_are_few_and_within_the_picture(looks: list[list[tuple[float, ...]]]) -> None:
    dogs = tracker()
    for number, look in enumerate(looks):
        found = [Found((x * (1 - w), y * (1 - h), w, h), score) for x, y, w, h, score in look]
        seen = dogs.on_look(number / 5, found)
        assert len(seen) <= MAX_DOGS
        assert len({dog.id for dog in seen}) == len(seen)
        for dog in seen:
            x, y, width, height = dog.box
            assert min(dog.box) >= 0
            assert x + width <= 1 + 1e-9
            assert y + height <= 1 + 1e-9
            assert 0 <= dog.confidence <= 1


def test_iou() -> None:
    assert iou(HERE, HERE) == pytest.approx(1.0)
    assert iou(HERE, THERE) == 0.0
    assert iou((0.0, 0.0, 0.2, 0.2), (0.1, 0.0, 0.2, 0.2)) == pytest.approx(1 / 3)
