from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bus.base import Latest
from bus.codec import Request
from bus.events import robot_event
from bus.memory import MemoryHub
from bus.messages import Heartbeat, LinkState, Origin, Signal, SignalOut
from bus.topics import (
    COMMAND_TOPICS,
    DRIVER_GONE,
    EVENTS,
    HEARTBEATS,
    LINK_STATE,
    PAIRING_CODE,
    SIGNAL,
    SIGNAL_OUT,
    TELEMETRY,
)
from contract.commands import Driven, Nothing
from contract.errors import ContractError
from contract.models import Telemetry, TreatEvent
from processes.cloudlink.config import Relay
from processes.cloudlink.driver import Listener
from processes.cloudlink.logic import Closed, signature
from processes.cloudlink.service import CloudlinkService
from processes.cloudlink.store import Outbox

SECRET = "s" * 32
START = datetime(2026, 1, 31, 12, tzinfo=UTC)


class AtOnce(Executor):
    """Runs jobs when they are submitted: the fake clock has no threads."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - as an executor does
            future.set_exception(error)
        return future


class FakeConnection:
    def __init__(self, headers: Mapping[str, str], listener: Listener) -> None:
        self.headers = headers
        self.listener = listener
        self.sent: list[dict[str, Any]] = []
        self.pings = 0
        self.closed = False

    def send(self, text: str) -> bool:
        self.sent.append(json.loads(text))
        return True

    def ping(self) -> None:
        self.pings += 1

    def close(self) -> None:
        self.closed = True

    def join(self, timeout_s: float) -> None:
        pass


class Room:
    """Cloudlink, a relay that the test plays, and the processes behind."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.hub = MemoryHub()
        self.connections: list[FakeConnection] = []
        self.driven: list[tuple[float, float]] = []
        self.gone: list[Origin] = []
        self.signals: list[Signal] = []
        self.signal_error: ContractError | None = None
        motion = self.hub.bus("motion")
        motion.serve(COMMAND_TOPICS["motor"], self._motor)
        motion.serve(COMMAND_TOPICS["stop"], lambda request: None)
        motion.serve(DRIVER_GONE, lambda request: self.gone.append(request.body.origin))
        self.webrtc = self.hub.bus("webrtc")
        self.webrtc.serve(SIGNAL, self._signal)
        self.dispenser = self.hub.bus("dispenser")
        self.treat_done: Future[Any] | None = None
        self.dispenser.serve(COMMAND_TOPICS["treat"], self._treat)
        self.app = self.hub.bus("local_api")
        self.state = Latest(self.app, LINK_STATE)
        self.service = self.start()

    def start(self) -> CloudlinkService:
        self.outbox = Outbox(self.directory / "outbox.db", 100)
        began = self.hub.now
        return CloudlinkService(
            self.hub.bus("cloudlink"),
            Relay("ws://relay/ws/device", "wimz_1", SECRET),
            self,
            self.outbox,
            AtOnce(),
            lambda: START + timedelta(seconds=self.hub.now - began),
            lambda: 0.5,
        )

    def dial(self, url: str, headers: Mapping[str, str], listener: Listener) -> FakeConnection:
        self.connections.append(FakeConnection(headers, listener))
        return self.connections[-1]

    def _motor(self, request: Request[Any]) -> Driven:
        self.driven.append((request.body.left, request.body.right))
        return Driven(request.body.left, request.body.right)

    def _treat(self, request: Request[Any]) -> Future[Any]:
        self.treat_done = Future()
        return self.treat_done

    def _signal(self, request: Request[Signal]) -> None:
        self.signals.append(request.body)
        if self.signal_error is not None:
            raise self.signal_error

    # -- the relay's side

    @property
    def wire(self) -> FakeConnection:
        return self.connections[-1]

    def open(self) -> FakeConnection:
        self.wire.listener.opened("192.168.1.5")
        self.say({"type": "paired", "paired": True})
        return self.wire

    def say(self, frame: Any) -> None:
        self.wire.listener.frame(frame if isinstance(frame, str) else json.dumps(frame))
        self.hub.run()

    def lose(self, code: int | None = None, reason: str = "") -> None:
        self.wire.listener.closed(Closed(code=code, reason=reason))
        self.hub.run()

    def got(self, kind: str) -> list[dict[str, Any]]:
        return [frame for frame in self.wire.sent if kind in (frame.get("type"), frame.get("event"))]

    def link(self) -> LinkState:
        self.hub.run()
        assert self.state.message is not None
        return self.state.message.value

    def treat(self, number: int) -> None:
        event = robot_event("treat", TreatEvent(dispensed=True, remaining=number), START)
        self.dispenser.publish(EVENTS["dispenser"], event)
        self.hub.run()

    def treats(self) -> list[int]:
        return [frame["data"]["remaining"] for frame in self.got("treat")]

    def motor(self, left: float, **fields: Any) -> None:
        self.say({"command": "motor", "left": left, "right": left, "session": "s1", "user_id": "u1", **fields})


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


