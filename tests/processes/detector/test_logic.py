from __future__ import annotations

import itertools

import pytest

from bus.messages import Dog
from contract.units import Behavior
from processes.detector.found import Found
from processes.detector.logic import FOLLOW_S, NEWS_PAUSE_S, Gaze, News, Pace
from processes.detector.regions import WHOLE, around, squares

FRAME_S = 1 / 15
ASPECT = 16 / 9


def looks_in(seconds: float, rate_hz: float, limit: float, look_cpu_s: float) -> tuple[int, float]:
    """Frames at 15 fps; returns the number of looks and the processor time they took."""
    pace, cpu_s, looks = Pace(rate_hz, limit, 0.0, 0.0), 0.0, 0
    for frame in range(round(seconds / FRAME_S)):
        now = frame * FRAME_S
        if pace.due(now):
            cpu_s += look_cpu_s
            looks += 1
            pace.on_look(now, cpu_s)
    return looks, cpu_s


@pytest.mark.parametrize("rate_hz", [1, 3, 5, 7.5])
def test_looks_come_at_the_rate_that_was_set(rate_hz: float) -> None:
    looks, _ = looks_in(20.0, rate_hz, 0.5, 0.01)
    assert looks == pytest.approx(20 * rate_hz, rel=0.1)


@pytest.mark.parametrize("look_cpu_s", [0.025, 0.04, 0.08])
def test_dear_looks_come_less_often_and_stay_within_the_limit(look_cpu_s: float) -> None:
    looks, cpu_s = looks_in(60.0, 5.0, 0.10, look_cpu_s)
    assert cpu_s <= 60 * 0.10 + look_cpu_s
    assert cpu_s > 60 * 0.10 * 0.7
    assert looks < 60 * 5


def test_however_dear_a_look_is_there_is_one_about_every_second() -> None:
    looks, _ = looks_in(20.0, 5.0, 0.02, 0.5)
    assert 10 <= looks <= 22


def test_after_a_pause_looks_are_not_made_up_for() -> None:
    pace = Pace(5.0, 0.5, 0.0, 0.0)
    pace.on_look(0.0, 0.0)
    pace.on_look(30.0, 0.0)
    assert not pace.due(30.05)


