"""RFC 6455 framing, the server's side, without IO: bytes in, messages and control frames out. No extensions.

Own code because the relay exists for this path: `websockets`' Sans-I/O protocol takes longer for a message than all
else together. Differential fuzzing holds this to it, and tests to every rule of the RFC; its mask in C is used.
"""

from __future__ import annotations

import codecs
import struct
from typing import Protocol

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform without its wheel
    from websockets.utils import apply_mask

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
MAX_CONTROL_BYTES = 125

CLOSE_NORMAL = 1000
CLOSE_GOING_AWAY = 1001
CLOSE_PROTOCOL_ERROR = 1002
CLOSE_TEXT_ONLY = 1003
CLOSE_NO_CODE = 1005
CLOSE_ABNORMAL = 1006
CLOSE_BAD_UTF8 = 1007
CLOSE_TOO_LARGE = 1009
CLOSE_INTERNAL_ERROR = 1011

Event = tuple[int, bytes]
"""An opcode and its payload: TEXT and BINARY are whole messages, CLOSE comes last."""

_FINAL_TEXT = 0x80 | TEXT
_HEADS = [bytes((_FINAL_TEXT, length)) for length in range(126)]
_head_16 = struct.Struct("!HH").pack
_make_decoder = codecs.getincrementaldecoder("utf-8")


class _Broken(Exception):
    """The peer broke a rule: close code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class _Decoder(Protocol):
    def decode(self, data: bytes, final: bool = False) -> str: ...


class _Frame:
    """A frame of which not all has come."""

    __slots__ = ("body", "final", "mask", "missing", "opcode")

    def __init__(self, opcode: int, final: bool, mask: bytes, missing: int, body: bytearray) -> None:
        self.opcode = opcode
        self.final = final
        self.mask = mask
        self.missing = missing
        self.body = body


class FrameReader:
    """What a client sends, read.

    Text is checked as it comes: a message that is no UTF-8 is refused (1007) at its first wrong byte, also within a
    fragment or a frame of which the rest has not come.

    Args:
        max_size: of a message, bytes; larger ones are refused (1009) as soon as a header says so.

    Attributes:
        failure: the close code and reason, once the peer has broken a rule; nothing is read after that.
    """

    __slots__ = ("_decoder", "_ended", "_frame", "_head", "_kind", "_message", "failure", "max_size")

    def __init__(self, max_size: int) -> None:
        self.max_size = max_size
        self.failure: tuple[int, str] | None = None
        self._head = b""  # of a header that has not come in full
        self._frame: _Frame | None = None
        self._message: bytearray | None = None  # what has come of a message in several parts
        self._kind = 0  # its opcode
        self._decoder: _Decoder | None = None
        self._ended = False

    def receive(self, data: bytes) -> list[Event]:
        """What has become complete by these bytes."""
        events: list[Event] = []
        if self._ended:
            return events
        if self._head:
            data, self._head = self._head + data, b""
        try:
            position = 0 if self._frame is None else self._body(data, 0, self._frame, events)
            end = len(data)
            while position < end and not self._ended:
                after = self._short_text(data, position, end, events) or self._any(data, position, end, events)
                if not after:
                    self._head = data[position:]
                    break
                position = after
        except _Broken as broken:
            self.failure = broken.code, broken.reason
            self._end()
        except UnicodeDecodeError:
            self.failure = CLOSE_BAD_UTF8, "text has to be UTF-8"
            self._end()
        return events

    def _short_text(self, data: bytes, position: int, end: int, events: list[Event]) -> int:
        """Read one frame that is a whole text message. Returns where it ends; 0: something else, or incomplete."""
        if data[position] != _FINAL_TEXT or end - position < 8 or self._kind:
            return 0
        length = data[position + 1] - 0x80
        start = position + 6
        if length >= 126:
            if length == 127:
                return 0
            length = data[position + 2] << 8 | data[position + 3]
            if length < 126:
                return 0
            start += 2
        after = start + length
        if length < 0 or after > end or length > self.max_size:
            return 0
        payload = apply_mask(data[start:after], data[start - 4 : start])
        if not payload.isascii():
            payload.decode()
        events.append((TEXT, payload))
        return after

    def _any(self, data: bytes, position: int, end: int, events: list[Event]) -> int:
        """Read a frame, or what is here of it. Returns where that ends; 0: not even its header is here in full."""
        if end - position < 2:
            return 0
        first, second = data[position], data[position + 1]
        opcode, final, length = first & 0x0F, first >= 0x80, second & 0x7F
        self._check(first, opcode, final)
        if second < 0x80:
            raise _Broken(CLOSE_PROTOCOL_ERROR, "a client's frames have to be masked")
        if opcode & 0x8 and length > MAX_CONTROL_BYTES:
            raise _Broken(CLOSE_PROTOCOL_ERROR, f"a control frame has {MAX_CONTROL_BYTES} bytes at most")
        start = position + 2
        extra = {126: 2, 127: 8}.get(length, 0)
        if end - start < extra + 4:
            return 0
        if extra:
            length = _length(data[start : start + extra])
            start += extra
        if not opcode & 0x8 and length + len(self._message or b"") > self.max_size:
            raise _Broken(CLOSE_TOO_LARGE, f"a message has {self.max_size} bytes at most")
        body = bytearray() if opcode & 0x8 else self._begin(opcode)
        frame = _Frame(opcode, final, data[start : start + 4], length, body)
        return self._body(data, start + 4, frame, events)

    def _check(self, first: int, opcode: int, final: bool) -> None:
        if first & 0x70:
            raise _Broken(CLOSE_PROTOCOL_ERROR, "the reserved bits have to be 0")
        if opcode not in (0, TEXT, BINARY, CLOSE, PING, PONG):
            raise _Broken(CLOSE_PROTOCOL_ERROR, f"there is no opcode {opcode}")
        if opcode & 0x8 and not final:
            raise _Broken(CLOSE_PROTOCOL_ERROR, "control frames have one part")
        if opcode == 0 and not self._kind:
            raise _Broken(CLOSE_PROTOCOL_ERROR, "there is nothing to continue")
        if opcode in (TEXT, BINARY) and self._kind:
            raise _Broken(CLOSE_PROTOCOL_ERROR, "the message before has not ended")

    def _begin(self, opcode: int) -> bytearray:
        if self._message is None:
            self._message = bytearray()
            self._kind = opcode
            self._decoder = _make_decoder() if opcode == TEXT else None
        return self._message

    def _body(self, data: bytes, start: int, frame: _Frame, events: list[Event]) -> int:
        """Take what is here of a frame's payload. Returns where that ends."""
        after = min(len(data), start + frame.missing)
        part = apply_mask(data[start:after], frame.mask)
        frame.body += part
        frame.missing -= len(part)
        if self._decoder is not None and not frame.opcode & 0x8:
            self._decoder.decode(part, frame.final and not frame.missing)
        if frame.missing:
            turn = len(part) % 4
            frame.mask = frame.mask[turn:] + frame.mask[:turn]
            self._frame = frame
        else:
            self._frame = None
            self._complete(frame, events)
        return after

    def _complete(self, frame: _Frame, events: list[Event]) -> None:
        if frame.opcode & 0x8:
            payload = bytes(frame.body)
            if frame.opcode == CLOSE:
                _check_close(payload)
                self._end()
            events.append((frame.opcode, payload))
        elif frame.final:
            events.append((self._kind, bytes(frame.body)))
            self._message = self._decoder = None
            self._kind = 0

    def _end(self) -> None:
        self._ended = True
        self._head = b""
        self._frame = self._message = self._decoder = None


