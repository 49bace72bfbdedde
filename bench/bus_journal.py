"""What a peer of a drill saw, written so that a kill -9 loses nothing: one fixed record per happening."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

RECORD = struct.Struct("<BBIQqq")


class Kind(IntEnum):
    """What a record tells, and what its number, time and extra are.

    BOUND: the bus's sockets are bound. HEARD: an event of `source`, process `pid`, with its number; extra: when it was
    sent. DEED, DEED_WITH_ID, STOPPED: a request of `pid` was carried out; extra: its deadline. ANSWERED,
    ANSWERED_WITH_ID, REFUSED: the end of a request of our own; extra: when it was asked. GAP: the loop did not turn;
    extra: for how long. AWOKE: SIGCONT.
    """

    BOUND = 1
    HEARD = 2
    DEED = 3
    DEED_WITH_ID = 4
    STOPPED = 5
    ANSWERED = 6
    ANSWERED_WITH_ID = 7
    REFUSED = 8
    GAP = 9
    AWOKE = 10


DEEDS = frozenset({Kind.DEED, Kind.DEED_WITH_ID, Kind.STOPPED})


@dataclass(frozen=True, slots=True)
class Record:
    """One happening; times are CLOCK_MONOTONIC in ns."""

    kind: Kind
    source: int
    pid: int
    number: int
    at_ns: int
    extra_ns: int


class Journal:
    """Appends records; each is in the kernel's hands when `note` returns."""

    def __init__(self, directory: Path, name: str) -> None:
        path = directory / f"{name}-{os.getpid()}"
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def note(
        self, kind: Kind, at_ns: int, *, source: int = 0, pid: int = 0, number: int = 0, extra_ns: int = 0
    ) -> None:
        os.write(self._fd, RECORD.pack(kind, source, pid, number, at_ns, extra_ns))


@dataclass(frozen=True)
class Seen:
    """The journal of one process."""

    name: str
    pid: int
    records: list[Record]

    def of(self, *kinds: Kind) -> Iterator[Record]:
        return (record for record in self.records if record.kind in kinds)


def read_all(directory: Path) -> list[Seen]:
    """The journals of all processes that wrote into `directory`, in the order of their starts."""
    seen = []
    for path in sorted(directory.iterdir(), key=lambda path: path.stat().st_ctime_ns):
        name, _, pid = path.name.rpartition("-")
        raw = path.read_bytes()
        whole = raw[: len(raw) // RECORD.size * RECORD.size]
        records = [Record(Kind(kind), *rest) for kind, *rest in RECORD.iter_unpack(whole)]
        seen.append(Seen(name, int(pid), records))
    return seen
