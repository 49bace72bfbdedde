"""`wimz bus echo` and `wimz bus hz`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from bus import codec
from bus.topics import Topic
from cli.bus import choice, show
from cli.bus.meter import Meter, Rates
from cli.bus.place import lives, run_dir
from cli.bus.stopping import POLL_S, ctrl_c
from cli.bus.tap import Heard, Tap

PATIENCE_S = 2.0
"""How long nothing may come before we say what we are waiting for."""
REPORT_S = 1.0


def echo(arguments: argparse.Namespace) -> int:
    """Print messages as they come, until Ctrl-C or `--count`."""
    topics = choice.heard_topics(arguments.topics)
    run = run_dir(arguments.data)
    text = show.message_json if arguments.json else show.message_text
    printed = 0
    with ctrl_c() as stopping, Tap(run, topics) as tap:
        say_at_s: float | None = time.monotonic() + PATIENCE_S
        while not stopping.is_set() and printed != arguments.count:
            heard = tap.take(POLL_S)
            if heard is not None:
                show.say(text(heard))
                printed += 1
            elif not printed and say_at_s is not None and time.monotonic() >= say_at_s:
                show.note(waiting_for(run, topics))
                say_at_s = None
        _tell_losses(tap)
    return 0


def waiting_for(run: Path, topics: Sequence[Topic[Any]]) -> str:
    """What may be the reason that nothing comes."""
    absent = sorted({topic.owner for topic in topics if not lives(run, topic.owner)})
    names = ", ".join(topic.name for topic in topics[:3]) + (" …" if len(topics) > 3 else "")
    why = f"; not running: {', '.join(absent)}" if absent else "; its owner runs, and has said nothing yet"
    return f"waiting for {names}{why}. Ctrl-C ends it."


def _tell_losses(tap: Tap) -> None:
    if missed := tap.missed.total():
        where = ", ".join(f"{name} {number}" for name, number in tap.missed.items() if number)
        show.note(f"{show.count(missed, 'message')} missed: {where}")
    if tap.unreadable:
        show.note(f"{show.count(tap.unreadable, 'message')} could not be read: another version of the program?")


def hz(arguments: argparse.Namespace) -> int:
    """Print once a second how regularly a topic comes, until Ctrl-C or `--count` lines."""
    topic = choice.one_heard_topic(arguments.topic)
    run = run_dir(arguments.data)
    meter = Meter(arguments.window)
    lines = 0
    with ctrl_c() as stopping, Tap(run, [topic]) as tap:
        began_s = last_s = time.monotonic()
        report_s = began_s + REPORT_S
        while not stopping.is_set() and lines != arguments.count:
            heard = tap.take(min(POLL_S, report_s - time.monotonic()))
            if heard is not None and heard.message.sent_ns / 1e9 >= began_s:  # not a STATE's value from long ago
                meter.add(heard.message.sent_ns / 1e9, heard.at_s, _size(heard))
                last_s = heard.at_s
            if (now_s := time.monotonic()) >= report_s:
                report_s = max(report_s + REPORT_S, now_s)
                show.say(_report(arguments, topic, meter.rates(), tap, now_s - last_s, run))
                lines += 1
    return 0


def _size(heard: Heard) -> int:
    """Bytes of the message as it came: the codec makes the same bytes of the same message."""
    message = heard.message
    return len(codec.encode_publication(heard.topic, message.value, message.sender, message.seq, message.sent_ns))


def _report(
    arguments: argparse.Namespace, topic: Topic[Any], rates: Rates, tap: Tap, silent_s: float, run: Path
) -> str:
    missed, repeated = tap.missed[topic.name], tap.repeated
    if arguments.json:
        facts = {"topic": topic.name, "nominal_hz": topic.rate_hz or None, "silent_s": round(silent_s, 3)}
        return show.json_line(facts | msgspec.to_builtins(rates) | {"missed": missed, "repeated": repeated})
    if silent_s > 2 * REPORT_S or rates.rate_hz is None:
        runs = "" if lives(run, topic.owner) else f" ({topic.owner} does not run)"
        so_far = show.count(rates.messages, "message")
        return f"{topic.name}: nothing for {show.seconds(silent_s)}{runs}, {so_far} so far"
    nominal = ""
    if topic.rate_hz:
        nominal = f" of {topic.rate_hz:g} ({(rates.rate_hz / topic.rate_hz - 1) * 100:+.1f} %)"
    return (
        f"{topic.name}  {rates.rate_hz:.2f} Hz{nominal}"
        f"  interval {rates.interval_min_ms:.1f} to {rates.interval_max_ms:.1f} ms, std {rates.interval_std_ms:.2f}"
        f"  jitter {rates.jitter_ms:.2f} ms  {rates.bytes_per_s:.0f} B/s"
        f"  missed {missed}, repeated {repeated}  ({show.count(rates.messages, 'message')})"
    )
