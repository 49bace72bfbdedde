"""`wimz bus record`."""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bus.recording import Writer
from bus.topics import Topic
from cli.bus import choice, show
from cli.bus.place import run_dir
from cli.bus.stopping import POLL_S, ctrl_c
from cli.bus.tap import Heard, Tap
from cli.errors import CommandError


class RecordingFile:
    """A new file of at most `max_bytes`, which only this user may read: it holds pairing codes and addresses.

    Every write goes to the kernel at once, so that a kill -9 costs at most the line it cuts.

    Raises:
        CommandError: it is there already, or cannot be made.
    """

    def __init__(self, path: Path, writer: Writer, max_bytes: int) -> None:
        self.messages: Counter[str] = Counter()
        self.size = 0
        self.full = False
        self._path = path
        self._writer = writer
        self._max_bytes = max_bytes
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError as error:
            raise CommandError(f"{path} is there already: name another file, or remove it.") from error
        except OSError as error:
            raise CommandError(f"cannot make {path}: {error.strerror}.") from error
        self._write(writer.header())

    def add(self, heard: Sequence[Heard]) -> None:
        """Write messages in the order of their sending, until the file is full.

        Raises:
            CommandError: the file cannot be written; it can be read as far as it goes.
        """
        lines = []
        size = self.size
        for one in sorted(heard, key=lambda one: one.message.sent_ns):
            line = self._writer.line(one.topic, one.message)
            if size + len(line) > self._max_bytes:
                self.full = True
                break
            size += len(line)
            self.messages[one.topic.name] += 1
            lines.append(line)
        self._write(b"".join(lines))

    def close(self) -> None:
        os.close(self._fd)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            raise CommandError(f"cannot write {self._path}: {error.strerror}. What it holds can be read.") from error
        self.size += len(data)


def record(arguments: argparse.Namespace) -> int:
    """Write down what is said, until Ctrl-C, `--seconds` or `--max-mb`."""
    topics = choice.heard_topics(arguments.topics or ["*"])
    run = run_dir(arguments.data)
    started = show.utc(datetime.now(UTC))
    start_ns = time.monotonic_ns()
    with ctrl_c() as stopping:
        file = RecordingFile(arguments.file, Writer(topics, started, start_ns), int(arguments.max_mb * 1e6))
        try:
            with Tap(run, topics) as tap:
                show.note(f"recording {show.count(len(topics), 'topic')} into {arguments.file}. Ctrl-C ends it.")
                end_s = float("inf") if arguments.seconds is None else start_ns / 1e9 + arguments.seconds
                while not stopping.is_set() and not file.full and time.monotonic() < end_s:
                    file.add(tap.take_all(min(POLL_S, end_s - time.monotonic())))
                if not file.full:
                    file.add(tap.take_all(0))
        finally:
            file.close()
    _summary(arguments, topics, file, tap, (time.monotonic_ns() - start_ns) / 1e9)
    return 0


def _summary(
    arguments: argparse.Namespace, topics: Sequence[Topic[Any]], file: RecordingFile, tap: Tap, seconds: float
) -> None:
    missed = tap.missed.total()
    if arguments.json:
        facts = {
            "file": str(arguments.file),
            "seconds": round(seconds, 3),
            "bytes": file.size,
            "full": file.full,
            "missed": missed,
            "unreadable": tap.unreadable,
            "messages": file.messages,
        }
        show.say(show.json_line(facts))
        return
    for topic in topics:
        if file.messages[topic.name]:
            show.say(f"{file.messages[topic.name]:>9}  {topic.name}")
    show.say(
        f"{show.count(file.messages.total(), 'message')} in {seconds:.1f} s, {file.size / 1e6:.2f} MB, {missed} missed"
        + (f", {tap.unreadable} unreadable" if tap.unreadable else "")
        + (f": ended at --max-mb {arguments.max_mb:g}" if file.full else "")
    )
