from __future__ import annotations

import numpy as np
import pytest

from processes.detector import ssd


def boxes(*rows: tuple[float, float, float, float]) -> ssd.Floats:
    return np.array(rows, np.float32)


def test_there_is_an_anchor_for_each_row_of_the_network() -> None:
    anchors = ssd.make_anchors()
    assert {len(part) for part in (anchors.y, anchors.x, anchors.height, anchors.width)} == {1917}
    # 19 x 19 places with three shapes, row by row; the first is small and square.
    assert (anchors.x[0], anchors.y[0]) == pytest.approx((0.5 / 19, 0.5 / 19))
    assert (anchors.x[3], anchors.y[3]) == pytest.approx((1.5 / 19, 0.5 / 19))
    assert (anchors.width[0], anchors.height[0]) == pytest.approx((0.1, 0.1))
    assert anchors.width[1] / anchors.height[1] == pytest.approx(2.0)
    # The last layer is one place with six shapes; the very last one lies between its scale and the whole.
    assert (anchors.x[-1], anchors.y[-1]) == pytest.approx((0.5, 0.5))
    assert anchors.width[-1] == pytest.approx((0.95 * 1.0) ** 0.5)


def test_codes_of_zero_are_the_anchors_themselves_cut_off_at_the_edges() -> None:
    anchors = ssd.make_anchors()
    edges = ssd.decode(np.zeros((1917, 4), np.float32), anchors)
    assert edges[1000, 0] == pytest.approx(max(0.0, anchors.x[1000] - anchors.width[1000] / 2), abs=1e-6)
    assert edges.min() >= 0
    assert edges.max() <= 1


def test_codes_move_and_stretch_an_anchor() -> None:
    anchors = ssd.Anchors(*(np.array([value], np.float32) for value in (0.5, 0.4, 0.2, 0.1)))
    codes = boxes((10.0 * 0.5, 10.0, 5 * np.log(1.5), 5 * np.log(2.0)))  # y, x, height, width
    left, top, right, bottom = ssd.decode(codes, anchors)[0]
    assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx((0.5, 0.6))
    assert (right - left, bottom - top) == pytest.approx((0.2, 0.3))


def test_nonsense_does_not_overflow() -> None:
    anchors = ssd.make_anchors()
    with np.errstate(all="raise", under="ignore"):
        edges = ssd.decode(np.full((1917, 4), 1e6, np.float32), anchors)
        scores = ssd.sigmoid(np.array([-1e9, 0.0, 1e9], np.float32))
    assert np.isfinite(edges).all()
    assert scores == pytest.approx([0.0, 0.5, 1.0], abs=1e-6)


def test_of_what_overlaps_the_best_stays_best_first() -> None:
    edges = boxes((0.1, 0.1, 0.5, 0.5), (0.12, 0.1, 0.52, 0.5), (0.6, 0.6, 0.9, 0.9))
    assert ssd.suppress(edges, np.array([0.5, 0.9, 0.95], np.float32)) == [2, 1]


def test_a_much_weaker_part_of_a_dog_is_no_second_dog_but_an_equal_one_is() -> None:
    edges = boxes((0.1, 0.1, 0.7, 0.9), (0.2, 0.1, 0.4, 0.4))
    assert ssd.suppress(edges, np.array([0.8, 0.3], np.float32)) == [0]
    assert ssd.suppress(edges, np.array([0.8, 0.7], np.float32)) == [0, 1]


def test_nothing_stays_nothing() -> None:
    assert ssd.suppress(np.empty((0, 4), np.float32), np.empty(0, np.float32)) == []
