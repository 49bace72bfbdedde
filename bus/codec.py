"""Messages to bytes and back: MessagePack for the bytes, the structs of the table for the types.

Publication: topic name, a zero byte, then `[VERSION, schema, sender, seq, time_ns, payload]`.
Request:     `[VERSION, schema, topic, sender, nonce, id, time_ns, deadline_ns, origin, payload]`.
Reply:       `[VERSION, nonce, ok, payload or [code, message, retry_after_s]]`.

`sender` is `name#instance`; the instance is new at every start, so that a restarted publisher, whose
sequence begins again, is not taken for an old one. Times are CLOCK_MONOTONIC, which all processes of
one machine share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgpack
import msgspec
from msgspec import Struct

from bus.errors import MalformedMessage
from bus.messages import Origin
from bus.topics import TOPICS, Topic
from contract.errors import STATUS_OF_CODE, ContractError
from contract.validate import convert

T = TypeVar("T", bound=Struct)

VERSION = 1
MAX_MESSAGE_BYTES = 262_144
"""The largest message on the bus is an SDP (under 64 KiB); pictures travel through the ring."""


@dataclass(frozen=True)
class Message(Generic[T]):
    """A publication as a subscriber gets it. `sent_ns` is the sender's CLOCK_MONOTONIC."""

    value: T
    sender: str
    seq: int
    sent_ns: int


@dataclass(frozen=True)
class Request(Generic[T]):
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


@dataclass(frozen=True)
class Reply:
    """An answer: a struct of the topic's reply type still as plain values, or an error."""

    nonce: int
    payload: Any
    error: ContractError | None


def prefix(topic: Topic[Any]) -> bytes:
    """What a subscription to the topic matches; no other topic's name can begin with it."""
    return topic.name.encode() + b"\0"


def encode_publication(topic: Topic[T], value: T, sender: str, seq: int, now_ns: int) -> bytes:
    return prefix(topic) + _pack([VERSION, topic.schema, sender, seq, now_ns, msgspec.to_builtins(value)])


def decode_publication(topic: Topic[T], raw: bytes) -> Message[T]:
    """Raises:
    MalformedMessage: not a publication of `topic` in this version.
    """
    start = prefix(topic)
    if not raw.startswith(start):
        raise MalformedMessage(f"not a publication of {topic.name}")
    sender, seq, sent_ns, payload = _envelope(_unpack(raw[len(start) :]), topic, 4)
    if not (isinstance(sender, str) and isinstance(seq, int) and isinstance(sent_ns, int)):
        raise MalformedMessage("the envelope's fields are of the wrong type")
    return Message(_convert(topic.payload, payload), sender, seq, sent_ns)


def encode_request(request: Request[T]) -> bytes:
    return _pack(
        [
            VERSION,
            request.topic.schema,
            request.topic.name,
            request.sender,
            request.nonce,
            request.id,
            request.sent_ns,
            request.deadline_ns,
            msgspec.to_builtins(request.origin),
            msgspec.to_builtins(request.body),
        ]
    )


def request_header(raw: bytes) -> tuple[Topic[Any], int, list[Any]]:
    """The topic and nonce of a request, before its body is looked at, so that a bad body can still be answered.

    Raises:
        MalformedMessage: no request of this version.
    """
    fields = _unpack(raw)
    if not isinstance(fields, list) or len(fields) != 10 or fields[0] != VERSION:
        raise MalformedMessage("not a request of this version")
    topic = TOPICS.get(fields[2]) if isinstance(fields[2], str) else None
    if topic is None or fields[1] != topic.schema:
        raise MalformedMessage("no such topic, or another version of its type")
    if not isinstance(fields[4], int):
        raise MalformedMessage("a request's nonce is a whole number")
    return topic, fields[4], fields


def decode_request(topic: Topic[Any], fields: list[Any]) -> Request[Any]:
    """The rest of a request whose header was read.

    Raises:
        MalformedMessage: the envelope is broken.
        ContractError: the body is not what the topic takes.
    """
    _, _, _, sender, nonce, id_, sent_ns, deadline_ns, origin, payload = fields
    if not (isinstance(sender, str) and isinstance(sent_ns, int) and isinstance(deadline_ns, int)):
        raise MalformedMessage("the envelope's fields are of the wrong type")
    if not (id_ is None or isinstance(id_, str)):
        raise MalformedMessage("a request's id is text")
    who = None if origin is None else _convert(Origin, origin)
    return Request(topic, convert(topic.payload, payload), sender, nonce, id_, sent_ns, deadline_ns, who)


def encode_reply(nonce: int, outcome: Struct | ContractError) -> bytes:
    if isinstance(outcome, ContractError):
        return _pack([VERSION, nonce, False, [outcome.code, outcome.message, outcome.retry_after_s]])
    return _pack([VERSION, nonce, True, msgspec.to_builtins(outcome)])


def decode_reply(raw: bytes) -> Reply:
    """Raises:
    MalformedMessage: not a reply of this version.
    """
    fields = _unpack(raw)
    if not isinstance(fields, list) or len(fields) != 4 or fields[0] != VERSION or not isinstance(fields[1], int):
        raise MalformedMessage("not a reply of this version")
    _, nonce, ok, payload = fields
    if ok is True:
        return Reply(nonce, payload, None)
    if not isinstance(payload, list) or len(payload) != 3 or payload[0] not in STATUS_OF_CODE:
        raise MalformedMessage("not an error this version knows")
    code, message, retry_after_s = payload
    return Reply(nonce, None, ContractError(code, str(message), retry_after_s=retry_after_s))


def _envelope(fields: Any, topic: Topic[Any], count: int) -> list[Any]:
    if not isinstance(fields, list) or len(fields) != count + 2:
        raise MalformedMessage("not an envelope")
    if fields[0] != VERSION or fields[1] != topic.schema:
        raise MalformedMessage(f"{topic.name} in another version")
    return fields[2:]


def _convert(type_: type[Any], payload: Any) -> Any:
    try:
        return convert(type_, payload)
    except ContractError as error:
        raise MalformedMessage(error.message) from error


def _pack(value: Any) -> bytes:
    raw: bytes = msgpack.packb(value)
    if len(raw) > MAX_MESSAGE_BYTES:
        raise ContractError("MESSAGE_TOO_LARGE", f"A bus message may hold {MAX_MESSAGE_BYTES} bytes, not {len(raw)}.")
    return raw


def _unpack(raw: bytes) -> Any:
    if len(raw) > MAX_MESSAGE_BYTES:
        raise MalformedMessage(f"longer than {MAX_MESSAGE_BYTES} bytes")
    try:
        return msgpack.unpackb(raw, strict_map_key=False)
    except (ValueError, msgpack.UnpackException, RecursionError, TypeError) as error:
        raise MalformedMessage(f"not MessagePack: {error}") from error
