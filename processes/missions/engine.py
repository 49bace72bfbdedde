"""One run of a mission. Pure: the same sightings at the same times give the same actions.

All times are CLOCK_MONOTONIC in seconds. Nothing here moves the robot: a mission has no motors.

    run = Run("sit", definition, rewards_today=0, successes_before=0, now=now)
    actions = run.start()
    actions = run.on_sighting(sighting, now)   # 5 Hz
    actions = run.on_tick(now)                 # 10 Hz
    actions = run.on_reward(None, now)         # the dispenser's word on a `Reward`

A run is a row of tries. A try begins with the cue `start`, and is a success when one dog was seen doing what it is to
do for `required_duration` without a break: in sightings that came in time, none more than `MAX_GAP_S` after the one
before, and none in between that showed it doing something else. Time in which the detector saw nothing (it is dead,
or too slow) is nobody's failure: it does not count for the try.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from bus.messages import Dog, Sighting
from processes.missions.definition import Cue, Definition

MAX_GAP_S = 1.0
"""A dog that was not seen for longer was not seen doing anything in between."""
MAX_AGE_S = 2.0
"""A frame taken longer ago tells nothing of now (`bus.topics.SIGHTING`)."""
AHEAD_S = 0.1
BLIND_S = 60.0
"""A mission that sees nothing for so long ends."""
CUE_S = 2.0
"""How long the lights mark a success or a fail."""
SOUND_S = 30.0
"""A cue's sound may still be heard for so long after it began."""
MAX_DOGS = 16
LONGEST_STEP_S = 0.5

GOES_ON = frozenset({"COOLDOWN", "BUSY"})
"""The dispenser will give the next one."""
NOT_GIVEN = frozenset({"COOLDOWN", "BUSY", "DAILY_LIMIT", "EMPTY", "TREAT_JAM"})
"""With these it is certain that no treat fell. With any other one may have, and it counts for the daily limit."""


@dataclass(frozen=True)
class Show:
    """Give a cue."""

    cue: Cue


@dataclass(frozen=True)
class Dark:
    """The lights off; `silence`: and the sound, which may still be heard."""

    silence: bool = False


@dataclass(frozen=True)
class Reward:
    """Ask the dispenser for one treat, once. `number` counts the run's own."""

    number: int


Status = Literal["started", "success", "rewarded", "unrewarded", "fail", "completed", "stopped"]


@dataclass(frozen=True)
class Told:
    """Something changed that people are told.

    success: done right, and the reward is on its way or not due. rewarded: the treat fell. unrewarded: it was due,
    and the dispenser refused it. completed, stopped: the run is over.
    """

    status: Status
    reason: str = ""


Action = Show | Dark | Reward | Told


class Phase(Enum):
    TRYING = "trying"
    REWARDING = "rewarding"
    RESTING = "resting"
    OVER = "over"


def is_rewarded(mission: str, ratio: tuple[int, int], number: int) -> bool:
    """Whether a success is rewarded, so that no treat is ever random.

    Successes are taken in blocks of `of`; in each, exactly `rewarded` are. Which ones follows from the SHA-256 of
    `mission:block:place`: the places with the smallest digests. Whoever knows the mission's name can work it out.

    Args:
        mission: its id.
        ratio: rewarded, of.
        number: of the success, from 1 on, over the mission's whole life.
    """
    rewarded, of = ratio
    block, place = divmod(number - 1, of)
    digests = [hashlib.sha256(f"{mission}:{block}:{each}".encode()).digest() for each in range(of)]
    return place in sorted(range(of), key=digests.__getitem__)[:rewarded]


class Eyes:
    """Which sightings count, and since when there were none."""

    def __init__(self, now: float) -> None:
        self.last_s = now
        self._capture_s = float("-inf")
        self.refused = 0

    def accept(self, sighting: Sighting, now: float) -> float | None:
        """When its frame was taken; None when it tells nothing: too old, seen before, or made without a model."""
        capture_s = sighting.capture_ns / 1e9
        in_time = -AHEAD_S <= now - capture_s <= MAX_AGE_S
        if sighting.model is None or not in_time or capture_s <= self._capture_s:
            self.refused += 1
            return None
        self._capture_s, self.last_s = capture_s, now
        return capture_s

    def blind_s(self, now: float) -> float:
        """How long nothing was seen, beyond what may be between two sightings."""
        return max(0.0, now - self.last_s - MAX_GAP_S)


