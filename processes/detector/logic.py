"""When to look, where to look, and what is news. Pure: times are monotonic seconds, passed in."""

from __future__ import annotations

from collections.abc import Sequence

from bus.messages import Dog
from contract.units import Behavior
from processes.detector.found import Found
from processes.detector.regions import WHOLE, Region, around, squares

EARLY_S = 0.02
"""Looks happen when pictures come: one that comes this much early is in time."""
HEADROOM = 0.95
"""Looks come whole: aiming at the limit itself would pass it now and then."""
CREDIT_S = 1.0
"""What was not used is saved for this long."""
MAX_PAUSE_S = 1.0
"""However slow the machine is: a look a second."""


class Pace:
    """Spreads looks over time: at most `rate_hz`, and fewer where they would take more than their share of a core.

    Args:
        cpu_limit: 0 to 1, of one core.
        cpu_s: what the process has used of the processor until now.
    """

    def __init__(self, rate_hz: float, cpu_limit: float, now: float, cpu_s: float) -> None:
        self._period_s, self._limit = 1.0 / rate_hz, cpu_limit * HEADROOM
        self._at, self._cpu_s, self._credit_s = now, cpu_s, 0.0
        self._due = now

    def due(self, now: float) -> bool:
        return now >= self._due - EARLY_S

    def on_look(self, now: float, cpu_s: float) -> None:
        """A look is done."""
        earned = (now - self._at) * self._limit - (cpu_s - self._cpu_s)
        self._credit_s = max(-MAX_PAUSE_S * self._limit, min(CREDIT_S * self._limit, self._credit_s + earned))
        self._at, self._cpu_s = now, cpu_s
        pause_s = max(0.0, -self._credit_s / self._limit)
        on_beat = self._due + self._period_s
        self._due = max(on_beat if on_beat > now else now + self._period_s / 2, now + pause_s)


FOLLOW_S = 1.5
"""So long after a dog was seen, the look stays with it."""
WHOLE_EVERY = 3
DOUBT_SCORE = 0.15
"""What is as little sure as this is worth one closer look, which decides."""


class Gaze:
    """Which part of the picture to look at next.

    While there is no dog: the whole every third time, and else the squares in turn, each followed by a closer look at
    the likeliest that it left in doubt. The whole alone for a dog that is seen there; and for one that is too small
    for that a square around it, with the whole every third time.

    Args:
        threshold: the least score of a dog.
        aspect: the picture's width by its height.
    """

    def __init__(self, threshold: float, aspect: float) -> None:
        self._threshold, self._aspect = threshold, aspect
        self._squares = squares(aspect)
        self._round = 0
        self._looks = 0
        self._near_at = self._far_at = float("-inf")
        self._far: Found | None = None
        self._doubt: Found | None = None
        self._closer = False

    def next(self, now: float) -> Region:
        self._looks += 1
        if now - self._near_at <= FOLLOW_S:
            return WHOLE
        if self._far is not None and now - self._far_at <= FOLLOW_S:
            return WHOLE if self._looks % WHOLE_EVERY == 0 else around(self._far.box, self._aspect)
        self._closer = self._doubt is not None
        if self._doubt is not None:
            doubt, self._doubt = self._doubt, None
            return around(doubt.box, self._aspect)
        if self._looks % WHOLE_EVERY == 0:
            return WHOLE
        self._round = (self._round + 1) % len(self._squares)
        return self._squares[self._round]

    def on_look(self, now: float, region: Region, found: Sequence[Found]) -> list[Found]:
        """What the look has shown, without what is only a part of something."""
        whole = [one for one in found if not region.cuts(one.box)]
        best = max(whole, key=lambda one: one.score, default=None)
        if best is not None and best.score >= self._threshold:
            if region == WHOLE:
                self._near_at = now
            else:
                self._far, self._far_at = best, now
        elif not self._closer:
            doubt = max(found, key=lambda one: one.score, default=None)
            self._doubt = doubt if doubt is not None and doubt.score >= DOUBT_SCORE else None
        return whole


NEWS_HOLD_S = 0.5
NEWS_PAUSE_S = 1.0
SWITCH_FACTOR = 1.3
"""A dog has to be this much larger to become the one that is told of."""


class News:
    """Finds what is worth an event: another state of the dog in front, once it lasts; at most one a second."""

    def __init__(self) -> None:
        self._told: tuple[bool, Behavior] = (False, "absent")
        self._told_at = float("-inf")
        self._next: tuple[tuple[bool, Behavior], float] | None = None
        self._front: int | None = None

    def on_look(self, now: float, dogs: Sequence[Dog]) -> tuple[bool, Dog | None]:
        """Whether to tell now, and of which dog (None: there is none)."""
        dog = self._choose(dogs)
        state: tuple[bool, Behavior] = (False, "absent") if dog is None else (True, dog.behavior)
        if state == self._told:
            self._next = None
            return False, dog
        if self._next is None or self._next[0] != state:
            self._next = state, now
        if now - self._next[1] < NEWS_HOLD_S or now - self._told_at < NEWS_PAUSE_S:
            return False, dog
        self._told, self._told_at, self._next = state, now, None
        return True, dog

    def _choose(self, dogs: Sequence[Dog]) -> Dog | None:
        """The dog in front: the largest, but the one before as long as it is nearly as large."""
        if not dogs:
            self._front = None
            return None
        largest = max(dogs, key=_area)
        front = next((dog for dog in dogs if dog.id == self._front), largest)
        chosen = largest if _area(largest) > SWITCH_FACTOR * _area(front) else front
        self._front = chosen.id
        return chosen


def _area(dog: Dog) -> float:
    return dog.box[2] * dog.box[3]
