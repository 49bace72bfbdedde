"""Valid messages of every topic, and what becomes of them in a hostile hand. Pure: randomness is passed in."""

from __future__ import annotations

import types
from collections.abc import Callable
from random import Random
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgpack
import msgspec
from msgspec import Struct

from bus import codec
from bus.codec import Request
from bus.errors import MalformedMessage
from bus.messages import Origin
from bus.topics import TOPICS, Kind, Topic
from contract.errors import STATUS_OF_CODE, ContractError
from contract.validate import convert

PUBLISHED: tuple[Topic[Any], ...] = tuple(t for t in TOPICS.values() if t.kind in (Kind.STATE, Kind.EVENT))
ASKED: tuple[Topic[Any], ...] = tuple(t for t in TOPICS.values() if t.kind in (Kind.REQUEST, Kind.STOP))
SENDER = "hostile#00000000"
DEADLINE_NS = 60 * 10**9
SAMPLE_ATTEMPTS = 200
OVERSIZED_SHARE = 0.003
"""Of the frames; each is a quarter of a megabyte."""

WEIRD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**64 - 1,
    -(2**63),
    2**53 + 1,
    float("nan"),
    float("inf"),
    float("-inf"),
    1e308,
    5e-324,
    "",
    "\x00",
    "x" * 5000,
    "\U0001f415",
    b"",
    b"\xff\x00" * 20,
    [],
    {},
    [[]],
    {"": None},
    {1: 2, None: 3},
    msgpack.ExtType(5, b"ext"),
    msgpack.Timestamp(2**33, 999_999_999),
)


def sample(type_: Any, random: Random) -> Any:
    """A random value of a type of the table, as plain values, mostly within its range.

    Raises:
        TypeError: the table has begun to use a kind of type that is not known here.
    """
    origin = get_origin(type_)
    if origin is Annotated:
        base, *metas = get_args(type_)
        return _within(sample(base, random), metas, random)
    if origin is Literal:
        return random.choice(get_args(type_))
    if origin in (Union, types.UnionType):
        return sample(random.choice(get_args(type_)), random)
    if origin in (list, set, frozenset):
        return [sample(get_args(type_)[0], random) for _ in range(random.randrange(3))]
    if origin is tuple:
        return [sample(part, random) for part in get_args(type_) if part is not Ellipsis]
    if origin is dict:
        key, value = get_args(type_)
        return {sample(key, random): sample(value, random) for _ in range(random.randrange(3))}
    if isinstance(type_, type) and issubclass(type_, Struct):
        hints = get_type_hints(type_, include_extras=True)
        return {field.encode_name: sample(hints[field.name], random) for field in msgspec.structs.fields(type_)}
    return _plain(type_, random)


def _plain(type_: Any, random: Random) -> Any:
    makers: dict[Any, Callable[[], Any]] = {
        type(None): lambda: None,
        bool: lambda: random.random() < 0.5,
        int: lambda: random.randrange(100),
        float: random.random,
        str: lambda: random.choice(("", "a", "idle", "treat", "motion/event", "2026-01-01T00:00:00.000Z")),
        bytes: lambda: b"bytes",
        Any: lambda: random.choice((None, 1, "text", {"a": [1.5]})),
    }
    if type_ not in makers:
        raise TypeError(f"no sample of {type_!r} is known")
    return makers[type_]()


def _within(value: Any, metas: list[Any], random: Random) -> Any:
    for meta in metas:
        if isinstance(value, str) and (meta.min_length or meta.pattern):
            return "a" * max(meta.min_length or 1, random.randrange(1, 8))
        if isinstance(value, int | float) and meta.ge is not None:
            high = meta.le if meta.le is not None else meta.ge + 1000
            return random.randint(meta.ge, high) if isinstance(value, int) else random.uniform(meta.ge, high)
    return value


def sample_of(type_: type[Struct], random: Random) -> Struct:
    """A valid random struct; those with rules of their own are tried for until they accept.

    Raises:
        TypeError: none was accepted.
    """
    for _ in range(SAMPLE_ATTEMPTS):
        try:
            return convert(type_, sample(type_, random))
        except ContractError:
            continue
    raise TypeError(f"{SAMPLE_ATTEMPTS} samples, and none is a valid {type_.__name__}")


def publication(topic: Topic[Any], random: Random, now_ns: int, seq: int, sender: str = SENDER) -> bytes:
    """A valid publication."""
    return codec.encode_publication(topic, sample_of(topic.payload, random), sender, seq, now_ns)