class Holds:
    """For how long each dog has been doing it, as far as it was seen."""

    def __init__(self, definition: Definition) -> None:
        self._definition = definition
        self._holds: dict[int, tuple[float, float]] = {}

    def clear(self) -> None:
        self._holds.clear()

    def on_dogs(self, dogs: Iterable[Dog], at_s: float) -> float:
        """The longest hold, in seconds, with what was seen in the frame of `at_s`."""
        kept = {dog: hold for dog, hold in self._holds.items() if at_s - hold[1] <= MAX_GAP_S}
        for dog in dogs:
            since_s = kept[dog.id][0] if dog.id in kept else at_s
            if does_it(dog, self._definition):
                kept[dog.id] = (since_s, at_s)
            else:
                kept.pop(dog.id, None)
        self._holds = kept
        return max((last_s - since_s for since_s, last_s in kept.values()), default=0.0)

    def under_way(self, now: float) -> bool:
        """Whether a dog is about to succeed."""
        return any(now - last_s <= MAX_GAP_S for _, last_s in self._holds.values())


def does_it(dog: Dog, definition: Definition) -> bool:
    return dog.behavior in definition.behaviors and dog.confidence >= definition.min_confidence


class Run:
    """One run, from `start` to the first `Told` that it is over.

    Args:
        mission: its id.
        rewards_today: treats of this mission on this local day, before it.
        successes_before: in the mission's whole life.

    Attributes:
        rewards, successes, fails: of this run; `rewards` are those that fell.
        rewards_today: those that fell or may have; `on_day` sets it anew.
    """

    def __init__(
        self, mission: str, definition: Definition, *, rewards_today: int, successes_before: int, now: float
    ) -> None:
        self.phase = Phase.TRYING
        self.rewards = self.successes = self.fails = 0
        self.rewards_today = rewards_today
        self._mission = mission
        self._definition = definition
        self._successes_before = successes_before
        self._began_s = self._ticked_s = now
        self._eyes = Eyes(now)
        self._holds = Holds(definition)
        self._asked = 0
        self._lit = False
        self._sounded_s = float("-inf")
        self._try_s = now
        self._tried_s = 0.0
        self._rest_s = now
        self._released = True
        self._over: Told | None = None

    @property
    def refused_sightings(self) -> int:
        return self._eyes.refused

    def progress(self, now: float) -> float:
        """0 to 1: rewards, where the mission ends with so many; else time."""
        end = self._definition.end
        if end.after_rewards is not None:
            return min(1.0, self.rewards / end.after_rewards)
        return min(1.0, max(0.0, (now - self._began_s) / end.after_seconds))

    # -- what happens -----------------------------------------------------------------------------

    def start(self) -> list[Action]:
        return [Told("started"), *self._begin_try(self._began_s)]

    def on_sighting(self, sighting: Sighting, now: float) -> list[Action]:
        at_s = self._eyes.accept(sighting, now)
        if at_s is None or self.phase is Phase.OVER:
            return []
        dogs = sighting.dogs[:MAX_DOGS]
        if self.phase is Phase.TRYING:
            if at_s >= self._try_s and self._holds.on_dogs(dogs, at_s) >= self._definition.required_duration:
                return self._succeed(now)
        elif at_s >= self._rest_s and not any(does_it(dog, self._definition) for dog in dogs):
            self._released = True
        return []

    def on_tick(self, now: float) -> list[Action]:
        step_s = min(max(now - self._ticked_s, 0.0), LONGEST_STEP_S)
        self._ticked_s = now
        if self.phase is Phase.TRYING:
            return self._try_on(now, step_s)
        if self.phase is Phase.RESTING:
            return self._rest_on(now)
        return []

    def on_reward(self, error: str | None, now: float, message: str = "") -> list[Action]:
        """What came of the treat that was asked for: None, or the error's code and what it says."""
        if error in NOT_GIVEN:
            self.rewards_today -= 1
        if error is None:
            self.rewards += 1
        if self.phase is not Phase.REWARDING:  # the run was stopped in between
            return []
        self._rest(now)
        if error is None:
            return [Told("rewarded")]
        if error not in GOES_ON:
            self._over = Told("stopped", f"The dispenser gave no treat: {message or error}")
        return [Told("unrewarded", message or error)]

    def on_day(self, rewards_today: int) -> None:
        """A new local day has begun, or the clock was set."""
        self.rewards_today = rewards_today

    def on_stop(self, reason: str, now: float) -> list[Action]:
        """Somebody or something ends it now."""
        return [] if self.phase is Phase.OVER else self._end(Told("stopped", reason), now)

    # -- tries ------------------------------------------------------------------------------------

    def _begin_try(self, now: float) -> list[Action]:
        self.phase = Phase.TRYING
        self._try_s, self._tried_s = now, 0.0
        self._holds.clear()
        return self._show(self._definition.cues.start, now)

    def _try_on(self, now: float, step_s: float) -> list[Action]:
        over = self._is_over(now)
        if over is not None:
            return self._end(over, now)
        if self._eyes.blind_s(now) > 0:
            return []
        self._tried_s += step_s
        if self._tried_s < self._definition.attempt_seconds or self._holds.under_way(now):
            return []
        self.fails += 1
        self._rest(now)
        return [*self._show(self._definition.cues.fail, now), Told("fail", "The time of this try is over.")]

    def _succeed(self, now: float) -> list[Action]:
        if self.rewards_today >= self._definition.daily_limit:  # the day has changed under way
            return self._end(self._limit_reached(), now)
        self.successes += 1
        actions: list[Action] = [*self._show(self._definition.cues.success, now), Told("success")]
        number = self._successes_before + self.successes
        self._rest(now)
        if is_rewarded(self._mission, self._definition.ratio, number):
            self.phase = Phase.REWARDING
            self._asked += 1
            self.rewards_today += 1
            actions.append(Reward(self._asked))
        return actions

    def _rest(self, now: float) -> None:
        self.phase = Phase.RESTING
        self._rest_s = now
        self._released = self._definition.again_at_once

    def _rest_on(self, now: float) -> list[Action]:
        rested_s = now - self._rest_s
        if rested_s < CUE_S:
            return []
        over = self._over or self._is_over(now)
        if over is not None:
            return self._end(over, now)
        actions = self._darken()
        if rested_s >= self._definition.cooldown_seconds and self._released and self._eyes.blind_s(now) == 0:
            actions += self._begin_try(now)
        return actions

    # -- the end ----------------------------------------------------------------------------------

    def _is_over(self, now: float) -> Told | None:
        end = self._definition.end
        if end.after_rewards is not None and self.rewards >= end.after_rewards:
            return Told("completed", f"{self.rewards} treats were earned.")
        if self.rewards_today >= self._definition.daily_limit:
            return self._limit_reached()
        if end.after_fails is not None and self.fails >= end.after_fails:
            return Told("completed", f"{self.fails} tries failed: time for a break.")
        if now - self._began_s >= end.after_seconds:
            return Told("completed", "Its time is over.")
        if self._eyes.blind_s(now) >= BLIND_S:
            return Told("stopped", "The detector has seen nothing for a while: no pictures, no model, or it is down.")
        return None

    def _limit_reached(self) -> Told:
        return Told("completed", f"Today's {self._definition.daily_limit} treats of this mission are given.")

    def _end(self, told: Told, now: float) -> list[Action]:
        self.phase = Phase.OVER
        silence = told.status == "stopped" and now - self._sounded_s < SOUND_S
        dark: list[Action] = [Dark(silence)] if self._lit or silence else []
        self._lit = False
        return [*dark, told]

    # -- cues -------------------------------------------------------------------------------------

    def _show(self, cue: Cue, now: float) -> list[Action]:
        if cue.sound is not None:
            self._sounded_s = now
        self._lit = self._lit or cue.led is not None
        return [] if cue == Cue() else [Show(cue)]

    def _darken(self) -> list[Action]:
        lit, self._lit = self._lit, False
        return [Dark()] if lit else []
