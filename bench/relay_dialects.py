"""How each server of `make bench-relay` is spoken to: the same commands and events, in its own envelope."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable
from datetime import UTC, datetime

import jwt

from relay.auth import Tokens, sign

COMMAND_BYTES = 200
TEXT = 1


def masked(payload: bytes) -> bytes:
    """A client's text frame, with the mask that changes nothing."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | TEXT, 0x80 | size)) + bytes(4) + payload
    return struct.pack("!BBH", 0x80 | TEXT, 0x80 | 126, size) + bytes(4) + payload


def user_of(number: int) -> str:
    return f"u_bench{number}"


def device_of(number: int) -> str:
    return f"wimz_bench{number}"


def secret_of(number: int) -> str:
    """The bench's robots have secrets that both sides can work out."""
    return f"bench device secret {number}"


def command_text(number: int) -> bytes:
    """A motor command of exactly COMMAND_BYTES."""
    message = {"command": "motor", "left": 0.5, "right": -0.25, "device_id": device_of(number), "note": ""}
    message["note"] = "x" * (COMMAND_BYTES - len(json.dumps(message, separators=(",", ":"))))
    return json.dumps(message, separators=(",", ":")).encode()


def event_text(number: int, id: str) -> bytes:
    data = {"dispensed": True, "remaining": 7}
    message = {"event": "treat", "data": data, "device_id": device_of(number), "id": id}
    return json.dumps({**message, "timestamp": "2026-01-02T03:04:05Z"}, separators=(",", ":")).encode()


def upgrade(path: str, headers: dict[str, str]) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: bench", "Upgrade: websocket", "Connection: Upgrade"]
    lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


class Dialect:
    """The relay's own.

    Attributes:
        admitted: is in the message that says that a client was let in.
        command_marker: is once in every command that a robot gets.
        ack_marker: is once in every acknowledgement of an event.
    """

    admitted = b'"success":true'
    command_marker = b'"command":"motor"'
    ack_marker = b'"event_ack"'

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self._tokens = Tokens(secret)
        self._signed_s: dict[int, int] = {}

    def request(self, number: int, robot: bool) -> bytes:
        """The handshake's request."""
        if not robot:
            token = self._tokens.issue(user_of(number), 0, datetime.now(UTC))
            return upgrade("/ws/app", {"Authorization": f"Bearer {token}"})
        at_s = max(int(time.time()), self._signed_s.get(number, 0) + 1)
        self._signed_s[number] = at_s
        signature = sign(secret_of(number), f"{device_of(number)}:{at_s}")
        headers = {"X-Device-ID": device_of(number), "X-Timestamp": str(at_s), "X-Signature": signature}
        return upgrade("/ws/device", headers)

    def greeting(self, number: int, robot: bool) -> list[tuple[bytes, bytes]]:
        """What is answered to what before it is let in."""
        return []

    def command(self, number: int) -> bytes:
        return masked(command_text(number))

    def event(self, number: int, id: str) -> bytes:
        return masked(event_text(number, id))

    def status(self, number: int, size: int) -> bytes:
        """An event that is not kept, of about that many bytes."""
        message = {"event": "status", "device_id": device_of(number), "data": {"note": "x" * (size - 100)}}
        return masked(json.dumps(message, separators=(",", ":")).encode())


class Ours(Dialect):
    """Ours: a robot is told `paired` first."""

    admitted = b'":true'  # "paired" or "success"


class FastApi(Dialect):
    """The FastAPI peer: token and signature in the URL, as the original relay has it."""

    def request(self, number: int, robot: bool) -> bytes:
        if robot:
            signature = sign(secret_of(number), device_of(number))
            return upgrade(f"/ws/device?device_id={device_of(number)}&sig={signature}", {})
        return upgrade(f"/ws/app?token={peer_token(self._secret, number)}", {})


class SocketIo(Dialect):
    """The Flask-SocketIO peer: Engine.IO over WebSocket only."""

    admitted = b'42["admitted"'

    def request(self, number: int, robot: bool) -> bytes:
        return upgrade("/socket.io/?EIO=4&transport=websocket", {})

    def greeting(self, number: int, robot: bool) -> list[tuple[bytes, bytes]]:
        if robot:
            signature = sign(secret_of(number), device_of(number))
            auth = {"device_id": device_of(number), "sig": signature}
        else:
            auth = {"token": peer_token(self._secret, number)}
        return [(b'"upgrades"', masked(b"40" + json.dumps(auth).encode()))]

    def command(self, number: int) -> bytes:
        return masked(b'42["command",' + command_text(number) + b"]")

    def event(self, number: int, id: str) -> bytes:
        return masked(b'42["event",' + event_text(number, id) + b"]")


def peer_token(secret: str, number: int) -> str:
    return jwt.encode({"sub": user_of(number), "exp": int(time.time()) + 3600}, secret, algorithm="HS256")


DIALECTS: dict[str, Callable[[str], Dialect]] = {"ours": Ours, "fastapi": FastApi, "socketio": SocketIo}
