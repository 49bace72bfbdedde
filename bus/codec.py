"""Messages to bytes and back: MessagePack for the bytes, the structs of the table for the types.

Publication: topic name, a zero byte, then `[VERSION, schema, sender, seq, time_ns, payload]`.
Request:     `[VERSION, schema, topic, sender, nonce, id, time_ns, deadline_ns, origin, payload]`.
Reply:       `[VERSION, nonce, ok, payload or [code, message, retry_after_s]]`.

`sender` is `name#instance`; the instance is new at every start, so that a restarted publisher, whose
sequence begins again, is not taken for an old one. Times are CLOCK_MONOTONIC, which all processes of
one machine share.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, Any, Generic, TypeVar

import msgpack
import msgspec
from msgspec import Meta, Raw, Struct

from bus.errors import MalformedMessage
from bus.messages import Origin
from bus.topics import TOPICS, Topic
from contract.errors import STATUS_OF_CODE, ContractError
from contract.units import Seconds
from contract.validate import convert, loose_fields, refuse_non_finite

T = TypeVar("T", bound=Struct)
P = TypeVar("P")

VERSION = 1
MAX_MESSAGE_BYTES = 262_144
"""The largest message on the bus is an SDP (under 64 KiB); pictures travel through the ring."""
MAX_COUNT = 2**53
"""Of a sequence, and of what is counted from it: no message brings a counter to where it cannot be told any more."""
MAX_ID_LENGTH = 1024
"""Of a request's id, which is the sender's own and what makes it unique among senders (`gateway`)."""


class Message(Struct, Generic[T], frozen=True):
    """A publication as a subscriber gets it. `sent_ns` is the sender's CLOCK_MONOTONIC."""

    value: T
    sender: str
    seq: int
    sent_ns: int


class Request(Struct, Generic[T], frozen=True):
    """A request as its server gets it.

    Attributes:
        nonce: joins the reply to the request; unique per sender.
        id: the asker's own name for the deed: a request with an id that was carried out is answered from memory.
        deadline_ns: CLOCK_MONOTONIC; the request is not carried out after that.
    """

    topic: Topic[T]
    body: T
    sender: str
    nonce: int
    id: str | None
    sent_ns: int
    deadline_ns: int
    origin: Origin | None


class Reply(Struct, frozen=True):
    """An answer: the topic's reply still as bytes for `decode_payload`, or an error."""

    nonce: int
    payload: Raw
    error: ContractError | None


class _Publication(Struct, Generic[P], array_like=True, frozen=True, forbid_unknown_fields=True):
    version: int
    schema: int
    sender: str
    seq: Annotated[int, Meta(ge=1, le=MAX_COUNT)]
    sent_ns: int
    payload: P