def _length(extended: bytes) -> int:
    length = int.from_bytes(extended, "big")
    if length < (126 if len(extended) == 2 else 65_536) or length >= 1 << 63:
        raise _Broken(CLOSE_PROTOCOL_ERROR, "a length has to be written in its shortest form")
    return length


def _check_close(payload: bytes) -> None:
    if not payload:
        return
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        raise _Broken(CLOSE_PROTOCOL_ERROR, "this is no close code")
    payload[2:].decode()


def close_code(payload: bytes) -> int:
    """The code of a CLOSE event's payload, 1005 when it has none."""
    return int.from_bytes(payload[:2], "big") if payload else CLOSE_NO_CODE


def text_frame(data: bytes) -> bytes:
    """A text message in one frame. The caller sees to it that `data` is UTF-8."""
    length = len(data)
    if length < 126:
        return _HEADS[length] + data
    if length < 65_536:
        return _head_16(_FINAL_TEXT << 8 | 126, length) + data
    return frame(TEXT, data)


def frame(opcode: int, data: bytes) -> bytes:
    """A frame that is a whole message, or a control frame."""
    length = len(data)
    if length < 126:
        return bytes((0x80 | opcode, length)) + data
    if length < 65_536:
        return bytes((0x80 | opcode, 126)) + length.to_bytes(2, "big") + data
    return bytes((0x80 | opcode, 127)) + length.to_bytes(8, "big") + data


def close_frame(code: int, reason: str) -> bytes:
    """A close frame; a reason that is too long is cut."""
    shown = reason.encode()[: MAX_CONTROL_BYTES - 2].decode(errors="ignore").encode()
    return frame(CLOSE, code.to_bytes(2, "big") + shown)
