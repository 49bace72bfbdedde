"""Every rule of RFC 6455 that a client can test, against the echo server: the relay's own layer as a real process.

In the order of Autobahn|Testsuite's cases: framing, pings, reserved bits, opcodes, fragments, UTF-8, closing, limits.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from bench import ws_echo
from contract.frames import MAX_FRAME_BYTES
from relay import wire

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = b"\x37\xfa\x21\x3d"
GREETING = "Hello-µ@ßöäüàá-UTF-8!!"
PATIENCE_S = 30.0
Frames = list[tuple[int, bytes]]


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    """A client's frame, as wrong as wanted."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    bit, size = 0x80 if masked else 0, len(payload)
    if size < 126:
        head = bytes((first, bit | size))
    elif size < 65_536:
        head = bytes((first, bit | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, bit | 127)) + size.to_bytes(8, "big")
    if not masked:
        return head + payload
    stretched = (MASK * (size // 4 + 1))[:size]
    body = (int.from_bytes(payload, "big") ^ int.from_bytes(stretched, "big")).to_bytes(size, "big")
    return head + MASK + body


def close(code: int | None = 1000, reason: bytes = b"") -> bytes:
    return frame(CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason)


def read_frames(raw: socket.socket) -> Frames:
    """What the server sends until it ends the connection: whole, unmasked frames without extensions."""
    received = b""
    while chunk := raw.recv(65_536):
        received += chunk
    frames = []
    while received:
        first, size = received[0], received[1]
        assert first & 0xF0 == 0x80, "in one part, and no reserved bits"
        assert size < 128, "a server does not mask"
        start = 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(received[2:start], "big")
        assert len(received) >= start + size, "no frame is cut off"
        frames.append((first & 0x0F, received[start : start + size]))
        received = received[start + size :]
    return frames


class Echo:
    """The server, and what tests say to it."""

    def __init__(self, port: int) -> None:
        self.port = port

    def connect(self) -> socket.socket:
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        lines = ["GET / HTTP/1.1", "Host: echo", "Upgrade: websocket", "Connection: Upgrade"]
        lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
        lines += ["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"]
        raw.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += raw.recv(1)
        assert answer.startswith(b"HTTP/1.1 101")
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer, "the RFC's own example (1.3)"
        assert b"extensions" not in answer.lower(), "compression is declined"
        return raw

    def say(self, *frames: bytes, chop: int = 0, farewell: bytes | None = None) -> Frames:
        """Send, then close (1000); returns all that comes until the server ends it."""
        data = b"".join(frames) + (close() if farewell is None else farewell)
        with self.connect() as raw:
            try:
                for start in range(0, len(data), chop or len(data)):
                    raw.sendall(data[start : start + (chop or len(data))])
            except (BrokenPipeError, ConnectionResetError):
                assert chop, "the server has ended it while we were still at it"
            return read_frames(raw)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    port = _free_port()
    process = subprocess.Popen(ws_echo.argv(port), start_new_session=True)
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
    yield Echo(port)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


BYE = (CLOSE, (1000).to_bytes(2, "big"))


def failed(frames: Frames, code: int, *before: tuple[int, bytes]) -> bool:
    """The server closes with this code, after these frames and nothing else."""
    return frames[:-1] == list(before) and frames[-1][0] == CLOSE and frames[-1][1][:2] == code.to_bytes(2, "big")


# -- 1: framing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 65_535, 65_536])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_messages_of_every_size_come_back(echo: Echo, opcode: int, size: int) -> None:
    payload = b"*" * size if opcode == TEXT else bytes(range(256)) * (size // 256) + bytes(range(size % 256))
    for chop in (0, 1 if size < 1000 else 997):
        assert echo.say(frame(opcode, payload), chop=chop) == [(opcode, payload), BYE]


# -- 2: pings and pongs ---------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [b"", b"Hello", bytes(range(0x80, 0xFD)), b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"])
def test_pings_are_answered_with_their_payload(echo: Echo, payload: bytes) -> None:
    for chop in (0, 1):
        assert echo.say(frame(PING, payload), chop=chop) == [(PONG, payload), BYE]


def test_ten_pings_get_ten_pongs_in_order(echo: Echo) -> None:
    pings = [b"payload-%d" % number for number in range(10)]
    for chop in (0, 1):
        said = echo.say(*(frame(PING, ping) for ping in pings), chop=chop)
        assert said == [*((PONG, ping) for ping in pings), BYE]


def test_pongs_that_nobody_asked_for_are_ignored(echo: Echo) -> None:
    said = echo.say(frame(PONG), frame(PONG, b"unsolicited"), frame(PING, b"ping"))
    assert said == [(PONG, b"ping"), BYE]


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_a_control_frame_has_125_bytes_at_most(echo: Echo, opcode: int) -> None:
    assert failed(echo.say(frame(opcode, b"\x03\xe8" + b"x" * 124)), 1002)


# -- 3: reserved bits -----------------------------------------------------------------------------


@pytest.mark.parametrize("rsv", range(1, 8))
@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
def test_reserved_bits_have_to_be_zero(echo: Echo, opcode: int, rsv: int) -> None:
    said = echo.say(frame(TEXT, b"before"), frame(opcode, rsv=rsv), frame(PING))
    assert failed(said, 1002, (TEXT, b"before"))


# -- 4: opcodes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("payload", [b"", b"reserved"])
def test_reserved_opcodes_are_refused(echo: Echo, opcode: int, payload: bytes) -> None:
    for chop in (0, 1):
        said = echo.say(frame(TEXT, b"before"), frame(opcode, payload), frame(PING), chop=chop)
        assert failed(said, 1002, (TEXT, b"before"))


def test_a_client_that_does_not_mask_is_refused(echo: Echo) -> None:
    assert failed(echo.say(frame(TEXT, b"bare", masked=False)), 1002)


@pytest.mark.parametrize(
    "head",
    [
        b"\x81\xfe\x00\x7d" + MASK + b"x" * 125,
        b"\x82\xff" + (65_535).to_bytes(8, "big") + MASK,
        b"\x82\xff" + b"\xff" * 8 + MASK,
    ],
)
def test_a_length_has_one_form_only(echo: Echo, head: bytes) -> None:
    assert failed(echo.say(head), 1002)


# -- 5: fragments ---------------------------------------------------------------------------------


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_control_frames_are_not_fragmented(echo: Echo, opcode: int) -> None:
    assert failed(echo.say(frame(opcode, b"part", fin=False), frame(CONT, b"rest")), 1002)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_fragments_are_put_together(echo: Echo, opcode: int) -> None:
    parts = [frame(opcode, b"frag1", fin=False), frame(CONT, b"", fin=False), frame(CONT, b"frag2")]
    for chop in (0, 1):
        assert echo.say(*parts, *parts, chop=chop) == [(opcode, b"frag1frag2"), (opcode, b"frag1frag2"), BYE]


def test_control_frames_come_between_fragments(echo: Echo) -> None:
    parts = [frame(TEXT, b"frag1", fin=False), frame(PING, b"now"), frame(CONT, b"frag2", fin=False)]
    parts += [frame(PONG, b"and"), frame(PING, b"then"), frame(CONT, b"frag3")]
    for chop in (0, 1):
        said = echo.say(*parts, chop=chop)
        assert said == [(PONG, b"now"), (PONG, b"then"), (TEXT, b"frag1frag2frag3"), BYE]


@pytest.mark.parametrize("fin", [True, False])
def test_what_has_not_begun_is_not_continued(echo: Echo, fin: bool) -> None:
    assert failed(echo.say(frame(CONT, b"lost", fin=fin), frame(TEXT, b"after")), 1002)
    whole = [frame(TEXT, b"one", fin=False), frame(CONT, b" two"), frame(CONT, b"three", fin=fin)]
    assert failed(echo.say(*whole), 1002, (TEXT, b"one two"))


@pytest.mark.parametrize("fin", [True, False])
def test_a_message_does_not_begin_within_another(echo: Echo, fin: bool) -> None:
    for opcode in (TEXT, BINARY):
        said = echo.say(frame(TEXT, b"one", fin=False), frame(opcode, b"other", fin=fin), frame(CONT, b"two"))
        assert failed(said, 1002)


def test_fragments_do_not_add_up_beyond_the_cap(echo: Echo) -> None:
    half = b"x" * (MAX_FRAME_BYTES // 2)
    fits = [frame(BINARY, half, fin=False), frame(CONT, half)]
    assert echo.say(*fits) == [(BINARY, half + half), BYE]
    assert failed(echo.say(frame(BINARY, half, fin=False), frame(CONT, half, fin=False), frame(CONT, b"x")), 1009)


# -- 6: UTF-8 -------------------------------------------------------------------------------------

VALID = [
    GREETING.encode(),
    "κόσμε".encode(),
    *(char.encode() for char in ("\x00", "\x7f", "\x80", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\uffff")),
    *(char.encode() for char in ("\ufffd", "\U00010000", "\U0010ffff", "\ufdd0", "\U0001fffe")),
]
INVALID = [
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited",
    *(b"\x80", b"\xbf", b"\x80\xbf" * 3, b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"),
    *(b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xf8\x80\x80\x80\xaf", b"\xc0\x80", b"\xe0\x9f\xbf"),
    *(b"\xed\xa0\x80", b"\xed\xaf\xbf", b"\xed\xb0\x80", b"\xed\xbf\xbf", b"\xed\xa0\x80\xed\xb0\x80"),
    *(b"\xf4\x90\x80\x80", b"\xf7\xbf\xbf\xbf", b"\xfc\x84\x80\x80\x80\x80"),
    *(b"\xc3", b"\xe1\xbd", b"\xf0\x90\x80", b"abc\xce"),  # cut off at the end
]


@pytest.mark.parametrize("text", VALID, ids=repr)
def test_utf_8_comes_back_however_it_is_cut(echo: Echo, text: bytes) -> None:
    octets = [frame(CONT, text[i : i + 1], fin=False) for i in range(len(text))]
    cut = [frame(TEXT, b"", fin=False), *octets, frame(CONT, b"")]
    for chop in (0, 1):
        assert echo.say(frame(TEXT, text), *cut, chop=chop) == [(TEXT, text), (TEXT, text), BYE]


@pytest.mark.parametrize("text", INVALID, ids=repr)
def test_what_is_no_utf_8_is_refused_however_it_is_cut(echo: Echo, text: bytes) -> None:
    octets = [frame(CONT, text[i : i + 1], fin=False) for i in range(len(text))]
    for chop in (0, 1):
        assert failed(echo.say(frame(TEXT, text), chop=chop), 1007)
        assert failed(echo.say(frame(TEXT, b"", fin=False), *octets, frame(CONT, b""), chop=chop), 1007)


def test_bad_utf_8_is_refused_at_once_and_not_at_the_end_of_its_message(echo: Echo) -> None:
    with echo.connect() as raw:
        raw.sendall(frame(TEXT, b"first \xf4\x90", fin=False))
        assert failed(read_frames(raw), 1007), "within a fragment"
    with echo.connect() as raw:
        raw.sendall(frame(TEXT, b"\xce\xba\xed\xa0" + b"x" * 1000)[:20])
        assert failed(read_frames(raw), 1007), "within a frame"


def test_binary_may_hold_anything(echo: Echo) -> None:
    assert echo.say(frame(BINARY, b"\xff\xfe\xed\xa0\x80")) == [(BINARY, b"\xff\xfe\xed\xa0\x80"), BYE]


# -- 7: closing -----------------------------------------------------------------------------------


def test_nothing_is_answered_after_the_close(echo: Echo) -> None:
    after = frame(TEXT, b"after") + frame(PING, b"after") + close(1001)
    assert echo.say(frame(TEXT, b"before"), farewell=close() + after) == [(TEXT, b"before"), BYE]


def test_a_close_within_a_message_ends_it(echo: Echo) -> None:
    assert echo.say(frame(TEXT, b"half", fin=False), farewell=close()) == [BYE]


def test_a_close_without_a_code_is_answered_with_one_like_it(echo: Echo) -> None:
    assert echo.say(farewell=close(None)) == [(CLOSE, b"")]


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
)
def test_valid_codes_are_given_back(echo: Echo, code: int) -> None:
    for reason in (b"", GREETING.encode(), b"x" * 123):
        assert echo.say(farewell=close(code, reason)) == [(CLOSE, code.to_bytes(2, "big"))]


@pytest.mark.parametrize("code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535])
def test_invalid_codes_are_refused(echo: Echo, code: int) -> None:
    assert failed(echo.say(farewell=close(code)), 1002)
    assert failed(echo.say(farewell=close(code, b"reason")), 1002)


def test_malformed_closes_are_refused(echo: Echo) -> None:
    assert failed(echo.say(farewell=frame(CLOSE, b"\x03")), 1002)
    assert failed(echo.say(farewell=close(1000, b"x" * 124)), 1002)
    assert failed(echo.say(farewell=close(1000, b"\xce\xba\xed\xa0\x80")), 1007)


# -- 9 and 10: limits -----------------------------------------------------------------------------


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_messages_up_to_the_cap_and_1009_beyond(echo: Echo, opcode: int) -> None:
    for pieces in (1, 64, 4096):
        size = MAX_FRAME_BYTES // pieces
        parts = [frame(opcode if not i else CONT, b"x" * size, fin=i == pieces - 1) for i in range(pieces)]
        assert echo.say(*parts) == [(opcode, b"x" * MAX_FRAME_BYTES), BYE]
    assert failed(echo.say(frame(opcode, b"x" * (MAX_FRAME_BYTES + 1)), chop=MAX_FRAME_BYTES), 1009)
    assert failed(echo.say(b"\x82\xff" + (1 << 40).to_bytes(8, "big") + MASK, farewell=b""), 1009), "by its header"


@pytest.mark.parametrize("size", [0, 16, 64, 256, 1024])
def test_a_thousand_messages_in_a_row(echo: Echo, size: int) -> None:
    message, answer = frame(TEXT, b"x" * size), wire.text_frame(b"x" * size)
    with echo.connect() as raw, raw.makefile("rb") as answers:
        for _ in range(10):
            raw.sendall(message * 100)
            assert answers.read(100 * len(answer)) == answer * 100  # before the next: who does not read is closed
        raw.sendall(close())
        assert read_frames(raw) == [BYE]


def test_a_message_in_very_many_small_parts(echo: Echo) -> None:
    parts = [frame(TEXT if not i else CONT, b"*" * 16, fin=i == 4095) for i in range(4096)]
    assert echo.say(*parts, chop=1300) == [(TEXT, b"*" * 65_536), BYE]