def request(topic: Topic[Any], random: Random, now_ns: int) -> bytes:
    """A valid request, with or without an id and an origin."""
    origin = random.choice((None, Origin("lan", "hostile"), Origin("cloud", "hostile", "somebody", "viewer")))
    id_ = random.choice((None, f"id-{random.randrange(10_000)}"))
    body = sample_of(topic.payload, random)
    nonce = random.randrange(2**32)
    return codec.encode_request(Request(topic, body, SENDER, nonce, id_, now_ns, now_ns + DEADLINE_NS, origin))


def reply(topic: Topic[Any], nonce: int, random: Random) -> bytes:
    """A valid reply, or a valid error."""
    if random.random() < 0.3:
        code = random.choice(tuple(STATUS_OF_CODE))
        return codec.encode_reply(nonce, ContractError(code, "no", retry_after_s=random.choice((None, 1.5))))
    return codec.encode_reply(nonce, sample_of(topic.reply, random))


def mutate(raw: bytes, random: Random) -> bytes:
    """A valid message, spoilt in one or several ways (it may by chance still be valid)."""
    if random.random() < OVERSIZED_SHARE:
        return raw + bytes(codec.MAX_MESSAGE_BYTES + random.randrange(2000))
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        raw = random.choice(MUTATIONS)(raw, random)
    return raw


def _flip_bits(raw: bytes, random: Random) -> bytes:
    spoilt = bytearray(raw)
    for _ in range(random.randint(1, 8)):
        if spoilt:
            spoilt[random.randrange(len(spoilt))] ^= 1 << random.randrange(8)
    return bytes(spoilt)


def _truncate(raw: bytes, random: Random) -> bytes:
    return raw[: random.randrange(len(raw) + 1)]


def _insert(raw: bytes, random: Random) -> bytes:
    at = random.randrange(len(raw) + 1)
    return raw[:at] + random.randbytes(random.randint(1, 32)) + raw[at:]


def _repeat(raw: bytes, random: Random) -> bytes:
    at = random.randrange(len(raw) + 1)
    return raw[:at] + raw[at : at + 16] * random.randint(2, 4) + raw[at:]


def _noise(raw: bytes, random: Random) -> bytes:
    return random.randbytes(random.choice((0, 1, 2, 7, 64, 300)))


def _swap_type(raw: bytes, random: Random) -> bytes:
    """Replace one node of the MessagePack tree by something strange, or have its keys twice."""
    name, packed = _split(raw)
    try:
        tree = msgpack.unpackb(packed, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException):
        return _flip_bits(raw, random)
    if random.random() < 0.1:
        return name + _nested(random.choice((40, 500, 5000)), random)
    return name + _pack_oddly(_replace(tree, random), random)


def _split(raw: bytes) -> tuple[bytes, bytes]:
    """The topic's name with its zero byte (of a publication) and the MessagePack after it."""
    name, zero, packed = raw.partition(b"\0")
    return (name + zero, packed) if zero and name.decode("ascii", "replace") in TOPICS else (b"", raw)


def _nested(depth: int, random: Random) -> bytes:
    opening = random.choice((b"\x91", b"\x81\xa1a"))
    return opening * depth + b"\xc0"


def _replace(tree: Any, random: Random) -> Any:
    if isinstance(tree, list) and tree and random.random() < 0.8:
        at = random.randrange(len(tree))
        return [*tree[:at], _replace(tree[at], random), *tree[at + 1 :]]
    if isinstance(tree, dict) and tree and random.random() < 0.8:
        key = random.choice(list(tree))
        return {**tree, key: _replace(tree[key], random)}
    return random.choice(WEIRD)


def _pack_oddly(tree: Any, random: Random) -> bytes:
    """Pack; some maps have a key twice, some a key that is no key."""
    if isinstance(tree, list) and len(tree) < 16:
        return bytes([0x90 | len(tree)]) + b"".join(_pack_oddly(item, random) for item in tree)
    if isinstance(tree, dict) and 0 < len(tree) < 7 and random.random() < 0.3:
        pairs = [msgpack.packb(key) + msgpack.packb(value) for key, value in tree.items()]
        pairs.append(pairs[0] if random.random() < 0.7 else b"\x91\x01\x02")
        return bytes([0x80 | len(pairs)]) + b"".join(pairs)
    raw: bytes = msgpack.packb(tree)
    return raw


Mutation = Callable[[bytes, Random], bytes]
MUTATIONS: tuple[Mutation, ...] = (
    _flip_bits,
    _truncate,
    _insert,
    _repeat,
    _noise,
    _swap_type,
    _swap_type,
    _swap_type,
    _swap_type,
)


def is_valid_request(raw: bytes) -> bool:
    """Whether a server would look at it as something to carry out."""
    try:
        codec.decode_request(*codec.request_envelope(raw))
    except (MalformedMessage, ContractError):
        return False
    return True
