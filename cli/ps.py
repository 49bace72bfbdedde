"""`wimz ps`: the robot's processes, as monitor, supervisord and the bus know them."""

from __future__ import annotations

import argparse
import os
import queue
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from bus import settings
from bus.messages import Health, Heartbeat, ProcessHealth
from bus.topics import HEALTH, HEARTBEATS, PROCESSES
from bus.zeromq import ZmqBus
from cli.errors import CommandError
from processes.monitor.driver import Supervisord
from processes.monitor.logic import Program, Usage
from processes.monitor.machine import UsageMeter

ANSWER_WITHIN_S = 1.5
"""Monitor speaks every second, everybody twice a second; who joins hears the last word at once."""
WATCH_S = 1.0
HEADINGS = ("PROCESS", "STATE", "PID", "UPTIME", "RESTARTS", "CPU %", "RSS MB", "OWN MB", "LAG ms", "LAST ERROR")
TEXT_COLUMNS = (0, 1, 9)
TROUBLE = ("hung", "held", "silent", "backoff", "fatal")
"""States that catch the eye."""
CLEAR = "\x1b[H\x1b[J"


@dataclass(frozen=True)
class Report:
    """The processes, and who is missing among those who know about them."""

    processes: list[ProcessHealth]
    notes: list[str]


class Listener:
    """Listens to monitor and to everybody's heartbeats.

    Args:
        data: the robot's data directory, as the user wrote it.
    """

    def __init__(self, data: Path) -> None:
        run_dir = settings.run_dir((settings.ROOT / data).resolve())
        if not run_dir.is_dir():
            raise CommandError(_no_robot(data))
        self._data = data
        self._socket = run_dir / "supervisor.sock"
        self._meter = UsageMeter()
        self._beats: dict[str, tuple[float, Heartbeat]] = {}
        self._health: tuple[float, Health] | None = None
        self._news: queue.Queue[None] = queue.Queue()
        self._bus = ZmqBus(f"ps-{os.getpid()}", run_dir)
        self._bus.subscribe(HEALTH, lambda message: self._heard_health(message.sent_ns / 1e9, message.value))
        for name in PROCESSES:
            self._bus.subscribe(
                HEARTBEATS[name],
                lambda message, name=name: self._heard(name, message.sent_ns / 1e9, message.value),  # type: ignore[misc]
            )
        self._bus.start()

    def close(self) -> None:
        self._bus.stop()

    def report(self) -> Report:
        """What is known now.

        Raises:
            CommandError: nothing is: no robot runs.
        """
        programs = self._programs()
        self._wait_for_health()
        now = time.monotonic()
        if self._health is not None and now - self._health[0] <= HEALTH.max_age_s:
            processes, notes = self._health[1].processes, []
        else:
            beats = {name: beat for name, (at, beat) in self._beats.items() if now - at <= HEARTBEATS[name].max_age_s}
            if programs is None and not beats:
                raise CommandError(_no_robot(self._data))
            pids = {name: program.pid for name, program in (programs or {}).items() if program.pid}
            pids |= {name: beat.pid for name, beat in beats.items() if name not in pids}
            processes = without_monitor(programs, beats, self._meter.read(pids))
            notes = ["monitor does not answer: restarts and errors are not known, and nothing that hangs is restarted."]
        if programs is None:
            notes.append("supervisord does not answer: nothing that ends is started again.")
        return Report(processes, notes)

    def _programs(self) -> dict[str, Program] | None:
        try:
            return Supervisord(self._socket).programs()
        except OSError:  # told to the user as a note
            return None

    def _wait_for_health(self) -> None:
        end = time.monotonic() + ANSWER_WITHIN_S
        while self._health is None:
            try:
                self._news.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                return

    def _heard_health(self, at: float, health: Health) -> None:
        first, self._health = self._health is None, (at, health)
        if first:
            self._news.put(None)

    def _heard(self, name: str, at: float, beat: Heartbeat) -> None:
        self._beats[name] = (at, beat)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `wimz ps`."""
    parser.add_argument(
        "--data", type=Path, default=Path("var"), help="the robot's data directory (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object, in KiB, seconds and ms")
    parser.add_argument("--watch", action="store_true", help="again every second, until Ctrl-C")


def run(arguments: argparse.Namespace) -> int:
    """Print the table, once or every second."""
    listener = Listener(arguments.data)
    try:
        while True:
            _print(listener.report(), json=arguments.json, again=arguments.watch)
            if not arguments.watch:
                return 0
            time.sleep(WATCH_S)
    finally:
        listener.close()


def _print(report: Report, *, json: bool, again: bool) -> None:
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else None
    text = as_json(report) if json else table(report, width)
    sys.stdout.write((CLEAR if again and terminal and not json else "") + text + "\n")
    sys.stdout.flush()


def without_monitor(
    programs: Mapping[str, Program] | None, beats: Mapping[str, Heartbeat], usages: Mapping[str, Usage]
) -> list[ProcessHealth]:
    """What can be known without monitor, from supervisord (None: it does not answer), heartbeats and /proc."""
    processes = []
    for name in PROCESSES:
        program, beat, usage = (programs or {}).get(name), beats.get(name), usages.get(name)
        state = program.state.lower() if program else ("running" if beat else "unknown")
        if state == "running" and beat is None:
            state = "silent"
        processes.append(
            ProcessHealth(
                name,
                alive=beat is not None,
                pid=(program.pid if program else 0) or (beat.pid if beat else None),
                uptime_s=beat.uptime_s if beat else None,
                loop_lag_ms=beat.loop_lag_ms if beat else None,
                state=state,
                rss_kib=usage.rss_kib if usage else None,
                own_kib=usage.own_kib if usage else None,
            )
        )
    return processes


def as_json(report: Report) -> str:
    """One line."""
    return msgspec.json.encode(report).decode()


def table(report: Report, width: int | None = None) -> str:
    """Aligned columns, and below them what is missing.

    Args:
        width: of the terminal: longer lines are cut. None: no limit.
    """
    lines: list[Sequence[str]] = [HEADINGS, *(_cells(process) for process in report.processes)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    rows = [
        "  ".join(
            cell.ljust(width) if column in TEXT_COLUMNS else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([*(_cut(row, width) for row in rows), *report.notes])


def _cells(process: ProcessHealth) -> list[str]:
    state = process.state.upper() if process.state in TROUBLE else process.state
    if process.held_for_s is not None:
        state += f" {process.held_for_s:.0f} s"
    return [
        process.name,
        state,
        _shown(process.pid),
        uptime(process.uptime_s),
        str(process.restarts),
        _shown(process.cpu_pct, ".1f"),
        _megabytes(process.rss_kib),
        _megabytes(process.own_kib),
        _shown(process.loop_lag_ms, ".1f"),
        process.last_error or "",
    ]


def _cut(line: str, width: int | None) -> str:
    return line if width is None or len(line) <= width else line[: width - 1] + "…"


def uptime(seconds: float | None) -> str:
    """`12 s`, `3 min 20 s`, `2 h 05 min`, `4 d 07 h`; `-` when it is not known."""
    if seconds is None:
        return "-"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600:02} h"


def _shown(value: Any, form: str = "") -> str:
    return "-" if value is None else format(value, form)


def _megabytes(kibibytes: int | None) -> str:
    return "-" if kibibytes is None else f"{kibibytes * 1024 / 1e6:.0f}"


def _no_robot(data: Path) -> str:
    return f"no robot runs with {data}. Start one with `wimz demo` or `wimz robot`, or name its --data directory."
