"""What a client on `/ws` may say, and what follows from it. Frames in, actions out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Struct

from contract import commands, frames
from contract.errors import ContractError
from contract.validate import convert, decode_json

AUTH_WITHIN_S = 5.0


@dataclass(frozen=True)
class Send:
    """Send this frame to the client."""

    frame: Struct | dict[str, Any]


@dataclass(frozen=True)
class SendStatus:
    """Send the robot's status."""


@dataclass(frozen=True)
class Submit:
    """Carry out this command, and answer the client."""

    message: dict[str, Any]


@dataclass(frozen=True)
class Signal:
    """Hand this signalling frame to webrtc."""

    frame: frames.Frame
    session_id: str


@dataclass(frozen=True)
class Close:
    """Close the socket after what was sent."""

    code: int
    reason: str


Action = Send | SendStatus | Submit | Signal | Close

TYPES: Mapping[str, type[frames.Frame]] = {
    "auth": frames.Auth,
    "ping": frames.Ping,
    "webrtc_request": frames.WebrtcWatch,
    "webrtc_answer": frames.WebrtcAnswer,
    "webrtc_ice": frames.WebrtcIce,
    "webrtc_close": frames.WebrtcClose,
    "get_status": frames.GetStatus,
}
ACCEPTED = f"a command ({', '.join(sorted(commands.COMMANDS))}), or a `type` of {', '.join(TYPES)}"


