"""`/ws`, as its clients see it."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from bus.events import robot_event
from bus.messages import Origin, SignalOut
from bus.topics import EVENTS, SIGNAL_OUT
from contract.errors import ContractError
from contract.models import TreatEvent
from tests.processes.local_api.conftest import WAIT_S, Robot, eventually


class App:
    """A client of `/ws`."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def say(self, frame: Any) -> None:
        self.connection.send(frame if isinstance(frame, str | bytes) else json.dumps(frame))

    def hear(self) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(self.connection.recv(WAIT_S))
        return frame

    def wait(self, kind: str) -> dict[str, Any]:
        """The next frame of a type, or event of a name."""
        while True:
            frame = self.hear()
            if kind in (frame.get("type"), frame.get("event")):
                return frame

    def ends(self) -> int:
        """Read to the end; the close code."""
        with pytest.raises(ConnectionClosed) as closed:
            self.read_all()
        assert closed.value.rcvd is not None
        return closed.value.rcvd.code

    def read_all(self) -> None:
        while True:
            self.connection.recv(WAIT_S)


@contextlib.contextmanager
def app_of(robot: Robot, host: str = "localhost", **headers: str) -> Iterator[App]:
    """A client on this machine; under another `host` name than localhost it has to prove itself."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sock = socket.create_connection(("127.0.0.1", robot.port))
    with connect(f"ws://{host}:{robot.port}/ws", sock=sock, additional_headers=named, max_size=None) as connection:
        yield App(connection)


def driven(robot: Robot, left: float, right: float) -> Origin:
    """Who drove like this; what other tests' clients did before is passed over."""
    while (command := robot.motor.get(timeout=WAIT_S))[:2] != (left, right):
        pass
    return command[2]


# -- getting in ---------------------------------------------------------------------------------


def test_this_machine_is_let_in_and_told_the_status(robot: Robot) -> None:
    with app_of(robot) as app:
        assert app.hear() == {"type": "auth_result", "success": True}
        status = app.hear()
        assert (status["event"], status["data"]["treats_remaining"]) == ("status", 5)
        assert status["device_id"] == "wimz_1"
        assert status["id"]


def test_the_token_may_come_in_the_header_or_the_first_frame(robot: Robot) -> None:
    with app_of(robot, "robot.local", Authorization=f"Bearer {robot.token}") as app:
        assert app.hear()["type"] == "auth_result"
    with app_of(robot, "robot.local") as app:
        app.say({"type": "auth", "token": robot.token})
        assert app.hear() == {"type": "auth_result", "success": True}
        assert app.hear()["event"] == "status"


@pytest.mark.parametrize(
    "first", [{"type": "auth", "token": "wrong"}, {"command": "motor", "left": 1, "right": 1}, "x"]
)
def test_whoever_does_not_prove_itself_is_told_why_and_closed(robot: Robot, first: Any) -> None:
    with app_of(robot, "robot.local") as app:
        app.say(first)
        assert app.hear()["code"] == "AUTH_FAILED"
        assert app.ends() == 4001
    assert robot.motor.empty()


def test_pages_of_other_sites_get_no_socket(robot: Robot) -> None:
    with pytest.raises(InvalidStatus) as refused, app_of(robot, Origin="http://evil.example"):
        pass
    assert refused.value.response.status_code == 403


def test_no_compression_is_agreed(robot: Robot) -> None:
    with app_of(robot) as app:
        assert app.connection.response is not None
        assert "Sec-WebSocket-Extensions" not in app.connection.response.headers


def test_plain_http_is_told_so(robot: Robot) -> None:
    assert robot.get("/ws").error == "INVALID_PARAMETER"
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
    assert robot.get("/ws", **upgrade).status == 400
    assert robot.get("/ws", **upgrade, Sec_WebSocket_Version="1", Sec_WebSocket_Key="x").status == 400


# -- commands -----------------------------------------------------------------------------------