# -- getting in ---------------------------------------------------------------------------------


def test_it_signs_its_id_and_the_time_and_announces_itself_first(room: Room) -> None:
    headers = room.wire.headers
    assert headers["X-Device-ID"] == "wimz_1"
    assert headers["X-Signature"] == signature(SECRET, "wimz_1", int(headers["X-Timestamp"]))
    room.open()
    hello = room.wire.sent[0]
    assert (hello["type"], hello["device_id"], hello["local_ip"]) == ("robot_connected", "wimz_1", "192.168.1.5")
    assert room.link().state == "connected"


def test_a_clock_skew_is_signed_again_at_once_by_the_relays_clock(room: Room) -> None:
    room.wire.listener.opened(None)
    room.say({"type": "error", "code": "CLOCK_SKEW", "message": "off", "server_time": 5000.0})
    room.lose(4001)
    room.hub.advance(0.2)
    assert len(room.connections) == 2
    assert 5000 <= int(room.wire.headers["X-Timestamp"]) <= 5001
    room.open()
    assert room.link().state == "connected"


def test_a_refusal_is_shown_on_the_robot_and_retried_after_ten_minutes(room: Room) -> None:
    room.wire.listener.opened(None)
    room.say({"type": "error", "code": "AUTH_FAILED", "message": "This device is not known."})
    room.lose(4001)
    assert room.link().state == "refused: This device is not known."
    room.hub.advance(590)
    assert len(room.connections) == 1
    room.hub.advance(11)
    assert len(room.connections) == 2


def test_a_relay_that_answers_no_pings_is_given_up_and_dialled_again(room: Room) -> None:
    room.open()
    room.hub.advance(20.0)
    assert room.connections[0].closed
    assert len(room.connections) >= 2


# -- commands -----------------------------------------------------------------------------------


def test_commands_come_flat_and_wrapped(room: Room) -> None:
    room.open()
    room.motor(0.5)
    room.say({"type": "command", "command": "motor", "data": {"left": -0.5, "right": 0.5}, "timestamp": 1763790031000})
    assert room.driven == [(0.5, 0.5), (-0.5, 0.5)]
    assert room.got("command_result") == []


def test_a_result_is_sent_after_the_deed_to_the_session_that_asked(room: Room) -> None:
    room.open()
    room.say({"command": "treat", "id": "t1", "session": "s1", "user_id": "u1", "role": "owner"})
    assert room.got("command_result") == []
    assert room.treat_done is not None
    room.treat_done.set_exception(ContractError("EMPTY", "No treats are left."))
    room.hub.run()
    (result,) = room.got("command_result")
    assert (result["id"], result["session"], result["success"]) == ("t1", "s1", False)
    assert result["error"]["code"] == "EMPTY"


def test_a_repeated_id_after_a_reconnect_is_answered_and_not_carried_out_again(room: Room) -> None:
    room.open()
    room.motor(0.5, id=7)
    room.lose()
    room.hub.advance(1.0)
    room.open()
    room.motor(0.5, id=7, session="s2")
    assert room.driven == [(0.5, 0.5)]
    assert room.got("command_result")[0]["success"] is True


def test_a_viewer_may_stop_and_not_drive(room: Room) -> None:
    room.open()
    room.motor(0.5, id=1, role="viewer")
    room.say({"command": "stop", "id": 2, "session": "s1", "user_id": "u1", "role": "viewer"})
    refused, stopped = room.got("command_result")
    assert refused["error"]["code"] == "NOT_AUTHORIZED"
    assert stopped["success"] is True
    assert room.driven == []


