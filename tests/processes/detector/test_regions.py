from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processes.detector.regions import WHOLE, Region, around, pyramid, squares

part = st.floats(0.0, 1.0)


@pytest.mark.parametrize("aspect", [16 / 9, 4 / 3, 1.0, 0.5, 3.0])
def test_squares_are_square_inside_and_leave_no_gap_from_side_to_side(aspect: float) -> None:
    for side in {region.height for region in squares(aspect)}:
        regions = [region for region in squares(aspect) if region.height == side]
        for region in regions:
            assert region.width == pytest.approx(min(1.0, side / aspect))
            assert 0 <= region.x <= region.x + region.width <= 1 + 1e-9
            assert region.y + region.height <= 1
        for x in np.linspace(0, 1, 50):
            assert any(region.x - 1e-9 <= x <= region.x + region.width + 1e-9 for region in regions)


@pytest.mark.parametrize("aspect", [16 / 9, 4 / 3, 1.0, 0.5, 3.0])
def test_a_pyramid_shows_every_small_thing_whole_in_a_square_of_each_size(aspect: float) -> None:
    for side in {region.height for region in pyramid(aspect)}:
        regions = [region for region in pyramid(aspect) if region.height == side]
        size = 0.45 * side
        for x in np.linspace(0, 1 - min(1.0, size / aspect), 20):
            for y in np.linspace(0, 1 - size, 20):
                box = (float(x), float(y), min(1.0, size / aspect), size)
                assert any(_holds(region, box) for region in regions), (side, box)


def _holds(region: Region, box: tuple[float, float, float, float]) -> bool:
    x, y, width, height = box
    return (
        region.x - 1e-9 <= x
        and region.y - 1e-9 <= y
        and x + width <= region.x + region.width + 1e-9
        and y + height <= region.y + region.height + 1e-9
    )


@given(x=part, y=part, width=part, height=part, aspect=st.floats(0.4, 3.0))
def test_a_square_around_a_dog_lies_in_the_picture_and_holds_the_dogs_middle(
    x: float, y: float, width: float, height: float, aspect: float
) -> None:
    box = (x * (1 - width), y * (1 - height), width, height)
    region = around(box, aspect)
    assert region.x >= 0
    assert region.y >= 0
    assert region.x + region.width <= 1 + 1e-9
    assert region.y + region.height <= 1 + 1e-9
    assert region.x - 1e-9 <= box[0] + width / 2 <= region.x + region.width + 1e-9
    assert region.y - 1e-9 <= box[1] + height / 2 <= region.y + region.height + 1e-9


def test_a_box_within_a_part_is_told_in_the_whole_picture() -> None:
    region = Region(0.5, 0.2, 0.4, 0.5)
    assert region.outwards(np.array([0.25, 0.0, 0.75, 1.0], np.float32)) == pytest.approx((0.6, 0.2, 0.2, 0.5))


def test_a_box_that_ends_where_the_part_does_is_cut_but_not_where_the_picture_ends() -> None:
    region = Region(0.5, 0.5, 0.5, 0.5)
    assert region.cuts((0.5, 0.6, 0.2, 0.2))
    assert region.cuts((0.6, 0.505, 0.2, 0.2))
    assert not region.cuts((0.7, 0.7, 0.3, 0.3))
    assert not WHOLE.cuts((0.0, 0.0, 1.0, 1.0))