def test_a_command_with_an_id_has_one_result_after_the_deed(robot: Robot) -> None:
    with app_of(robot) as app:
        app.say({"command": "treat", "id": 7})
        result = app.wait("command_result")
        assert (result["id"], result["success"], result["data"]["remaining"]) == (7, True, 4)
        app.say({"type": "command", "command": "motor", "data": {"left": 0.5, "right": 0.25}, "id": "m"})
        assert app.wait("command_result")["id"] == "m"
        assert driven(robot, 0.5, 0.25).source == "lan"


def test_motors_stop_when_the_socket_closes(robot: Robot) -> None:
    with app_of(robot) as app:
        app.say({"command": "motor", "left": 0.75, "right": -0.75, "id": 1})
        app.wait("command_result")
        origin = driven(robot, 0.75, -0.75)
    while robot.gone.get(timeout=WAIT_S).origin != origin:
        pass  # another test's client, whose end came late


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("no json", "INVALID_JSON"),
        ("[1]", "INVALID_PARAMETER"),
        ("7", "INVALID_PARAMETER"),
        ("null", "INVALID_PARAMETER"),
        (b"\x00\x01", "INVALID_PARAMETER"),
        ('{"type": "nothing"}', "INVALID_PARAMETER"),
        ('{"type": ["nothing"]}', "INVALID_PARAMETER"),
        ('{"command": "fly"}', "UNKNOWN_COMMAND"),
        ('{"command": "motor", "left": 7, "right": 0}', "INVALID_PARAMETER"),
        ('{"command": "motor", "left": NaN, "right": 0}', "INVALID_JSON"),
        ('{"command": "mode", "mode": "idle"}', "UNAVAILABLE"),
        ('{"type": "webrtc_answer", "session_id": "s", "sdp": {"type": "answer", "sdp": "v=0"}}', "NOT_FOUND"),
        ('{"type": "webrtc_answer"}', "INVALID_PARAMETER"),
    ],
)
def test_nonsense_is_answered_and_kills_nothing(robot: Robot, frame: str | bytes, code: str) -> None:
    with app_of(robot) as app:
        app.say(frame)
        assert app.wait("error")["code"] == code
        app.say({"type": "ping", "t": 5})
        assert app.wait("pong") == {"type": "pong", "t": 5.0}


def test_a_frame_that_is_too_large_closes_1009(robot: Robot) -> None:
    with app_of(robot) as app:
        app.say("x" * 70_000)
        assert app.ends() == 1009


def test_get_status_is_a_type_and_a_command(robot: Robot) -> None:
    with app_of(robot) as app:
        app.wait("status")
        app.say({"type": "get_status"})
        assert app.wait("status")["data"]["treats_remaining"] == 5
        app.say({"command": "get_status", "id": "g"})
        assert app.wait("command_result")["data"]["treats_remaining"] == 5


def test_every_client_hears_every_event(robot: Robot) -> None:
    with app_of(robot) as one, app_of(robot) as two, app_of(robot, "robot.local") as stranger:
        one.wait("auth_result")
        two.wait("auth_result")
        event = robot_event("treat", TreatEvent(dispensed=True, remaining=3), datetime.now(UTC))
        robot.dispenser.publish(EVENTS["dispenser"], event)
        heard = [app.wait("treat") for app in (one, two)]
        assert [frame["id"] for frame in heard] == [event.id, event.id]
        assert heard[0]["device_id"] == "wimz_1"
        stranger.say({"type": "nothing"})
        assert stranger.hear()["code"] == "AUTH_FAILED"  # and no event before it


# -- video --------------------------------------------------------------------------------------


def watch(robot: Robot, app: App) -> str:
    app.say({"type": "webrtc_request", "device_id": "wimz_1"})
    credentials = app.wait("webrtc_credentials")
    assert credentials["ice_servers"] == {"iceServers": []}
    session_id = str(credentials["session_id"])
    signal = robot.signals.get(timeout=WAIT_S)
    assert (signal.frame["type"], signal.frame["session_id"]) == ("webrtc_request", session_id)
    assert (signal.origin.source, signal.origin.session) == ("lan", session_id)
    return session_id


