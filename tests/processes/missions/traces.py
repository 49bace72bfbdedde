"""Sightings, made up second by second."""

from __future__ import annotations

from bus.messages import Dog, Sighting
from contract.units import Behavior
from processes.missions.definition import Definition, parse

SIT = """
name: Sit
target_behavior: sitting
required_duration: 3
attempt_seconds: 10
cooldown_seconds: 5
daily_limit: 10
cues:
  start: {sound: whistle.flac, led: attention}
  success: {sound: good_dog.mp3, led: celebration}
end: {after_seconds: 120, after_rewards: 2, after_fails: 3}
"""


def mission(text: str = SIT, **changes: object) -> Definition:
    """The mission `SIT` with other values for some of its lines."""
    lines = [line for line in text.splitlines() if line.partition(":")[0] not in changes]
    return parse("\n".join([*lines, *(f"{key}: {value}" for key, value in changes.items())]), "missions/test.yaml")


def dog(behavior: Behavior, id_: int = 1, confidence: float = 0.9) -> Dog:
    return Dog(id_, (0.4, 0.4, 0.2, 0.3), 0.9, behavior, confidence, 1.0)


def sighting(at_s: float, *dogs: Dog, model: str | None = "scene") -> Sighting:
    """What was seen in a frame that was taken at `at_s`."""
    return Sighting(round(at_s * 5), round(at_s * 1e9), list(dogs), model)
