"""`wimz bus replay`."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bus.injection import SIGNS_OF_LIFE
from bus.recording import Recording, RecordingError
from bus.topics import TOPICS, Topic
from cli.bus import choice, show
from cli.bus.place import joined, lives, run_dir
from cli.bus.publishing import NEVER_TAKEN, Voices
from cli.bus.stopping import ctrl_c
from cli.errors import CommandError

SHORTEST_ROUND_S = 0.1
"""So that a recording of one message, in a loop, floods nobody."""


@dataclass
class Score:
    """What a recording holds of the topics that will be played."""

    messages: Counter[str] = field(default_factory=Counter)
    length_s: float = 0.0
    cut_off: bool = False

    @property
    def topics(self) -> list[Topic[Any]]:
        return [TOPICS[name] for name in self.messages]


def replay(arguments: argparse.Namespace) -> int:
    """Publish a recording with its own timing."""
    run = run_dir(arguments.data)
    names = _wanted(arguments.file, arguments.topics)
    _leave_out(names, names & SIGNS_OF_LIFE, "signs of life, which nobody else may say")
    unplayable = {name for name in names if _owner(name) in NEVER_TAKEN and not lives(run, _owner(name))}
    _leave_out(names, unplayable, "said by a process that does not run, and whose place the motors' safety needs")
    score = _read_through(arguments.file, names)
    if not score.messages:
        raise CommandError(f"{arguments.file} holds no message that can be played.")
    if score.cut_off:
        show.note(f"{arguments.file} was cut off: its last line is left out.")
    with ctrl_c() as stopping, joined(run) as bus:
        voices = Voices(bus, run, {topic.owner for topic in score.topics})
        try:
            voices.wait_for_listeners(score.topics, arguments.wait, stopping.is_set)
            if deaf := voices.unheard(score.topics):
                show.note("nobody listens to " + ", ".join(topic.name for topic in deaf))
            played, late_s = _play(arguments, names, score, voices, stopping.is_set)
        finally:
            voices.close()
    _summary(arguments, score, played, late_s, voices.taken)
    return 0


def _owner(name: str) -> str:
    return name.partition("/")[0]


@contextmanager
def _opened(path: Path, names: set[str] | None = None) -> Iterator[Recording]:
    """A recording, of which only `names` are read; with its name before what is wrong in it."""
    try:
        with path.open("rb") as stream:
            yield Recording(stream, (lambda _: False) if names is None else names.__contains__)
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}.") from error
    except RecordingError as error:
        raise CommandError(f"{path}, {error}") from error


def _wanted(path: Path, patterns: list[str]) -> set[str]:
    with _opened(path) as recording:
        return set(choice.matching(patterns, recording.header.topics))


def _leave_out(names: set[str], which: set[str], why: str) -> None:
    if which:
        names -= which
        show.note(f"left out: {', '.join(sorted(which))} ({why})")


def _read_through(path: Path, names: set[str]) -> Score:
    """All of it, so that nothing is played of a recording that is broken further on."""
    score = Score()
    with _opened(path, names) as recording:
        for record in recording:
            score.messages[record.topic.name] += 1
            score.length_s = record.at_s
        score.cut_off = recording.cut_off
    return score


def _play(
    arguments: argparse.Namespace, names: set[str], score: Score, voices: Voices, stopped: Callable[[], bool]
) -> tuple[int, float]:
    """How many messages were said, and by how much the latest of them was late."""
    played, late_s = 0, 0.0
    start_s = time.monotonic()
    while True:
        with _opened(arguments.file, names) as recording:
            for record in recording:
                due_s = start_s + record.at_s / arguments.speed
                if not voices.wait(due_s, stopped):
                    return played, late_s
                late_s = max(late_s, time.monotonic() - due_s)
                voices.publish(record.topic, record.value)
                played += 1
        if not arguments.loop:
            return played, late_s
        start_s += max(score.length_s / arguments.speed, SHORTEST_ROUND_S)
        start_s = max(start_s, time.monotonic() - late_s)


def _summary(arguments: argparse.Namespace, score: Score, played: int, late_s: float, taken: list[str]) -> None:
    if arguments.json:
        facts = {
            "file": str(arguments.file),
            "messages": score.messages,
            "played": played,
            "latest_ms": round(late_s * 1000, 3),
            "in_place_of": taken,
            "cut_off": score.cut_off,
        }
        show.say(show.json_line(facts))
        return
    places = f", in the place of {', '.join(taken)}" if taken else ""
    show.say(
        f"{show.count(played, 'message')} of {show.count(len(score.messages), 'topic')} played{places}; "
        f"at most {late_s * 1000:.1f} ms late"
    )