def test_signalling_belongs_to_the_socket_that_asked(robot: Robot) -> None:
    with app_of(robot) as app, app_of(robot) as other:
        session_id = watch(robot, app)
        offer = {"type": "webrtc_offer", "session_id": session_id, "sdp": {"type": "offer", "sdp": "v=0"}}
        robot.webrtc.publish(SIGNAL_OUT, SignalOut(offer, Origin("lan", session_id)))
        assert app.wait("webrtc_offer") == offer
        answer = {"type": "webrtc_answer", "session_id": session_id, "sdp": {"type": "answer", "sdp": "v=0"}}
        other.say(answer)
        assert other.wait("error")["session_id"] == session_id
        app.say(answer)
        assert robot.signals.get(timeout=WAIT_S).frame["type"] == "webrtc_answer"
    closed = robot.signals.get(timeout=WAIT_S)
    assert (closed.frame["type"], closed.frame["session_id"]) == ("webrtc_close", session_id)


def test_asking_again_ends_the_video_before(robot: Robot) -> None:
    with app_of(robot) as app:
        first = watch(robot, app)
        app.say({"type": "webrtc_request"})
        assert app.wait("webrtc_credentials")["session_id"] != first
        frames = [robot.signals.get(timeout=WAIT_S).frame for _ in range(2)]
        assert [frame["type"] for frame in frames] == ["webrtc_close", "webrtc_request"]
        assert frames[0]["session_id"] == first
    assert robot.signals.get(timeout=WAIT_S).frame["type"] == "webrtc_close"


def test_one_viewer_too_many_is_told(robot: Robot) -> None:
    robot.signal_error = ContractError("VIEWER_LIMIT", "Two are watching already.")
    try:
        with app_of(robot) as app:
            session_id = watch(robot, app)
            error = app.wait("error")
            assert (error["code"], error["session_id"]) == ("VIEWER_LIMIT", session_id)
    finally:
        robot.signal_error = None


# -- limits -------------------------------------------------------------------------------------


def send_for_ever(sock: socket.socket, data: bytes) -> None:
    while True:
        sock.sendall(data)


def test_a_client_that_stops_reading_is_cut_off_and_harms_nobody(robot: Robot) -> None:
    sock = socket.create_connection(("127.0.0.1", robot.port))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    head = f"GET /ws HTTP/1.1\r\nHost: localhost:{robot.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    sock.sendall(f"{head}Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
    assert sock.recv(12) == b"HTTP/1.1 101"
    text = b'{"command":"x"}'
    frame = b"\x81" + bytes([0x80 | len(text)]) + b"\0\0\0\0" + text
    sock.settimeout(WAIT_S)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        send_for_ever(sock, frame * 100)
    sock.close()
    with app_of(robot) as app:
        app.say({"type": "ping"})
        app.wait("pong")


def test_streams_and_sockets_are_bounded_and_stop_still_finds_a_thread(own_robot: Callable[..., Robot]) -> None:
    robot = own_robot(max_streams=3)
    with contextlib.ExitStack() as stack:
        apps = [stack.enter_context(app_of(robot)) for _ in range(3)]
        for app in apps:
            app.wait("auth_result")
        with pytest.raises(InvalidStatus) as refused, app_of(robot):
            pass
        assert refused.value.response.status_code == 503
        assert robot.get("/camera/stream").error == "UNAVAILABLE"
        assert robot.post("/motor/stop").status == 200
    eventually(lambda: can_connect(robot))


def can_connect(robot: Robot) -> bool:
    try:
        with app_of(robot):
            return True
    except InvalidStatus:
        return False


def test_silent_sockets_take_no_threads_from_stop(robot: Robot) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(contextlib.closing(socket.create_connection(("127.0.0.1", robot.port))))
        assert robot.post("/motor/stop").status == 200
