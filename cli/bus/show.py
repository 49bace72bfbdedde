"""What the tools print: lines for people, JSON lines for programs."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from typing import Any

import msgspec

from cli.bus.tap import Heard

WIDTH = 118
BLOCK_INDENT = 4
STEP = 2


def say(text: str) -> None:
    """Print it now, so that a program behind a pipe gets it too."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Tell the person, beside what is printed."""
    print(text, file=sys.stderr, flush=True)


def json_line(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def wall_clock(monotonic_ns: int) -> datetime:
    """When that was, in UTC."""
    ago_s = (time.monotonic_ns() - monotonic_ns) / 1e9
    return datetime.fromtimestamp(time.time() - ago_s, UTC)


def utc(moment: datetime) -> str:
    """As the contract writes times."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def value_text(value: Any, indent: int = 0) -> str:
    """A struct or plain values as JSON: one line where it fits behind `indent` characters, else a block below."""
    plain = msgspec.to_builtins(value)
    line = _flat(plain)
    return line if len(line) + indent <= WIDTH else "\n" + " " * BLOCK_INDENT + _block(plain, BLOCK_INDENT)


def _flat(plain: Any) -> str:
    """One line; what a terminal would obey instead of showing it is escaped."""
    text = json.dumps(plain, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(plain)


def _block(plain: Any, indent: int, before: int = 0) -> str:
    """JSON in which only what is too long for a line is spread over several. The first line comes behind `indent` and
    `before` characters."""
    line = _flat(plain)
    if indent + before + len(line) <= WIDTH or not isinstance(plain, dict | list) or not plain:
        return line
    inner = indent + STEP
    if isinstance(plain, dict):
        rows = [(name := f"{_flat(key)}: ") + _block(part, inner, len(name)) for key, part in plain.items()]
    else:
        rows = _packed([_block(item, inner) for item in plain], WIDTH - inner)
    start, end = "{}" if isinstance(plain, dict) else "[]"
    return start + "\n" + ",\n".join(" " * inner + row for row in rows) + "\n" + " " * indent + end


def _packed(items: list[str], width: int) -> list[str]:
    """Rows of as many items as fit, so that 160 pixels do not take 160 lines."""
    rows = [items[0]]
    for item in items[1:]:
        if len(rows[-1]) + len(item) + 2 <= width:
            rows[-1] += f", {item}"
        else:
            rows.append(item)
    return rows


def message_text(heard: Heard) -> str:
    """One message for people, with local time."""
    message = heard.message
    clock = wall_clock(message.sent_ns).astimezone().strftime("%H:%M:%S.%f")[:-3]
    head = f"{clock}  {heard.topic.name}  {message.sender}  #{message.seq}  "
    text = value_text(message.value, len(head))
    return head.rstrip() + text if text.startswith("\n") else head + text


def message_json(heard: Heard) -> str:
    """One message for programs."""
    message = heard.message
    return json_line(
        {
            "topic": heard.topic.name,
            "time": utc(wall_clock(message.sent_ns)),
            "sender": message.sender,
            "seq": message.seq,
            "value": msgspec.to_builtins(message.value),
        }
    )


def table(rows: list[tuple[str, ...]]) -> str:
    """Columns, each as wide as it needs; the first row is their heading."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def seconds(value: float) -> str:
    """A span of time in two or three digits."""
    if value < 10:
        return f"{value:.2f} s"
    return f"{value:.0f} s" if value < 600 else f"{value / 60:.0f} min"


def count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
