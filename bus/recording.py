"""What was said on the bus, as a file: `wimz bus record` writes it, `wimz bus replay` and tests read it.

JSON, one line each. The first is the header, every other a message:

    {"format":"wimz-bus-recording","version":1,"started":"2026-03-01T12:00:00.000Z","contract":"1.1","bus":1,
     "topics":{"motion/beat":{"kind":"state","schema":123456}}}
    {"t":0.05,"topic":"motion/beat","sender":"motion#1a2b3c4d","seq":7,"value":{"pid":4711}}

`t` is the time of sending in seconds since the start, by CLOCK_MONOTONIC, and never less than the line before. A
STATE's value from before the start has 0. A last line without its end was cut off, and is not read.

Pure: bytes in, bytes out; whoever uses it opens the files.

    with path.open("rb") as stream:
        for record in Recording(stream):
            engine.on_detection(record.value, now=record.at_s)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, BinaryIO

import msgspec
from msgspec import Meta, Struct

from bus import codec
from bus.codec import MAX_MESSAGE_BYTES, Message
from bus.errors import BusError
from bus.topics import TOPICS, Kind, Topic
from contract.errors import ContractError
from contract.jsonschema import CONTRACT_VERSION
from contract.validate import convert

FORMAT = "wimz-bus-recording"
VERSION = 1
RECORDED_KINDS = (Kind.STATE, Kind.EVENT)

MAX_LINE_BYTES = 8 * MAX_MESSAGE_BYTES
"""JSON takes up to six bytes for one of MessagePack's (`\\u0001`); whatever is longer is no recording."""


class RecordingError(BusError):
    """A file is no recording, or not one of this program; the message names the line."""


class RecordedTopic(Struct, frozen=True):
    """A topic that was listened to. `schema` as in `bus.topics.Topic`."""

    kind: str
    schema: int


class Header(Struct, frozen=True):
    """The first line.

    Attributes:
        started: wall clock, UTC, for people.
        contract, bus: the versions that the messages were made with.
    """

    format: str
    version: int
    started: str
    contract: str
    bus: int
    topics: dict[str, RecordedTopic]


class _Line(Struct, frozen=True):
    t: Annotated[float, Meta(ge=0)]
    topic: str
    sender: str
    seq: int
    value: dict[str, Any]


@dataclass(frozen=True)
class Record:
    """One message of a recording; `at_s` is in seconds since its start."""

    at_s: float
    topic: Topic[Any]
    sender: str
    seq: int
    value: Any


class Writer:
    """Turns messages into lines.

    Args:
        topics: those that are listened to.
        started: wall clock, for people.
        start_ns: CLOCK_MONOTONIC of the start.
    """

    def __init__(self, topics: Iterable[Topic[Any]], started: str, start_ns: int) -> None:
        recorded = {topic.name: RecordedTopic(topic.kind.value, topic.schema) for topic in topics}
        self._header = Header(FORMAT, VERSION, started, CONTRACT_VERSION, codec.VERSION, recorded)
        self._start_ns = start_ns
        self._at_s = 0.0

    def header(self) -> bytes:
        return msgspec.json.encode(self._header) + b"\n"

    def line(self, topic: Topic[Any], message: Message[Any]) -> bytes:
        self._at_s = max(self._at_s, (message.sent_ns - self._start_ns) / 1e9)
        value = msgspec.to_builtins(message.value)
        return msgspec.json.encode(_Line(self._at_s, topic.name, message.sender, message.seq, value)) + b"\n"


class Recording:
    """Reads a recording, line by line, once.

    Args:
        stream: open for reading bytes, at its beginning.
        wanted: chooses topics by name; the others are neither checked nor handed out.

    Attributes:
        header: the first line.
        cut_off: a last line without an end was passed over; known at the end.

    Raises:
        RecordingError: no recording; or a wanted topic is none of this program, or has another schema here.
    """

    def __init__(self, stream: BinaryIO, wanted: Callable[[str], bool] = lambda _: True) -> None:
        self.cut_off = False
        self._stream = stream
        self._wanted = wanted
        self._number = 0
        self._at_s = 0.0
        first = self._next_line()
        if first is None:
            raise RecordingError("line 1: there is no whole line; a recording begins with its header.")
        self.header = _header(first)
        for name, recorded in self.header.topics.items():
            if wanted(name):
                _check_topic(name, recorded)

    def __iter__(self) -> Iterator[Record]:
        """Raises:
        RecordingError: a line is not as it has to be.
        """
        while (raw := self._next_line()) is not None:
            line = self._decode(raw)
            if line.topic not in self.header.topics:
                raise self._error(f"{line.topic} is not among the topics of the header")
            if line.t < self._at_s:
                raise self._error(f"its time {line.t:g} s is before that of the line above, {self._at_s:g} s")
            self._at_s = line.t
            if self._wanted(line.topic):
                topic = TOPICS[line.topic]
                yield Record(line.t, topic, line.sender, line.seq, self._value(topic, line))

    def _next_line(self) -> bytes | None:
        raw = self._stream.readline(MAX_LINE_BYTES)
        self._number += 1
        if raw.endswith(b"\n"):
            return raw
        if len(raw) >= MAX_LINE_BYTES:
            raise self._error(f"longer than {MAX_LINE_BYTES} bytes")
        self.cut_off = bool(raw)
        return None

    def _decode(self, raw: bytes) -> _Line:
        try:
            return msgspec.json.decode(raw, type=_Line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._error(str(error).rstrip(".")) from error

    def _value(self, topic: Topic[Any], line: _Line) -> Any:
        try:
            return convert(topic.payload, line.value)
        except ContractError as error:
            raise self._error(f"{topic.name}: {error.message.rstrip('.')}") from error

    def _error(self, what: str) -> RecordingError:
        return RecordingError(f"line {self._number}: {what}.")


def _header(raw: bytes) -> Header:
    try:
        header = msgspec.json.decode(raw, type=Header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordingError(f"line 1: not the header of a recording: {error}.") from error
    if header.format != FORMAT or header.version != VERSION:
        raise RecordingError(
            f"line 1: {header.format!r} in version {header.version}; accepted is {FORMAT!r} in version {VERSION}."
        )
    return header


def _check_topic(name: str, recorded: RecordedTopic) -> None:
    topic = TOPICS.get(name)
    if topic is None:
        raise RecordingError(f"line 1: {name} is no topic of this program.")
    if topic.kind not in RECORDED_KINDS:
        raise RecordingError(f"line 1: {name} is a {topic.kind.value}, which cannot be recorded.")
    if topic.kind.value != recorded.kind:
        raise RecordingError(f"line 1: {name} was recorded as {recorded.kind}, and is {topic.kind.value} here.")
    if topic.schema != recorded.schema:
        raise RecordingError(
            f"line 1: {name} was recorded with another version of its type, {topic.payload.__name__}; "
            "record it again with this program, or leave the topic out."
        )
