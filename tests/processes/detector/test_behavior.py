from __future__ import annotations

from collections.abc import Callable

import pytest

from contract.models import BoundingBox
from processes.detector.behavior import HOLD_S, MAX_POSTURE, REST_S, BehaviorTrack

SQUARE = 1.0


def play(
    path: Callable[[float], BoundingBox], seconds: float, track: BehaviorTrack | None = None, start: float = 0.0
) -> tuple[BehaviorTrack, list[str]]:
    """See a box at 5 Hz; returns what was told, one word per change."""
    track = track or BehaviorTrack(SQUARE, start)
    told: list[str] = []
    for look in range(round(seconds * 5)):
        now = start + look / 5
        track.on_seen(now, path(now - start), None)
        if not told or told[-1] != track.behavior:
            told.append(track.behavior)
    return track, told


@pytest.mark.parametrize(
    ("width", "height", "behavior"), [(0.2, 0.35, "sitting"), (0.3, 0.22, "standing"), (0.4, 0.15, "lying")]
)
def test_a_still_box_is_a_posture_by_its_shape(width: float, height: float, behavior: str) -> None:
    track, told = play(lambda at: (0.3, 0.4, width, height), 3.0)
    assert told == [behavior]
    assert 0.5 <= track.confidence <= MAX_POSTURE


def test_a_dog_that_was_never_seen_standing_need_not_overcome_that() -> None:
    _, told = play(lambda at: (0.3, 0.4, 0.2, 0.2), 1.0)
    assert told == ["sitting"]
    _, told = play(lambda at: (0.3, 0.4, 0.2 if at > 0.5 else 0.25, 0.2), 3.0)
    assert told == ["standing"]


def test_the_pictures_shape_counts() -> None:
    track = BehaviorTrack(16 / 9, 0.0)
    track.on_seen(0.0, (0.3, 0.3, 0.3, 0.3), None)  # 16 : 9 on the screen
    assert track.behavior != "sitting"


def test_a_box_that_wanders_is_moving_and_stops() -> None:
    track, _ = play(lambda at: (0.1 + 0.15 * at, 0.4, 0.25, 0.2), 3.0)
    assert track.behavior == "moving"
    _, after = play(lambda at: (0.55, 0.4, 0.25, 0.2), 3.0, track, 3.0)
    assert after[-1] == "standing"


def test_a_box_that_grows_is_approaching() -> None:
    track, _ = play(lambda at: (0.5 - 0.1 * 1.3**at, 0.5 - 0.1 * 1.3**at, 0.2 * 1.3**at, 0.2 * 1.3**at), 3.0)
    assert track.behavior == "approaching"
    away, _ = play(lambda at: (0.5 - 0.2 * 0.8**at, 0.5 - 0.2 * 0.8**at, 0.4 * 0.8**at, 0.4 * 0.8**at), 3.0)
    assert away.behavior != "approaching"


def test_lying_for_long_is_resting_and_getting_up_ends_it() -> None:
    track, told = play(lambda at: (0.3, 0.6, 0.4, 0.15), REST_S + 3)
    assert told == ["lying", "resting"]
    _, after = play(lambda at: (0.3, 0.6, 0.2, 0.3), 2.0, track, REST_S + 3)
    assert after[-1] == "sitting"


def test_a_single_other_look_changes_nothing() -> None:
    track, _ = play(lambda at: (0.3, 0.4, 0.2, 0.35), 2.0)
    track.on_seen(2.0, (0.3, 0.5, 0.45, 0.15), None)
    assert track.behavior == "sitting"
    track.on_seen(2.2, (0.3, 0.4, 0.2, 0.35), None)
    assert (track.behavior, track.since) == ("sitting", 0.0)


def test_a_shape_that_trembles_around_a_boundary_does_not_flap() -> None:
    _, told = play(lambda at: (0.3, 0.4, 0.2 * (1.05 + 0.04 * (-1) ** round(at * 5)), 0.2), 10.0)
    assert len(told) <= 2


def test_a_posture_at_the_pictures_edge_is_less_sure() -> None:
    inside, _ = play(lambda at: (0.3, 0.4, 0.2, 0.35), 2.0)
    cut, _ = play(lambda at: (0.3, 0.65, 0.2, 0.35), 2.0)
    assert cut.confidence < inside.confidence


def test_a_detector_that_knows_is_believed_once_it_lasts() -> None:
    track = BehaviorTrack(SQUARE, 0.0)
    box = (0.1, 0.5, 0.4, 0.3)
    track.on_seen(0.0, box, ("moving", 1.0))
    track.on_seen(0.2, box, ("sitting", 1.0))
    assert track.behavior == "moving"
    track.on_seen(0.2 + HOLD_S, box, ("sitting", 0.9))
    assert (track.behavior, track.confidence, track.since) == ("sitting", 0.9, 0.2)