class LanSocket:
    """One client's socket.

    Args:
        authenticated: it proved itself before its first frame.
        check_token: raises ContractError unless it is the robot's token; gets the time.
        new_session_id: makes unguessable ids.
        now: CLOCK_MONOTONIC in s.
    """

    def __init__(
        self,
        *,
        authenticated: bool,
        check_token: Callable[[str, float], None],
        new_session_id: Callable[[], str],
        now: float,
    ) -> None:
        self.authenticated = authenticated
        self.video: str | None = None
        self._check_token = check_token
        self._new_session_id = new_session_id
        self._opened_at = now
        self._over = False

    def on_open(self) -> list[Action]:
        return [Send(frames.AuthResult(success=True)), SendStatus()] if self.authenticated else []

    def on_text(self, text: str | bytes, now: float) -> list[Action]:
        """Never raises: what is wrong is answered."""
        if self._over:
            return []
        try:
            message = self._object(text)
            if not self.authenticated or message.get("type") == "auth":
                return self._authenticate(message, now)
            if commands.is_command(message):
                return [Submit(message)]
            return self._typed(message)
        except ContractError as error:
            return self._refused(error)

    def on_tick(self, now: float) -> list[Action]:
        if self.authenticated or self._over or now - self._opened_at < AUTH_WITHIN_S:
            return []
        return self._turn_away(
            ContractError("AUTH_FAILED", f"The first frame is to be auth, within {AUTH_WITHIN_S:.0f} s.")
        )

    def on_signal(self, frame: dict[str, Any]) -> list[Action]:
        """A signalling frame of webrtc's for this socket's video session."""
        kind = frame.get("type")
        if kind in ("webrtc_close", "webrtc_error"):
            self.video = None
        if kind == "webrtc_error":
            failed = convert(frames.WebrtcError, frame)
            return [
                Send(
                    frames.Error(code=failed.code or "UNAVAILABLE", message=failed.error, session_id=failed.session_id)
                )
            ]
        return [Send(frame)]

    def on_signal_refused(self, frame: frames.Frame, session_id: str, error: ContractError) -> list[Action]:
        """webrtc would not take a frame of ours."""
        if isinstance(frame, frames.WebrtcClose):
            return []
        if isinstance(frame, frames.WebrtcRequest) and self.video == session_id:
            self.video = None
        return [Send(frames.Error(code=error.code, message=error.message, session_id=session_id))]

    def on_close(self) -> list[Action]:
        """The client is gone, and with it its video."""
        self._over = True
        return self._end_video("the socket is closed")

    def _object(self, text: str | bytes) -> dict[str, Any]:
        if not isinstance(text, str):
            raise ContractError("INVALID_PARAMETER", "Frames are text: a JSON object.")
        message = decode_json(text)
        if not isinstance(message, dict):
            raise ContractError("INVALID_PARAMETER", f"A frame is a JSON object: {ACCEPTED}.")
        return message

    def _authenticate(self, message: dict[str, Any], now: float) -> list[Action]:
        if message.get("type") != "auth":
            raise ContractError("AUTH_FAILED", 'The first frame is to be {"type":"auth","token":…}.')
        token = convert(frames.Auth, message).token
        if token is not None:
            self._check_token(token, now)
        elif not self.authenticated:
            raise ContractError("AUTH_FAILED", "`auth` needs the robot's `token`.")
        first, self.authenticated = not self.authenticated, True
        return [Send(frames.AuthResult(success=True)), *([SendStatus()] if first else [])]

    def _refused(self, error: ContractError) -> list[Action]:
        if not self.authenticated or error.code == "AUTH_FAILED":
            return self._turn_away(error)
        return [Send(frames.Error(code=error.code, message=error.message))]

    def _turn_away(self, error: ContractError) -> list[Action]:
        """A refused socket gets a readable reason, then 4001."""
        self._over = True
        refusal = frames.Error(code="AUTH_FAILED", message=error.message, retry_after_s=error.retry_after_s)
        return [Send(refusal), Close(frames.CLOSE_AUTH_FAILED, "auth failed"), *self._end_video("auth failed")]

    def _typed(self, message: dict[str, Any]) -> list[Action]:
        kind = message.get("type")
        type_ = TYPES.get(kind) if isinstance(kind, str) else None
        if type_ is None:
            raise ContractError("INVALID_PARAMETER", f"This frame is not understood. Accepted: {ACCEPTED}.")
        frame = convert(type_, message)
        if isinstance(frame, frames.Ping):
            return [Send(frames.Pong(t=frame.t))]
        if isinstance(frame, frames.GetStatus):
            command = {"command": "get_status"} | ({"id": message["id"]} if "id" in message else {})
            return [SendStatus(), Submit(command)]
        if isinstance(frame, frames.WebrtcWatch):
            return self._watch()
        assert isinstance(frame, frames.WebrtcAnswer | frames.WebrtcIce | frames.WebrtcClose)
        return self._signal(frame)

    def _watch(self) -> list[Action]:
        """Do what the relay does elsewhere: name the session, tell the client, ask the robot. One video a socket."""
        ended = self._end_video("another was asked for")
        self.video = session_id = self._new_session_id()
        servers = frames.IceServers()
        return [
            *ended,
            Send(frames.WebrtcCredentials(session_id=session_id, ice_servers=servers)),
            Signal(frames.WebrtcRequest(session_id=session_id, ice_servers=servers, role="owner"), session_id),
        ]

    def _signal(self, frame: frames.WebrtcAnswer | frames.WebrtcIce | frames.WebrtcClose) -> list[Action]:
        if frame.session_id != self.video:
            if isinstance(frame, frames.WebrtcClose):
                return []  # it is over already, which is what the client wants
            message = "This socket has no such video session; ask for one with webrtc_request."
            return [Send(frames.Error(code="NOT_FOUND", message=message, session_id=frame.session_id))]
        if isinstance(frame, frames.WebrtcClose):
            self.video = None
        return [Signal(frame, frame.session_id)]

    def _end_video(self, reason: str) -> list[Action]:
        session_id, self.video = self.video, None
        return (
            [] if session_id is None else [Signal(frames.WebrtcClose(session_id=session_id, reason=reason), session_id)]
        )


def encode(frame: Struct | dict[str, Any]) -> str:
    return msgspec.json.encode(frame).decode()
