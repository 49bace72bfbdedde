"""How every benchmark and drill reports: a table; with `JSON=1` the same as JSON; with `CHECK=1` missed aims fail."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of a report.

    Attributes:
        what: what was measured.
        figures: the numbers, by name with unit (`p50_ms`).
        aim: the number to reach, in the unit of the last figure; None: shown for comparison only.
        met: whether it was reached.
    """

    what: str
    figures: dict[str, float]
    aim: float | None = None
    met: bool = True


def finish(title: str, rows: list[Row]) -> None:
    """Print the report, and exit with 1 when `CHECK=1` and an aim was missed."""
    if os.environ.get("JSON") == "1":
        print(json.dumps({"title": title, "rows": [vars(row) for row in rows]}, indent=2))
    else:
        print(table(title, rows))
    missed = [row.what for row in rows if not row.met]
    if os.environ.get("CHECK") == "1" and missed:
        print("missed: " + "; ".join(missed), file=sys.stderr)
        sys.exit(1)


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def table(title: str, rows: list[Row]) -> str:
    """The rows as text, columns aligned."""
    names = list(dict.fromkeys(name for row in rows for name in row.figures))
    lines = [["", *names, "aim", ""]]
    for row in rows:
        figures = [_number(row.figures[name]) if name in row.figures else "" for name in names]
        aim = "" if row.aim is None else f"{row.aim:g}"
        lines.append([row.what, *figures, aim, "" if row.met else "MISSED"])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([title, "", *text])
