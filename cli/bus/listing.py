"""`wimz bus list`: THE table, and what of it lives."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bus import settings
from bus.topics import Kind, Topic
from cli.bus import choice, show
from cli.bus.place import who_lives
from cli.bus.tap import Tap

LISTEN_S = 1.0
"""A STATE's last value comes within some 10 ms; this is for a machine that is busy."""


def run(arguments: argparse.Namespace) -> int:
    """Print the topics, with whether their owner lives and how old a STATE is, where a robot runs."""
    chosen = choice.topics(arguments.topics)
    run_dir = settings.run_dir((settings.ROOT / arguments.data).resolve())
    alive = who_lives(run_dir) if run_dir.is_dir() else set()
    ages = _ages_s(run_dir, [topic for topic in chosen if topic.kind is Kind.STATE and topic.owner in alive])
    if arguments.json:
        rows = [_facts(topic, alive, ages) for topic in chosen]
        show.say(show.json_line({"running": bool(alive), "topics": rows}))
        return 0
    show.say(show.table([_heading(bool(alive)), *(_row(topic, alive, ages) for topic in chosen)]))
    if not alive:
        show.note(f"No robot runs with {arguments.data}: this is the table alone.")
    return 0


def _ages_s(run_dir: Path, states: Sequence[Topic[Any]]) -> dict[str, float]:
    """Seconds since each STATE was sent last; those that were never sent are not in it."""
    if not states:
        return {}
    sent_ns: dict[str, int] = {}
    with Tap(run_dir, states) as tap:
        end = time.monotonic() + LISTEN_S
        while len(sent_ns) < len(states) and (heard := tap.take(end - time.monotonic())) is not None:
            sent_ns[heard.topic.name] = heard.message.sent_ns
    now_ns = time.monotonic_ns()
    return {name: (now_ns - at_ns) / 1e9 for name, at_ns in sent_ns.items()}


def _facts(topic: Topic[Any], alive: set[str], ages: Mapping[str, float]) -> dict[str, Any]:
    asked = topic.kind in (Kind.REQUEST, Kind.STOP)
    outside = topic.outside
    return {
        "topic": topic.name,
        "kind": topic.kind.value,
        "owner": topic.owner,
        "rate_hz": topic.rate_hz or None,
        "max_age_s": topic.max_age_s if topic.kind is Kind.STATE else None,
        "deadline_s": topic.max_age_s if asked else None,
        "type": topic.payload.__name__,
        "reply": topic.reply.__name__ if asked else None,
        "schema": topic.schema,
        "outside": outside and {"paths": outside.paths, "role": outside.role, "rate_hz": outside.rate_hz},
        "owner_runs": topic.owner in alive,
        "age_s": ages.get(topic.name),
    }


def _heading(running: bool) -> tuple[str, ...]:
    live = ("RUNS", "LATEST") if running else ()
    return ("TOPIC", "KIND", "OWNER", *live, "RATE", "LIMIT", "TYPE", "OUTSIDE")


def _row(topic: Topic[Any], alive: set[str], ages: Mapping[str, float]) -> tuple[str, ...]:
    live = ("yes" if topic.owner in alive else "no", _latest(topic, ages)) if alive else ()
    asked = topic.kind in (Kind.REQUEST, Kind.STOP)
    return (
        topic.name,
        topic.kind.value,
        topic.owner,
        *live,
        f"{topic.rate_hz:g} Hz" if topic.rate_hz else "-",
        "-" if topic.kind is Kind.EVENT else f"{topic.max_age_s:g} s",
        f"{topic.payload.__name__} -> {topic.reply.__name__}" if asked else topic.payload.__name__,
        _outside(topic),
    )


def _latest(topic: Topic[Any], ages: Mapping[str, float]) -> str:
    age_s = ages.get(topic.name)
    if topic.kind is not Kind.STATE:
        return "-"
    if age_s is None:
        return "none"
    return show.seconds(age_s) + (" stale" if age_s > topic.max_age_s else "")


def _outside(topic: Topic[Any]) -> str:
    if topic.outside is None:
        return "-"
    rate = "any rate" if topic.outside.rate_hz is None else f"{topic.outside.rate_hz:g}/s"
    return f"{' '.join(topic.outside.paths)}: {topic.outside.role}, {rate}"