def test_with_no_dog_it_looks_at_the_whole_and_at_every_square_in_turn() -> None:
    gaze, seen = Gaze(0.3, ASPECT), []
    for look in range(4 * len(squares(ASPECT))):
        region = gaze.next(look / 5)
        seen.append(region)
        gaze.on_look(look / 5, region, [])
    assert seen[2::3] == [WHOLE] * (len(seen) // 3)
    assert set(seen) == {WHOLE, *squares(ASPECT)}


def test_a_dog_in_the_whole_picture_is_all_it_looks_at_until_it_is_gone() -> None:
    gaze = Gaze(0.3, ASPECT)
    gaze.next(0.0)
    gaze.on_look(0.0, WHOLE, [Found((0.1, 0.1, 0.5, 0.5), 0.6)])
    assert [gaze.next(0.2), gaze.next(0.4), gaze.next(FOLLOW_S)] == [WHOLE] * 3
    assert {gaze.next(FOLLOW_S + 0.6), gaze.next(FOLLOW_S + 0.8)} != {WHOLE}


def test_a_far_dog_is_looked_at_from_near_and_the_whole_is_not_forgotten() -> None:
    gaze, dog = Gaze(0.3, ASPECT), Found((0.5, 0.55, 0.05, 0.1), 0.5)
    gaze.on_look(0.0, squares(ASPECT)[3], [dog])
    seen = []
    for look in range(1, 10):
        seen.append(gaze.next(look / 5))
        if seen[-1] != WHOLE:
            gaze.on_look(look / 5, seen[-1], [dog])
    assert set(seen) == {WHOLE, around(dog.box, ASPECT)}
    assert seen.count(WHOLE) == 3


def test_what_is_in_doubt_is_looked_at_from_near_once() -> None:
    gaze, doubtful = Gaze(0.3, ASPECT), Found((0.5, 0.55, 0.05, 0.1), 0.16)
    gaze.on_look(0.0, gaze.next(0.0), [doubtful, Found((0.1, 0.1, 0.1, 0.1), 0.15)])
    near = gaze.next(0.2)
    assert near == around(doubtful.box, ASPECT)
    gaze.on_look(0.2, near, [doubtful])
    assert gaze.next(0.4) in (WHOLE, *squares(ASPECT))


def test_what_is_cut_by_the_edge_of_a_square_is_worth_a_closer_look() -> None:
    gaze, square = Gaze(0.3, ASPECT), squares(ASPECT)[1]
    part = Found((square.x, square.y + 0.1, 0.1, 0.1), 0.9)
    gaze.on_look(0.0, square, [part])
    assert gaze.next(0.2) == around(part.box, ASPECT)


def test_what_leaves_no_doubt_costs_no_look() -> None:
    gaze = Gaze(0.3, ASPECT)
    gaze.on_look(0.0, gaze.next(0.0), [Found((0.5, 0.55, 0.05, 0.1), 0.14)])
    assert gaze.next(0.2) in (WHOLE, *squares(ASPECT))


def test_what_is_cut_by_the_edge_of_a_square_is_not_taken_for_a_dog() -> None:
    gaze, square = Gaze(0.3, ASPECT), squares(ASPECT)[1]
    assert gaze.on_look(0.0, square, [Found((square.x, square.y + 0.1, 0.1, 0.1), 0.9)]) == []


def dog(behavior: Behavior, number: int = 1, size: float = 0.3) -> Dog:
    return Dog(number, (0.1, 0.1, size, size), 0.6, behavior, 0.7, 0.0)


def told(seconds: float, dogs_at: list[tuple[float, list[Dog]]]) -> list[tuple[float, str]]:
    """Plays what is seen from given times on, at 5 Hz; returns the news."""
    news = News()
    heard: list[tuple[float, str]] = []
    for look in range(round(seconds * 5) + 1):
        now = look / 5
        dogs = [dogs for since, dogs in dogs_at if since <= now][-1]
        new, front = news.on_look(now, dogs)
        if new:
            heard.append((now, "absent" if front is None else front.behavior))
    return heard


def test_an_empty_room_is_no_news() -> None:
    assert told(10.0, [(0.0, [])]) == []


def test_a_change_is_told_once_when_it_lasts() -> None:
    heard = told(10.0, [(0.0, []), (1.0, [dog("moving")]), (4.0, [dog("sitting")]), (7.0, [])])
    assert [what for _, what in heard] == ["moving", "sitting", "absent"]
    assert [at for at, _ in heard] == pytest.approx([1.6, 4.6, 7.6], abs=0.21)


def test_flapping_is_not_told() -> None:
    flapping = [(look / 5, [dog("sitting" if look % 2 else "standing")]) for look in range(100)]
    assert told(20.0, flapping) == []


def test_there_is_at_most_one_event_a_second() -> None:
    changes: list[tuple[float, list[Dog]]] = [
        (step * 0.8, [dog(("sitting", "standing", "moving")[step % 3])]) for step in range(60)
    ]
    heard = told(48.0, changes)
    assert len(heard) > 5
    assert all(later - earlier >= NEWS_PAUSE_S for (earlier, _), (later, _) in itertools.pairwise(heard))


def test_of_two_dogs_of_about_one_size_the_same_one_stays_in_front() -> None:
    sizes = [(0.30, 0.31), (0.31, 0.30)]
    seen = [
        (look / 5, [dog("sitting", 1, sizes[look % 2][0]), dog("moving", 2, sizes[look % 2][1])]) for look in range(50)
    ]
    assert len(told(10.0, seen)) == 1
