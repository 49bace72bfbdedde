"""Frames: each tag once, what the contract shows is understood, and bad frames are refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from contract import frames
from contract.errors import ContractError
from contract.frames import Event, Frame
from contract.models import EVENT_DATA, DeviceStatus, Status, TreatEvent
from contract.validate import convert, decode, encode

DIRECTIONS = {
    "app to relay": frames.APP_TO_RELAY,
    "relay to app": frames.RELAY_TO_APP,
    "robot to relay": frames.ROBOT_TO_RELAY,
    "relay to robot": frames.RELAY_TO_ROBOT,
    "app to robot": frames.APP_TO_ROBOT,
    "robot to app": frames.ROBOT_TO_APP,
}
OFFER = {"type": "offer", "sdp": "v=0\r\n"}


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_tag_means_one_frame_in_each_direction(direction: str) -> None:
    tags = [frame.__struct_config__.tag for frame in DIRECTIONS[direction]]
    assert len(tags) == len(set(tags))
    msgspec.json.Decoder(_union(DIRECTIONS[direction]))


def _union(table: tuple[type[Frame], ...]) -> Any:
    union: Any = table[0]
    for frame in table[1:]:
        union = union | frame
    return union


@pytest.mark.parametrize(
    ("direction", "message", "expected"),
    [
        ("app to relay", {"type": "auth", "token": "t"}, frames.Auth(token="t")),
        ("app to relay", {"type": "ping"}, frames.Ping()),
        ("app to relay", {"type": "webrtc_request", "device_id": "w"}, frames.WebrtcWatch(device_id="w")),
        (
            "relay to robot",
            {"type": "webrtc_request", "session_id": "s", "ice_servers": {"iceServers": []}},
            frames.WebrtcRequest(session_id="s", ice_servers=frames.IceServers()),
        ),
        (
            "relay to robot",
            {"type": "webrtc_request", "session_id": "s", "ice_servers": [{"urls": "stun:a"}]},
            frames.WebrtcRequest(session_id="s", ice_servers=[frames.IceServer("stun:a")]),
        ),
        (
            "robot to relay",
            {"type": "webrtc_offer", "session_id": "s", "sdp": OFFER},
            frames.WebrtcOffer(session_id="s", sdp=frames.SessionDescription("offer", "v=0\r\n")),
        ),
        (
            "app to robot",
            {
                "type": "webrtc_ice",
                "session_id": "s",
                "candidate": {"candidate": "", "sdpMid": "0", "sdpMLineIndex": 0},
            },
            frames.WebrtcIce(session_id="s", candidate=frames.IceCandidate("", "0", 0)),
        ),
        ("robot to relay", {"type": "heartbeat", "timestamp": 1763790030.1}, frames.Heartbeat(timestamp=1763790030.1)),
        ("robot to relay", {"type": "command_ack", "command": "treat"}, frames.CommandAck(command="treat")),
    ],
)
def test_frames_as_they_are_on_the_wire(direction: str, message: dict[str, Any], expected: Frame) -> None:
    frame = convert(_union(DIRECTIONS[direction]), message | {"unknown": True})
    assert frame == expected
    assert decode(_union(DIRECTIONS[direction]), encode(frame)) == expected


@pytest.mark.parametrize(
    "message",
    [
        {"type": "webrtc_answer", "session_id": "s", "sdp": {"type": "rollback", "sdp": "v=0"}},
        {"type": "webrtc_answer", "session_id": "s", "sdp": {"type": "answer", "sdp": "x" * 60_001}},
        {"type": "webrtc_answer", "session_id": "s", "sdp": "v=0"},
        {"type": "webrtc_answer", "session_id": "", "sdp": OFFER},
        {"type": "webrtc_ice", "session_id": "s", "candidate": {"candidate": 5}},
        {"type": "webrtc_ice", "session_id": "s", "candidate": {"candidate": "c", "sdpMLineIndex": -1}},
        {"type": "webrtc_ice", "session_id": "s", "candidate": {"candidate": "c", "sdpMLineIndex": True}},
        {"type": "webrtc_close"},
        {"type": "webrtc_close", "session_id": "a b"},
        {"type": "ping", "t": float("nan")},
        {"type": "ping", "t": "now"},
        {"type": "auth", "token": ""},
        {"type": "nonsense"},
        {"type": None},
        {},
    ],
    ids=lambda message: repr(message)[:60],
)
def test_bad_frames_are_refused(message: dict[str, Any]) -> None:
    with pytest.raises(ContractError) as refusal:
        convert(_union(frames.APP_TO_RELAY), message)
    assert refusal.value.code == "INVALID_PARAMETER"


def test_fields_that_are_not_set_are_left_out() -> None:
    assert encode(frames.WebrtcClose(session_id="s")) == b'{"type":"webrtc_close","session_id":"s"}'
    assert encode(frames.IceServers([frames.IceServer("stun:a")])) == b'{"iceServers":[{"urls":"stun:a"}]}'


def test_an_event_keeps_its_data_and_leaves_out_what_it_has_not() -> None:
    event = decode(
        Event, b'{"event":"treat","data":{"dispensed":true,"remaining":4},"timestamp":"2026-01-01T00:00:00Z"}'
    )
    assert convert(EVENT_DATA[event.event], event.data) == TreatEvent(dispensed=True, remaining=4)
    assert "device_id" not in msgspec.to_builtins(event)


def test_the_data_of_events_is_typed() -> None:
    assert set(EVENT_DATA) == {
        "detection",
        "status",
        "treat",
        "mission",
        "mode",
        "alert",
        "error",
        "device_status",
    }
    assert convert(EVENT_DATA["status"], {"battery": None}) == Status()
    assert convert(EVENT_DATA["device_status"], {"device_id": "w", "is_online": True}) == DeviceStatus(
        device_id="w", is_online=True
    )
    with pytest.raises(ContractError):
        convert(EVENT_DATA["detection"], {"detected": True, "bbox": [0, 0, 1], "timestamp": "t"})
