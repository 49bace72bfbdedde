"""The framing, against `websockets`' Sans-I/O protocol and cut into pieces at random."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from relay import wire
from relay.wire import BINARY, CLOSE, PING, PONG, TEXT, FrameReader

CAP = 300
FRAMES = 400


@dataclass
class Seen:
    """What a reader made of the bytes."""

    events: list[tuple[int, bytes]] = field(default_factory=list)
    failure: int | None = None


def ours(chunks: list[bytes]) -> Seen:
    reader, seen = FrameReader(CAP), Seen()
    for chunk in chunks:
        seen.events += reader.receive(chunk)
    seen.failure = reader.failure[0] if reader.failure else None
    return seen


def theirs(chunks: list[bytes]) -> Seen:
    """The library's view; it leaves UTF-8 and putting fragments together to whoever uses it."""
    protocol, seen = ServerProtocol(state=OPEN, max_size=CAP), Seen()
    parts: list[bytes] = []
    kind = 0
    for chunk in chunks:
        protocol.receive_data(chunk)
        for event in protocol.events_received():
            assert isinstance(event, Frame)
            if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                kind = int(event.opcode) or kind
                parts.append(bytes(event.data))
                if not event.fin:
                    continue
                whole, parts = b"".join(parts), []
                if kind == TEXT and not _is_utf8(whole):
                    seen.failure = 1007
                    return seen
                seen.events.append((kind, whole))
            else:
                seen.events.append((int(event.opcode), bytes(event.data)))
        if protocol.parser_exc is not None and seen.failure is None:
            sent = protocol.close_sent
            assert sent is not None
            answered = protocol.close_rcvd is not None
            seen.failure = None if answered else sent.code
    return seen


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """A client's frame: mostly in order, sometimes not."""
    opcode = draw(st.sampled_from([0, 0, 1, 1, 1, 2, 8, 9, 10, 3, 15]))
    fin = draw(st.sampled_from([True, True, False]))
    payload = draw(st.one_of(st.binary(max_size=140), st.text(max_size=60).map(str.encode), st.just(b"x" * 290)))
    if opcode == 8 and draw(st.booleans()):
        payload = draw(st.sampled_from([1000, 1001, 1005, 1012, 3000, 4999, 5000])).to_bytes(2, "big") + payload[:50]
    rsv = draw(st.sampled_from([0] * 12 + [1, 2, 4]))
    size = len(payload)
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    masked = draw(st.sampled_from([True] * 15 + [False]))
    bit = 0x80 if masked else 0
    head += bytes([bit | size]) if size < 126 else bytes([bit | 126]) + size.to_bytes(2, "big")
    if not masked:
        return head + payload
    mask = draw(st.binary(min_size=4, max_size=4))
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    marks = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(marks)]


@given(parts=st.lists(frames(), max_size=8), cuts=st.lists(st.integers(0, 2000), max_size=12))
@settings(max_examples=FRAMES)
def test_both_read_the_same_from_the_same_bytes(parts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(parts)
    mine, other = ours(pieces(data, cuts)), theirs(pieces(data, cuts))
    if mine.failure == 1007 and other.failure in (None, 1002, 1009):
        # Ours refuses text at its first wrong byte, the other only once it is whole: nothing else may differ.
        assert mine.events == other.events[: len(mine.events)]
        return
    more = mine.events[len(other.events) :]
    if other.failure == 1009 and more and more[0][0] in (CLOSE, PING, PONG):
        # To the library a control frame between two parts of a message counts towards the message's size.
        assert mine.events[: len(other.events)] == other.events
        return
    if mine.failure is None and other.failure in (None, 1002) and [opcode for opcode, _ in more] == [CLOSE]:
        # The other refuses a close within a fragmented message, which the RFC allows (5.4: control frames between).
        assert mine.events[:-1] == other.events
        return
    assert mine.events == other.events
    assert (mine.failure is None) == (other.failure is None)
    # They may differ in the code where a frame breaks two rules at once.
    assert mine.failure == other.failure or {mine.failure, other.failure} <= {1002, 1007, 1009}


@given(data=st.binary(max_size=600), cuts=st.lists(st.integers(0, 600), max_size=8))
@example(data=b"\x81\xfe\x00\x05abcdhello", cuts=[])
@settings(max_examples=FRAMES)
def test_noise_is_read_or_refused_and_the_cuts_do_not_matter(data: bytes, cuts: list[int]) -> None:
    whole, cut = ours([data]), ours(pieces(data, cuts))
    assert whole == cut


@given(data=st.binary(max_size=70_000), opcode=st.sampled_from([TEXT, BINARY]))
@settings(max_examples=50)
def test_what_is_written_can_be_read(data: bytes, opcode: int) -> None:
    client = ClientProtocol(parse_uri("ws://x/"), state=OPEN)
    client.receive_data(wire.text_frame(data) if opcode == TEXT else wire.frame(opcode, data))
    (event,) = client.events_received()
    assert isinstance(event, Frame)
    assert (event.opcode, bytes(event.data), event.fin) == (opcode, data, True)


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (4003, "ü" * 100), (1012, "the relay restarts")])
def test_a_close_frame_holds_code_and_as_much_of_the_reason_as_fits(code: int, reason: str) -> None:
    written = wire.close_frame(code, reason)
    assert written[0] == 0x80 | CLOSE
    assert written[1] == len(written) - 2 <= 125
    assert wire.close_code(written[2:]) == code
    assert reason.startswith(written[4:].decode())


def test_little_is_kept_of_a_message_that_never_ends() -> None:
    reader = FrameReader(CAP)
    assert reader.receive(b"\x01\x80abcd" + b"\x00\x80abcd" * 10_000) == []
    assert reader.receive(b"\x80\x80abcd") == [(TEXT, b"")]
    assert reader.failure is None


def test_a_length_that_is_not_in_its_shortest_form_is_refused() -> None:
    assert ours([b"\x81\xfe\x00\x05\x00\x00\x00\x00hello"]).failure == 1002
