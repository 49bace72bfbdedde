from __future__ import annotations

import json
from typing import Any

import pytest

from contract import frames
from contract.errors import ContractError
from processes.local_api.logic import Action, Close, LanSocket, Send, SendStatus, Signal, Submit


def check_token(token: str, now: float) -> None:
    if token != "right":
        raise ContractError("AUTH_FAILED", "That is not this robot's token.")


def lan(*, authenticated: bool = True) -> LanSocket:
    ids = iter(f"v{number}" for number in range(1, 100))
    return LanSocket(authenticated=authenticated, check_token=check_token, new_session_id=lambda: next(ids), now=100.0)


def say(socket: LanSocket, **message: Any) -> list[Action]:
    return socket.on_text(json.dumps(message), 101.0)


def refusal(actions: list[Action]) -> str:
    send, close = actions[:2]
    assert isinstance(send, Send)
    assert isinstance(send.frame, frames.Error)
    assert isinstance(close, Close)
    assert close.code == 4001
    return send.frame.code


def test_whoever_says_nothing_is_turned_away_after_five_seconds() -> None:
    socket = lan(authenticated=False)
    assert socket.on_tick(104.9) == []
    assert refusal(socket.on_tick(105.0)) == "AUTH_FAILED"
    assert socket.on_tick(106.0) == []


def test_nothing_follows_a_refusal() -> None:
    socket = lan(authenticated=False)
    assert refusal(say(socket, type="auth", token="wrong")) == "AUTH_FAILED"
    assert say(socket, type="auth", token="right") == []


def test_the_first_frame_proves_it() -> None:
    socket = lan(authenticated=False)
    assert say(socket, type="auth", token="right") == [Send(frames.AuthResult(success=True)), SendStatus()]
    assert say(socket, command="stop") == [Submit({"command": "stop"})]


def test_auth_without_a_token_is_fine_for_whoever_is_in() -> None:
    assert say(lan(), type="auth") == [Send(frames.AuthResult(success=True))]
    assert refusal(say(lan(authenticated=False), type="auth")) == "AUTH_FAILED"


def test_a_wrong_token_is_wrong_even_for_whoever_is_in() -> None:
    assert refusal(say(lan(), type="auth", token="wrong")) == "AUTH_FAILED"


def test_the_robot_does_for_video_what_the_relay_does() -> None:
    socket = lan()
    credentials, request = say(socket, type="webrtc_request")
    assert credentials == Send(frames.WebrtcCredentials(session_id="v1", ice_servers=frames.IceServers()))
    assert isinstance(request, Signal)
    assert isinstance(request.frame, frames.WebrtcRequest)
    assert (request.session_id, request.frame.role) == ("v1", "owner")


def test_a_video_session_ends_with_its_socket() -> None:
    socket = lan()
    say(socket, type="webrtc_request")
    (closed,) = socket.on_close()
    assert isinstance(closed, Signal)
    assert isinstance(closed.frame, frames.WebrtcClose)
    assert socket.on_close() == []


def test_a_close_is_handed_on_once_and_never_echoed() -> None:
    socket = lan()
    say(socket, type="webrtc_request")
    (closed,) = say(socket, type="webrtc_close", session_id="v1")
    assert isinstance(closed, Signal)
    assert say(socket, type="webrtc_close", session_id="v1") == []


def test_a_session_that_failed_is_over_and_told_as_an_error() -> None:
    socket = lan()
    say(socket, type="webrtc_request")
    failed = {"type": "webrtc_error", "session_id": "v1", "error": "no camera", "code": "CAMERA_FAULT"}
    (sent,) = socket.on_signal(failed)
    assert sent == Send(frames.Error(code="CAMERA_FAULT", message="no camera", session_id="v1"))
    assert socket.video is None


def test_a_refused_request_is_told_and_a_refused_close_is_not() -> None:
    socket = lan()
    say(socket, type="webrtc_request")
    request = frames.WebrtcRequest(session_id="v1", ice_servers=frames.IceServers())
    (sent,) = socket.on_signal_refused(request, "v1", ContractError("VIEWER_LIMIT", "Full."))
    assert sent == Send(frames.Error(code="VIEWER_LIMIT", message="Full.", session_id="v1"))
    assert socket.video is None
    close = frames.WebrtcClose(session_id="v1")
    assert socket.on_signal_refused(close, "v1", ContractError("NOT_FOUND", "Gone.")) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', "5", "true", "{}", '{"type": 5}', "[" * 5000])
def test_anything_may_be_said(text: str) -> None:
    (answer,) = lan().on_text(text, 101.0)
    assert isinstance(answer, Send)
    assert isinstance(answer.frame, frames.Error)
    assert answer.frame.message
