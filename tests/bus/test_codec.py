"""Bytes and back; and whatever else comes is refused without harm."""

from __future__ import annotations

import math
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import codec, topics
from bus.codec import Request
from bus.errors import MalformedMessage
from bus.messages import Beat, Origin, RobotEvent, SignalOut
from contract import commands
from contract.errors import ContractError

MOTOR = topics.COMMAND_TOPICS["motor"]


def a_request(body: Any = None, origin: Origin | None = None) -> bytes:
    return codec.encode_request(
        Request(MOTOR, body or commands.Motor(0.5, -0.5), "local_api#1", 9, "id-1", 100, 200, origin)
    )


def test_a_publication_comes_back_as_it_was() -> None:
    raw = codec.encode_publication(topics.MOTION_BEAT, Beat(12), "motion#ab", 3, 42)
    message = codec.publication_decoder(topics.MOTION_BEAT)(raw)
    assert (message.value, message.sender, message.seq, message.sent_ns) == (Beat(12), "motion#ab", 3, 42)


def test_a_request_comes_back_as_it_was() -> None:
    origin = Origin("cloud", "s1", "u1", "driver")
    topic, envelope = codec.request_envelope(a_request(origin=origin))
    request = codec.decode_request(topic, envelope)
    assert (topic, request.nonce) == (MOTOR, 9)
    assert (request.body, request.id, request.deadline_ns, request.origin) == (
        commands.Motor(0.5, -0.5),
        "id-1",
        200,
        origin,
    )


def test_replies_and_errors_come_back_as_they_were() -> None:
    reply = codec.decode_reply(codec.encode_reply(4, commands.Dispensed(3, True)))
    assert (reply.nonce, reply.error) == (4, None)
    assert codec.decode_payload(commands.Dispensed, reply.payload) == commands.Dispensed(3, True)
    refused = codec.decode_reply(codec.encode_reply(5, ContractError("EMPTY", "No treats.", retry_after_s=2.0)))
    assert refused.error is not None
    assert (refused.error.code, refused.error.message, refused.error.retry_after_s) == ("EMPTY", "No treats.", 2.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1.5, "1", None, True])
def test_a_value_that_is_no_speed_is_refused(value: Any) -> None:
    fields = msgpack.unpackb(a_request())
    fields[-1] = {"left": value, "right": 0.0}
    topic, envelope = codec.request_envelope(msgpack.packb(fields))
    with pytest.raises(ContractError, match="INVALID_PARAMETER"):
        codec.decode_request(topic, envelope)


def test_another_version_of_a_type_is_refused() -> None:
    raw = codec.encode_publication(topics.MOTION_BEAT, Beat(12), "motion#ab", 3, 42)
    with pytest.raises(MalformedMessage):
        codec.publication_decoder(topics.GUARD_BEAT)(raw)
    fields = msgpack.unpackb(raw.partition(b"\0")[2])
    fields[1] ^= 1
    with pytest.raises(MalformedMessage, match="another version"):
        codec.publication_decoder(topics.MOTION_BEAT)(topics.MOTION_BEAT.prefix + msgpack.packb(fields))


def test_an_oversize_message_is_refused_before_it_is_sent_and_when_it_comes() -> None:
    frame = {"type": "webrtc_offer", "sdp": "x" * codec.MAX_MESSAGE_BYTES}
    with pytest.raises(ContractError, match="MESSAGE_TOO_LARGE"):
        codec.encode_publication(topics.SIGNAL_OUT, SignalOut(frame, Origin("lan", "s")), "webrtc#1", 1, 1)
    with pytest.raises(MalformedMessage, match="longer than"):
        codec.decode_reply(b"x" * (codec.MAX_MESSAGE_BYTES + 1))


@pytest.mark.parametrize(
    "nested",
    [msgpack.ExtType(5, b"ext"), {1: 2}, {None: 3}, [float("nan")]],
    ids=["extension", "number", "null", "nan"],
)
def test_what_json_has_not_is_in_no_loose_field(nested: Any) -> None:
    event = topics.EVENTS["motion"]
    raw = codec.encode_publication(event, RobotEvent("treat", {"x": 1}, "id", ""), "motion#1", 1, 1)
    fields = msgpack.unpackb(raw.partition(b"\0")[2])
    fields[-1]["data"] = {"x": nested}
    with pytest.raises(MalformedMessage):
        codec.publication_decoder(event)(event.prefix + msgpack.packb(fields))


def test_a_number_that_does_not_fit_is_refused_before_it_is_sent() -> None:
    event = topics.EVENTS["motion"]
    with pytest.raises(ContractError, match="cannot be sent"):
        codec.encode_publication(event, RobotEvent("treat", {"x": 2**70}, "id", ""), "motion#1", 1, 1)
    codec.encode_publication(event, RobotEvent("treat", {"x": 1}, "id", ""), "motion#1", 1, 1)


@pytest.mark.parametrize("seq", [0, -1, 2**53 + 1, 2**64 - 1])
def test_a_sequence_out_of_its_range_is_refused(seq: int) -> None:
    raw = codec.encode_publication(topics.MOTION_BEAT, Beat(12), "motion#ab", 3, 42)
    fields = msgpack.unpackb(raw.partition(b"\0")[2])
    fields[3] = seq
    with pytest.raises(MalformedMessage):
        codec.publication_decoder(topics.MOTION_BEAT)(topics.MOTION_BEAT.prefix + msgpack.packb(fields))


def _decode_all(raw: bytes) -> None:
    for decode in (
        codec.decode_reply,
        codec.request_envelope,
        lambda data: codec.publication_decoder(topics.MOTION_BEAT)(data),
        lambda data: codec.publication_decoder(topics.MOTION_BEAT)(topics.MOTION_BEAT.prefix + data),
    ):
        try:
            result = decode(raw)
        except MalformedMessage:
            continue
        if isinstance(result, tuple):
            try:
                codec.decode_request(*result)
            except ContractError:
                continue


@given(st.binary(max_size=400))
def test_random_bytes_are_refused_cleanly(raw: bytes) -> None:
    _decode_all(raw)


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=20,
)


@given(anything, st.integers(0, 9))
def test_any_value_in_any_place_is_refused_cleanly(value: Any, place: int) -> None:
    _decode_all(msgpack.packb(value))
    fields = msgpack.unpackb(a_request())
    fields[place] = value
    _decode_all(msgpack.packb(fields))


@given(st.integers(0, 200), st.integers(0, 255))
def test_a_flipped_byte_is_refused_or_read_but_never_crashes(place: int, byte: int) -> None:
    raw = bytearray(a_request(origin=Origin("lan", "s")))
    raw[place % len(raw)] = byte
    _decode_all(bytes(raw))
