from __future__ import annotations

import json
from typing import Any

import pytest

from bus.memory import MemoryHub
from bus.messages import CameraState, Heartbeat, LinkState
from bus.topics import CAMERA_STATE, COMMAND_TOPICS, DRIVER_GONE, HEARTBEATS, LINK_STATE, SIGNAL, TELEMETRY
from contract.commands import Driven
from contract.errors import ContractError
from contract.models import Telemetry
from processes.local_api import service
from processes.local_api.access import Door
from processes.local_api.config import LocalApiConfig
from processes.local_api.outgoing import MAX_QUEUED, Outgoing
from processes.local_api.pictures import Pictures
from processes.local_api.service import LocalApi, Places


class NoFrames:
    def latest(self) -> None:
        return None


class Pongs:
    """A peer that answers pings while `alive`."""

    def __init__(self) -> None:
        self.alive = True
        self.pending = False

    def expect(self) -> None:
        self.pending = True

    def came(self) -> bool:
        return self.alive or not self.pending


class RecordingWire:
    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.pings = 0
        self.closed: tuple[int, str] | None = None

    def send(self, text: str) -> None:
        self.sent.append(json.loads(text))

    def ping(self) -> None:
        self.pings += 1

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)


def drained(outgoing: Outgoing) -> RecordingWire:
    """What would have gone out; the queue is at its end after that."""
    wire = RecordingWire()
    outgoing.close(1000, "the test is over")
    outgoing.run(wire)
    return wire


class Room:
    def __init__(self) -> None:
        self.hub = MemoryHub()
        self.driven: list[float] = []
        self.gone: list[str] = []
        motion = self.hub.bus("motion")
        motion.serve(COMMAND_TOPICS["motor"], self._motor)
        motion.serve(DRIVER_GONE, lambda request: self.gone.append(request.body.origin.session))
        self.monitor = self.hub.bus("monitor")
        door = Door("t" * 32, require_token=True)
        self.bus = self.hub.bus("local_api")
        self.api = LocalApi(self.bus, LocalApiConfig(), door, Pictures(NoFrames(), 80))
        self.pongs = Pongs()
        self.outgoing = Outgoing()
        self.client = self.api.sockets.open("10.0.0.2", self.outgoing, self.pongs, authenticated=True)

    def _motor(self, request: Any) -> Driven:
        self.driven.append(request.body.left)
        return Driven(request.body.left, request.body.right)

    def say(self, **message: Any) -> None:
        self.api.sockets.on_text(self.client, json.dumps(message), self.api.bus.now())
        self.hub.run()


@pytest.fixture
def room() -> Room:
    return Room()


def test_stale_telemetry_is_no_telemetry(room: Room) -> None:
    with pytest.raises(ContractError, match="monitor"):
        room.api.telemetry()
    room.monitor.publish(TELEMETRY, Telemetry(uptime_seconds=1))
    room.hub.run()
    assert room.api.telemetry().uptime_seconds == 1
    room.hub.advance(6.0)
    with pytest.raises(ContractError, match="monitor"):
        room.api.telemetry()


def test_a_camera_that_failed_is_a_camera_fault_and_one_that_is_away_unavailable(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "PICTURE_WITHIN_S", 0.01)
    with pytest.raises(ContractError) as away:
        room.api.picture()
    assert away.value.code == "UNAVAILABLE"
    room.hub.bus("camera").publish(CAMERA_STATE, CameraState("v4l2", 1280, 720, 0.0, healthy=False))
    room.hub.run()
    with pytest.raises(ContractError) as failed:
        room.api.picture()
    assert failed.value.code == "CAMERA_FAULT"


def test_a_paired_robot_shows_no_code(room: Room) -> None:
    room.hub.bus("cloudlink").publish(LINK_STATE, LinkState("connected", paired=True))
    room.hub.run()
    assert room.api.pairing().paired is True
    assert room.api.pairing().code is None


def test_places_are_given_back() -> None:
    places = Places(2)
    places.take()
    places.take()
    with pytest.raises(ContractError, match="All 2 places"):
        places.take()
    places.give()
    places.take()


def test_motion_that_a_stalled_socket_delivers_late_moves_nothing(room: Room) -> None:
    room.say(command="motor", left=0.5, right=0.5)
    room.pongs.alive = False
    room.hub.advance(1.5)
    room.say(command="motor", left=0.9, right=0.9, id=1)
    assert room.driven == [0.5]
    results = [frame for frame in drained(room.outgoing).sent if frame.get("type") == "command_result"]
    assert results[0]["error"]["code"] == "STALE_COMMAND"


def test_a_peer_that_answers_no_pings_is_gone_within_twenty_seconds(room: Room) -> None:
    room.pongs.alive = False
    room.hub.advance(20.0)
    assert drained(room.outgoing).closed == (4002, "no answer to a ping")


def test_a_peer_that_answers_pings_may_be_silent_for_ever(room: Room) -> None:
    room.hub.advance(100.0)
    wire = drained(room.outgoing)
    assert wire.closed == (1000, "the test is over")
    assert wire.pings > 20


def test_a_client_that_falls_too_far_behind_is_closed_4008(room: Room) -> None:
    for _ in range(MAX_QUEUED + 1):
        room.say(type="ping")
    assert drained(room.outgoing).closed == (4008, "too slow")


def test_a_closed_socket_stops_what_it_drove_and_hears_nothing_more(room: Room) -> None:
    room.say(command="motor", left=0.5, right=0.5)
    room.api.sockets.close(room.client)
    room.hub.run()
    assert len(room.gone) == 1
    assert len(room.api.sockets) == 0


def test_stopping_tells_every_client_to_come_back(room: Room) -> None:
    room.api.stop()
    assert drained(room.outgoing).closed == (1012, "restarting")
    assert room.api.stopping.is_set()


def test_a_client_is_told_when_the_robots_video_has_restarted() -> None:
    room = Room()
    for pid in (7, 8):
        room.api.sockets.on_text(room.client, '{"type":"webrtc_request"}', room.api.bus.now())
        webrtc = room.hub.bus("webrtc")
        webrtc.serve(SIGNAL, lambda request: None)
        webrtc.publish(HEARTBEATS["webrtc"], Heartbeat(pid, 0.0, 0.0))
        room.hub.run()
    sent = drained(room.outgoing).sent
    asked = [frame["session_id"] for frame in sent if frame.get("type") == "webrtc_credentials"]
    assert [frame["session_id"] for frame in sent if frame.get("type") == "webrtc_close"] == [asked[1]]
    assert room.client.logic.video is None
