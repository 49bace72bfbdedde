"""Which topics a person means."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from typing import Any

from bus.recording import RECORDED_KINDS
from bus.topics import TOPICS, Kind, Topic
from cli.errors import CommandError


def matching(patterns: Sequence[str], names: Collection[str]) -> list[str]:
    """Those of `names` that are meant by one of the `patterns`, names or globs; all, where there are none.

    Raises:
        CommandError: a pattern means none of them; with the nearest names.
    """
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise CommandError(f"there is no topic {pattern!r}.{_nearest(pattern, names)}")
    return [name for name in names if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)]


def _nearest(pattern: str, names: Collection[str]) -> str:
    near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.5)
    if not near:
        near = [name for name in names if name.partition("/")[2] == pattern or name.partition("/")[0] == pattern][:5]
    return f" Near it: {', '.join(near)}." if near else " `wimz bus list` shows all."


def topics(patterns: Sequence[str]) -> list[Topic[Any]]:
    """Topics of any kind."""
    return [TOPICS[name] for name in matching(patterns, TOPICS)]


def heard_topics(patterns: Sequence[str]) -> list[Topic[Any]]:
    """Topics that can be listened to: STATE and EVENT. A glob passes over the others.

    Raises:
        CommandError: there is none, or a request is meant; with what to do.
    """
    chosen = topics(patterns)
    for topic in chosen:
        if topic.kind not in RECORDED_KINDS and topic.name in patterns:
            raise CommandError(f"{topic.name} is a {_word(topic)}, which is asked and not heard: `wimz bus call`.")
    audible = [topic for topic in chosen if topic.kind in RECORDED_KINDS]
    if not audible:
        raise CommandError(f"{' '.join(patterns)}: only requests, which are asked and not heard: `wimz bus call`.")
    return audible


def asked_topic(name: str) -> Topic[Any]:
    """The REQUEST or STOP of that name. Raises CommandError."""
    topic = _one(name)
    if topic.kind in RECORDED_KINDS:
        raise CommandError(f"{name} is a {_word(topic)}, which is heard and not asked: `wimz bus echo`.")
    return topic


def said_topic(name: str) -> Topic[Any]:
    """The STATE or EVENT of that name. Raises CommandError."""
    topic = _one(name)
    if topic.kind not in RECORDED_KINDS:
        raise CommandError(f"{name} is a {_word(topic)}, which is asked and not published: `wimz bus call`.")
    return topic


def _one(pattern: str) -> Topic[Any]:
    chosen = topics([pattern])
    if len(chosen) > 1:
        raise CommandError(f"{pattern!r} means {len(chosen)} topics, and one is accepted here.")
    return chosen[0]


def one_heard_topic(pattern: str) -> Topic[Any]:
    """The one topic that can be listened to. Raises CommandError."""
    chosen = heard_topics([pattern])
    if len(chosen) > 1:
        names = ", ".join(topic.name for topic in chosen[:5])
        raise CommandError(f"{pattern!r} means {len(chosen)} topics, and one is accepted here: {names} …")
    return chosen[0]


def _word(topic: Topic[Any]) -> str:
    return "request" if topic.kind is Kind.REQUEST else topic.kind.value