class RequestEnvelope(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A request before its body is looked at, so that a bad body can still be answered."""

    version: int
    schema: int
    topic: str
    sender: str
    nonce: int
    id: Annotated[str, Meta(max_length=MAX_ID_LENGTH)] | None
    sent_ns: int
    deadline_ns: int
    origin: Origin | None
    payload: Raw


class _ReplyEnvelope(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    version: int
    nonce: int
    ok: bool
    payload: Raw


_untyped_publication_decoder = msgspec.msgpack.Decoder(_Publication[Raw])
_request_decoder = msgspec.msgpack.Decoder(RequestEnvelope)
_reply_decoder = msgspec.msgpack.Decoder(_ReplyEnvelope)
_error_decoder = msgspec.msgpack.Decoder(tuple[str, str, Seconds | None])
_encoder = msgspec.msgpack.Encoder()
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def encode_publication(topic: Topic[T], value: T, sender: str, seq: int, now_ns: int) -> bytes:
    return topic.prefix + _pack((VERSION, topic.schema, sender, seq, now_ns, value))


@functools.cache
def publication_decoder(topic: Topic[T]) -> Callable[[bytes], Message[T]]:
    """How to read a topic's publications: a function that raises MalformedMessage for what is none in this version.

    Whatever can be looked up is looked up here, once: to read one takes 2 µs.
    """
    prefix, start, schema = topic.prefix, len(topic.prefix), topic.schema
    read = msgspec.msgpack.Decoder(_Publication[topic.payload]).decode  # type: ignore[name-defined]
    loose = loose_fields(topic.payload)

    def decode(raw: bytes) -> Message[T]:
        if not raw.startswith(prefix):
            raise MalformedMessage(f"not a publication of {topic.name}")
        body = raw[start:]
        _check_size(body)
        try:
            publication = read(body)
            value = publication.payload
            for name in loose:
                refuse_non_finite(getattr(value, name))
        except (*_UNREADABLE, ValueError):
            publication = _read_again(topic, body)
        if publication.version != VERSION or publication.schema != schema:
            raise MalformedMessage(f"{topic.name} in another version")
        return Message(publication.payload, publication.sender, publication.seq, publication.sent_ns)

    return decode


def _read_again(topic: Topic[T], body: bytes) -> _Publication[T]:
    """Say what is wrong with a publication that could not be read in one go: piece by piece, which has the words."""
    envelope = _decode(_untyped_publication_decoder, body)
    _check_version(envelope.version, envelope.schema, topic)
    try:
        value = decode_payload(topic.payload, envelope.payload)
    except ContractError as error:
        raise MalformedMessage(error.message) from error
    return _Publication(VERSION, topic.schema, envelope.sender, envelope.seq, envelope.sent_ns, value)


def encode_request(request: Request[T]) -> bytes:
    topic = request.topic
    return _pack(
        (
            VERSION,
            topic.schema,
            topic.name,
            request.sender,
            request.nonce,
            request.id,
            request.sent_ns,
            request.deadline_ns,
            request.origin,
            request.body,
        )
    )


def request_envelope(raw: bytes) -> tuple[Topic[Any], RequestEnvelope]:
    """The topic of a request, and the request with its body not yet looked at.

    Raises:
        MalformedMessage: no request of this version.
    """
    envelope = _decode(_request_decoder, raw)
    topic = TOPICS.get(envelope.topic)
    if topic is None:
        raise MalformedMessage("no such topic")
    _check_version(envelope.version, envelope.schema, topic)
    return topic, envelope


def decode_request(topic: Topic[T], envelope: RequestEnvelope) -> Request[T]:
    """The rest of a request whose envelope was read.

    Raises:
        ContractError: the body is not what the topic takes.
    """
    return Request(
        topic,
        decode_payload(topic.payload, envelope.payload),
        envelope.sender,
        envelope.nonce,
        envelope.id,
        envelope.sent_ns,
        envelope.deadline_ns,
        envelope.origin,
    )


def encode_reply(nonce: int, outcome: Struct | ContractError) -> bytes:
    if isinstance(outcome, ContractError):
        return _pack((VERSION, nonce, False, (outcome.code, outcome.message, outcome.retry_after_s)))
    return _pack((VERSION, nonce, True, outcome))


def decode_reply(raw: bytes) -> Reply:
    """Raises:
    MalformedMessage: not a reply of this version.
    """
    envelope = _decode(_reply_decoder, raw)
    if envelope.version != VERSION:
        raise MalformedMessage("a reply of another version")
    if envelope.ok:
        return Reply(envelope.nonce, envelope.payload, None)
    return Reply(envelope.nonce, envelope.payload, _decode_error(envelope.payload))


def decode_payload(type_: type[T], payload: Raw) -> T:
    """A message's struct. NaN and infinities are refused wherever they are.

    Raises:
        ContractError: INVALID_PARAMETER, naming the field and what is accepted.
    """
    decoder, loose = _payload_decoder(type_)
    try:
        value: T = decoder.decode(payload)
        for name in loose:
            refuse_non_finite(getattr(value, name))
    except (*_UNREADABLE, ValueError) as error:
        return _explained(type_, payload, error)
    return value


@functools.cache
def _payload_decoder(type_: type[Any]) -> tuple[msgspec.msgpack.Decoder[Any], tuple[str, ...]]:
    """How to read a type, and which of its fields may hold a number that is none."""
    return msgspec.msgpack.Decoder(type_), loose_fields(type_)


def _explained(type_: type[T], payload: Raw, error: Exception) -> T:
    """Say what is wrong with a payload. It is read a second time, by the slower way that has the words."""
    try:
        return convert(type_, _unpack(bytes(payload)))
    except MalformedMessage as malformed:
        raise ContractError("INVALID_PARAMETER", f"The message cannot be read: {malformed}.") from error


def _decode_error(payload: Raw) -> ContractError:
    try:
        code, message, retry_after_s = _error_decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedMessage(f"not an error: {error}") from error
    if code not in STATUS_OF_CODE:
        raise MalformedMessage("not an error this version knows")
    return ContractError(code, message, retry_after_s=retry_after_s)


def _decode(decoder: msgspec.msgpack.Decoder[T], raw: bytes) -> T:
    """An envelope."""
    _check_size(raw)
    try:
        return decoder.decode(raw)
    except _UNREADABLE as error:
        raise MalformedMessage(f"not an envelope: {error}") from error


def _check_size(raw: bytes) -> None:
    if len(raw) > MAX_MESSAGE_BYTES:
        raise MalformedMessage(f"longer than {MAX_MESSAGE_BYTES} bytes")


def _check_version(version: int, schema: int, topic: Topic[Any]) -> None:
    if version != VERSION or schema != topic.schema:
        raise MalformedMessage(f"{topic.name} in another version")


def _pack(value: tuple[Any, ...]) -> bytes:
    try:
        raw = _encoder.encode(value)
    except (OverflowError, TypeError, ValueError, RecursionError) as error:
        raise ContractError("INVALID_PARAMETER", f"The message holds what cannot be sent: {error}.") from error
    if len(raw) > MAX_MESSAGE_BYTES:
        raise ContractError("MESSAGE_TOO_LARGE", f"A bus message may hold {MAX_MESSAGE_BYTES} bytes, not {len(raw)}.")
    return raw


def _unpack(raw: bytes) -> Any:
    _check_size(raw)
    try:
        return msgpack.unpackb(raw, strict_map_key=False, ext_hook=msgspec.msgpack.Ext)
    except (ValueError, msgpack.UnpackException, RecursionError, TypeError) as error:
        raise MalformedMessage(f"not MessagePack: {error}") from error