@pytest.mark.parametrize(
    "frame",
    [
        "no json",
        "[1, 2]",
        "7",
        '{"command": "motor", "left": NaN, "right": 0}',
        '{"command": 5}',
        '{"type": "no_such_type"}',
        '{"type": {"a": 1}}',
        '{"type": "event_ack", "ids": 5}',
        '{"type": "webrtc_answer"}',
        '{"command": "motor", "left": 0.5, "right": 0.5, "role": "king"}',
        '{"command": "motor", "left": 0.5, "right": 0.5, "device_id": "another"}',
    ],
)
def test_nonsense_harms_nobody(room: Room, frame: str) -> None:
    room.open()
    room.say(frame)
    assert room.driven == []
    room.motor(0.25)
    assert room.driven == [(0.25, 0.25)]


# -- stop means stop ----------------------------------------------------------------------------


def test_motors_stop_when_the_link_is_lost(room: Room) -> None:
    room.open()
    room.motor(0.5)
    room.lose()
    assert [origin.session for origin in room.gone] == ["s1"]


def test_motors_stop_when_the_apps_session_ends(room: Room) -> None:
    room.open()
    room.motor(0.5)
    room.say({"type": "session_ended", "session": "another"})
    assert room.gone == []
    room.say({"type": "session_ended", "session": "s1"})
    assert [origin.session for origin in room.gone] == ["s1"]


def test_motors_stop_when_the_user_is_gone(room: Room) -> None:
    room.open()
    room.motor(0.5)
    room.say({"type": "user_disconnected", "user_id": "u1"})
    assert [origin.user_id for origin in room.gone] == ["u1"]


def test_two_seconds_of_commands_that_a_stalled_link_delivers_at_once_move_nothing_stale(room: Room) -> None:
    room.open()
    room.motor(0.1, t=10_000.0)
    room.hub.advance(2.0)
    for step in range(40):  # 20 Hz, sent during the stall
        room.motor(0.9, t=10_050.0 + step * 50, id=f"m{step}")
    stale = [result for result in room.got("command_result") if not result["success"]]
    assert {result["error"]["code"] for result in stale} == {"STALE_COMMAND"}
    assert len(stale) >= 28
    assert len(room.driven) <= 12


def test_without_a_time_motion_is_dropped_while_a_ping_is_unanswered(room: Room) -> None:
    room.open()
    room.motor(0.1)
    room.hub.advance(0.35)
    assert room.wire.pings == 1
    room.hub.advance(1.0)
    room.motor(0.9, id=1)
    assert room.driven == [(0.1, 0.1)]
    assert room.got("command_result")[0]["error"]["code"] == "STALE_COMMAND"
    room.wire.listener.pong()
    room.motor(0.2)
    assert room.driven[-1] == (0.2, 0.2)


# -- video --------------------------------------------------------------------------------------


def test_signalling_goes_both_ways_with_user_and_role(room: Room) -> None:
    room.open()
    request = {"type": "webrtc_request", "session_id": "v1", "ice_servers": [], "user_id": "u1", "role": "driver"}
    room.say(request)
    room.say({"type": "webrtc_answer", "session_id": "v1", "sdp": {"type": "answer", "sdp": "v=0"}})
    origin = Origin("cloud", "v1", "u1", "driver")
    assert [(signal.frame["type"], signal.origin) for signal in room.signals] == [
        ("webrtc_request", origin),
        ("webrtc_answer", origin),
    ]
    offer = {"type": "webrtc_offer", "session_id": "v1", "sdp": {"type": "offer", "sdp": "v=0"}}
    room.webrtc.publish(SIGNAL_OUT, SignalOut(offer, origin))
    room.webrtc.publish(SIGNAL_OUT, SignalOut(offer, Origin("lan", "v2")))
    room.hub.run()
    assert room.got("webrtc_offer") == [offer]


def test_a_request_that_is_refused_is_told_to_the_relay(room: Room) -> None:
    room.open()
    room.signal_error = ContractError("VIEWER_LIMIT", "Two are watching already.")
    room.say({"type": "webrtc_request", "session_id": "v1", "ice_servers": {"iceServers": []}})
    (error,) = room.got("webrtc_error")
    assert (error["session_id"], error["code"]) == ("v1", "VIEWER_LIMIT")


def test_a_stranger_to_a_video_session_is_no_driver_there(room: Room) -> None:
    room.open()
    room.say({"type": "webrtc_ice", "session_id": "v9", "candidate": None})
    assert room.signals[0].origin.role == "viewer"


