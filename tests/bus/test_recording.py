"""Recordings: written, read, cut off, broken."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.codec import MAX_MESSAGE_BYTES, Message, encode_publication, publication_decoder
from bus.messages import Beat, MotionState, Origin, RobotEvent
from bus.recording import MAX_LINE_BYTES, Record, Recording, RecordingError, Writer
from bus.topics import EVENTS, MOTION_BEAT, MOTION_STATE, Topic

EVENT = EVENTS["dispenser"]
TOPICS = (MOTION_STATE, MOTION_BEAT, EVENT)
START_NS = 5_000_000_000
DRIVING = MotionState(0.1, -0.3, 12.5, -3.0, False, Origin("lan", "s1", role="driver"))


def event(number: int) -> RobotEvent:
    return RobotEvent("treat", {"n": number, "name": "Grüße\n"}, str(number), "2026-01-01T00:00:00.000Z")


SAID: list[tuple[Topic[Any], Message[Any]]] = [
    (MOTION_STATE, Message(DRIVING, "motion#1", 1, START_NS - 10**9)),
    (MOTION_BEAT, Message(Beat(7), "motion#1", 1, START_NS + 50_000_000)),
    (EVENT, Message(event(1), "dispenser#2", 8, START_NS + 60_000_000)),
    (MOTION_BEAT, Message(Beat(7), "motion#1", 2, START_NS + 100_000_000)),
]


def written() -> bytes:
    writer = Writer(TOPICS, "2026-01-01T00:00:00.000Z", START_NS)
    return writer.header() + b"".join(writer.line(topic, message) for topic, message in SAID)


def read(raw: bytes, *wanted: str) -> list[Record]:
    return list(Recording(io.BytesIO(raw), (lambda name: name in wanted) if wanted else (lambda _: True)))


def with_header(**changes: Any) -> bytes:
    header, rest = written().split(b"\n", 1)
    return json.dumps(json.loads(header) | changes).encode() + b"\n" + rest


def with_line(number: int, raw: bytes) -> bytes:
    lines = written().splitlines()
    lines[number - 1] = raw
    return b"\n".join(lines) + b"\n"


def test_what_was_said_is_read_as_it_was_said() -> None:
    records = read(written())
    assert [(record.topic, Message(record.value, record.sender, record.seq, 0)) for record in records] == [
        (topic, Message(message.value, message.sender, message.seq, 0)) for topic, message in SAID
    ]
    assert [record.at_s for record in records] == [0.0, 0.05, 0.06, 0.1]


def test_time_never_goes_back_for_whoever_reads() -> None:
    writer = Writer(TOPICS, "", START_NS)
    later, sooner = (Message(Beat(7), "motion#1", seq, START_NS + at) for seq, at in ((1, 10**9), (2, 10**8)))
    raw = writer.header() + writer.line(MOTION_BEAT, later) + writer.line(MOTION_BEAT, sooner)
    assert [record.at_s for record in read(raw)] == [1.0, 1.0]


@given(st.integers(0, len(written())))
def test_a_recording_cut_off_anywhere_is_read_to_its_last_whole_line(length: int) -> None:
    raw = written()[:length]
    whole = raw.count(b"\n")
    if whole == 0:
        with pytest.raises(RecordingError, match="no whole line"):
            read(raw)
        return
    recording = Recording(io.BytesIO(raw))
    assert len(list(recording)) == whole - 1
    assert recording.cut_off == (not raw.endswith(b"\n"))


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        (b"{", "truncated"),
        (b"", "truncated"),
        (b"\xff\xfe", "malformed|invalid"),
        (b'{"t":-1,"topic":"motion/beat","sender":"m","seq":1,"value":{"pid":7}}', ">= 0"),
        (b'{"t":1e999,"topic":"motion/beat","sender":"m","seq":1,"value":{"pid":7}}', "range"),
        (b'{"t":1,"topic":"motion/beat","sender":"m","seq":1,"value":[7]}', "Expected `object`"),
        (
            b'{"t":1,"topic":"motion/beat","sender":"m","seq":1,"value":{"pid":"x"}}',
            "beat: `pid`: expected `int`",
        ),
        (b'{"t":1,"topic":"guard/beat","sender":"g","seq":1,"value":{"pid":7}}', "not among the topics of the header"),
        (b'{"t":0.01,"topic":"motion/beat","sender":"m","seq":1,"value":{"pid":7}}', "before that of the line above"),
    ],
)
def test_a_broken_line_is_named_and_what_stands_before_it_was_read(raw: bytes, complaint: str) -> None:
    records: list[Record] = []
    with pytest.raises(RecordingError, match=rf"(?i)line 4: .*{complaint}"):
        records.extend(Recording(io.BytesIO(with_line(4, raw))))
    assert len(records) == 2


@pytest.mark.parametrize("raw", [b"", b"\n", b"hello\n", b"{}\n", b"[]\n", b"\x00" * 100 + b"\n"])
def test_what_is_no_recording_is_refused_at_its_first_line(raw: bytes) -> None:
    with pytest.raises(RecordingError, match="line 1"):
        read(raw)


def test_another_format_and_another_version_are_refused() -> None:
    with pytest.raises(RecordingError, match="'rosbag' in version 1; accepted is 'wimz-bus-recording' in version 1"):
        read(with_header(format="rosbag"))
    with pytest.raises(RecordingError, match="in version 2; accepted is 'wimz-bus-recording' in version 1"):
        read(with_header(version=2))


def test_a_line_without_an_end_does_not_fill_the_memory() -> None:
    endless = io.BytesIO(b"x" * (MAX_LINE_BYTES + 10))
    with pytest.raises(RecordingError, match="longer than"):
        Recording(endless)
    assert endless.tell() == MAX_LINE_BYTES


def test_the_largest_message_of_the_bus_fits_into_a_line() -> None:
    worst = RobotEvent("x", {"text": "\x01" * (MAX_MESSAGE_BYTES - 200)}, "1", "")
    message = publication_decoder(EVENT)(encode_publication(EVENT, worst, "dispenser#1", 1, START_NS))
    writer = Writer(TOPICS, "", START_NS)
    assert read(writer.header() + writer.line(EVENT, message))[0].value == worst


@pytest.mark.parametrize(
    ("name", "recorded", "complaint"),
    [
        ("motion/dance", {"kind": "state", "schema": 1}, "motion/dance is no topic of this program"),
        ("guard/beat", {"kind": "state", "schema": 1}, "another version of its type, Beat"),
        ("guard/beat", {"kind": "event", "schema": 1}, "recorded as event, and is state here"),
        ("motion/motor", {"kind": "request", "schema": 1}, "motion/motor is a request, which cannot be recorded"),
    ],
)
def test_a_topic_that_is_another_one_here_is_refused_unless_it_is_left_out(
    name: str, recorded: dict[str, Any], complaint: str
) -> None:
    topics = json.loads(written().splitlines()[0])["topics"] | {name: recorded}
    raw = with_header(topics=topics)
    with pytest.raises(RecordingError, match=complaint):
        read(raw)
    assert [record.topic for record in read(raw, MOTION_BEAT.name)] == [MOTION_BEAT, MOTION_BEAT]