def test_what_an_account_has_in_a_lost_role_ends(room: Room) -> None:
    room.open()
    room.motor(0.5)
    for session_id, user_id, role in (("v1", "u1", "driver"), ("v2", "u1", "viewer"), ("v3", "u2", "driver")):
        about = {"session_id": session_id, "user_id": user_id, "role": role}
        room.say({"type": "webrtc_request", "ice_servers": [], **about})
    room.say({"type": "access_changed", "user_id": "u1", "role": "viewer"})
    assert [frame["session_id"] for frame in room.got("webrtc_close")] == ["v1"]
    assert [signal.frame["session_id"] for signal in room.signals if signal.frame["type"] == "webrtc_close"] == ["v1"]
    room.say({"type": "access_changed", "user_id": "u1"})
    assert [frame["session_id"] for frame in room.got("webrtc_close")] == ["v1", "v2"]


def test_apps_are_told_when_the_robots_video_has_restarted(room: Room) -> None:
    room.open()
    for session_id in ("v1", "v2"):
        room.say({"type": "webrtc_request", "session_id": session_id, "ice_servers": []})
    room.say({"type": "webrtc_close", "session_id": "v2"})
    for _ in range(2):
        room.webrtc.publish(HEARTBEATS["webrtc"], Heartbeat(7, 1.0, 0.0))
        room.hub.run()
    assert room.got("webrtc_close") == []
    restarted = room.hub.bus("webrtc")
    restarted.publish(HEARTBEATS["webrtc"], Heartbeat(8, 0.0, 0.0))
    room.hub.run()
    assert [frame["session_id"] for frame in room.got("webrtc_close")] == ["v1"]


# -- events -------------------------------------------------------------------------------------


def test_events_wait_for_the_link_and_are_sent_in_order_with_id_and_device(room: Room) -> None:
    room.treat(3)
    room.treat(2)
    room.open()
    room.hub.run()
    assert room.treats() == [3, 2]
    assert room.got("treat")[0]["device_id"] == "wimz_1"
    room.treat(1)
    assert room.treats() == [3, 2, 1]


def test_acknowledged_events_are_forgotten_and_the_others_sent_again_after_a_loss(room: Room) -> None:
    room.open()
    for remaining in (3, 2, 1):
        room.treat(remaining)
    room.say({"type": "event_ack", "ids": [room.got("treat")[0]["id"]]})
    room.lose()
    room.treat(0)
    room.hub.advance(1.0)
    room.open()
    room.hub.run()
    assert room.treats() == [2, 1, 0]
    room.say({"type": "event_ack", "ids": [frame["id"] for frame in room.got("treat")]})
    assert len(room.outbox) == 0


def test_events_outlive_the_process(room: Room) -> None:
    room.treat(2)
    room.hub.kill("cloudlink")
    room.start()
    room.open()
    room.hub.run()
    assert room.treats() == [2]


def test_status_is_sent_every_five_seconds_and_never_stored(room: Room) -> None:
    room.hub.bus("monitor").publish(TELEMETRY, Telemetry(temperature=50.0, treats_remaining=4, uptime_seconds=9))
    room.hub.run()
    room.open()
    (status,) = room.got("status")
    assert status["data"]["treats_remaining"] == 4
    assert "id" not in status
    assert len(room.outbox) == 0


# -- pairing ------------------------------------------------------------------------------------


def test_the_pairing_code_is_shown_until_it_is_used_or_over(room: Room) -> None:
    room.open()
    room.say({"type": "pairing_code", "code": "ABCD2345", "expires_in_s": 600})
    shown = room.link()
    assert shown.paired is False
    assert shown.code is not None
    assert shown.code.code == "ABCD2345"
    room.say({"type": "paired", "paired": True})
    assert (room.link().paired, room.link().code) == (True, None)


def test_a_code_that_is_over_is_not_shown(room: Room) -> None:
    room.open()
    room.say({"type": "pairing_code", "code": "ABCD2345", "expires_in_s": 1})
    room.hub.advance(2.0)
    assert room.link().code is None


def test_a_fresh_code_is_asked_for_on_request(room: Room) -> None:
    refused = room.app.request(PAIRING_CODE, Nothing())
    room.hub.run()
    assert isinstance(refused.exception(), ContractError)
    room.open()
    room.app.request(PAIRING_CODE, Nothing())
    room.hub.run()
    assert len(room.got("get_pairing_code")) == 1


def test_it_says_goodbye(room: Room) -> None:
    wire = room.open()
    room.service.close()
    assert wire.sent[-1]["type"] == "robot_disconnecting"
    assert wire.closed
