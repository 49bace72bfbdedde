"""Ways to drive a robot, and lines that can be cut, held and let go: for drills and benchmarks of motion."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from aiortc import RTCPeerConnection, RTCSessionDescription
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from bench.demo_driver import free_port, until
from contract.rest import LoginReply
from contract.validate import decode

T = TypeVar("T")

SEND_S = 0.05
"""Drivers repeat at 20 Hz (contract)."""
OPEN_S = 15.0
LONGEST_PONG = 32
"""A WebSocket client's answer to a ping is shorter, and every command longer."""
RESET_AT_CLOSE = struct.pack("ii", 1, 0)


def is_command(data: bytes) -> bool:
    """Whether bytes on their way to the robot are one: neither a handshake nor what keeps a connection alive."""
    return len(data) > LONGEST_PONG and not data.startswith(b"GET ")


class Loop:
    """An asyncio loop in a thread of its own, for proxies and peers."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="links", daemon=True)
        self._thread.start()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(OPEN_S)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(OPEN_S)


class _End(asyncio.Protocol):
    """One end of a connection through a proxy."""

    def __init__(self, proxy: Proxy, towards_robot: bool) -> None:
        self._proxy = proxy
        self._towards_robot = towards_robot
        self._early: list[bytes] = []
        self.transport: Any = None
        self.other: _End | None = None

    def connection_made(self, transport: Any) -> None:
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.transport = transport
        if self._proxy.held:
            transport.pause_reading()
        self._proxy.ends.add(self)

    def data_received(self, data: bytes) -> None:
        if self.other is None or self.other.transport is None:
            self._early.append(data)
            return
        self.other.transport.write(data)
        if self._towards_robot:
            self._proxy.on_delivered(data)

    def join(self, other: _End) -> None:
        self.other, other.other = other, self
        for data in self._early:
            self.data_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._proxy.ends.discard(self)
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


class Proxy:
    """A TCP line of which everything is known: it can be cut, held, and let go.

    Args:
        port: where it leads to.
        robot_listens: the robot is who is connected to; else it is the robot who connects.
        counts: what of the bytes on their way to the robot is a command.

    Attributes:
        delivered_s: CLOCK_MONOTONIC when the last command was given to the robot's socket.
        opened_s: when the last connection was made through it.
    """

    def __init__(
        self,
        loop: Loop,
        port: int,
        *,
        robot_listens: bool = True,
        counts: Callable[[bytes], bool] = is_command,
    ) -> None:
        self.port = free_port()
        self.delivered_s = self.opened_s = 0.0
        self.held = False
        self.ends: set[_End] = set()
        self._loop, self._target, self._robot_listens = loop, port, robot_listens
        self._counts = counts
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = loop.do(self._listen())

    def on_delivered(self, data: bytes) -> None:
        if self._counts(data):
            self.delivered_s = time.monotonic()

    async def _listen(self) -> asyncio.Server:
        return await asyncio.get_running_loop().create_server(self._accept, "127.0.0.1", self.port)

    def _accept(self) -> _End:
        end = _End(self, towards_robot=self._robot_listens)
        task = asyncio.get_running_loop().create_task(self._connect(end))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return end

    async def _connect(self, end: _End) -> None:
        try:
            _, other = await asyncio.get_running_loop().create_connection(
                lambda: _End(self, towards_robot=not self._robot_listens), "127.0.0.1", self._target
            )
        except OSError:  # nobody is there: the caller is told so, as without a proxy
            end.transport.abort()
            return
        self.opened_s = time.monotonic()
        end.join(other)

    def hold(self) -> None:
        """Nothing goes through any more; what is sent waits."""
        self._loop.do(self._set_held(True))

    def release(self) -> None:
        """All that has waited goes through at once."""
        self._loop.do(self._set_held(False))

    async def _set_held(self, held: bool) -> None:
        self.held = held
        for end in list(self.ends):
            if held:
                end.transport.pause_reading()
            else:
                end.transport.resume_reading()

    def wait_for_burst(self, after_s: float, quiet_s: float, path: str) -> None:
        """Return when commands have been given to the robot after that instant, and no more for `quiet_s`."""

        def over() -> bool:
            return self.delivered_s > after_s and time.monotonic() - self.delivered_s > quiet_s

        until(over, OPEN_S, f"the burst by {path} over {len(self.ends) // 2} connections")

    def cut(self) -> float:
        """Reset every connection; new ones are taken. Returns when the robot had got its last bytes."""
        return self._loop.do(self._cut())

    async def _cut(self) -> float:
        for end in list(self.ends):
            end.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
            end.transport.abort()
        return self.delivered_s

    def close(self) -> None:
        self._server.close()
        self.cut()


class Driver(Protocol):
    """Someone who can send a motor command by one path."""

    def open(self) -> None:
        """Raises OSError, WebSocketException, TimeoutError or HTTPException where it cannot be."""

    def send(self, left: float, right: float) -> None:
        """Raises the same."""

    def close(self) -> None: ...


TROUBLE = (OSError, WebSocketException, TimeoutError, http.client.HTTPException, ValueError)


def motor(left: float, right: float) -> str:
    """A command with the sender's clock, as the web client sends it."""
    return json.dumps({"command": "motor", "left": left, "right": right, "t": time.monotonic() * 1000})


class SocketDriver:
    """Over a WebSocket: the robot's `/ws`, or the relay's `/ws/app` with a token."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"} if token else None
        self.socket: ClientConnection | None = None
        self._open = contextlib.ExitStack()
        self.frames: list[dict[str, Any]] = []

    def open(self) -> None:
        self.close()
        self.frames.clear()
        self.socket = self._open.enter_context(
            connect(
                self._url,
                additional_headers=self._headers,
                compression=None,
                ping_interval=None,
                close_timeout=0.5,
                proxy=None,
            )
        )
        threading.Thread(target=self._listen, args=(self.socket,), daemon=True).start()
        until(lambda: any(frame.get("type") == "auth_result" for frame in list(self.frames)), OPEN_S, "auth_result")

    def _listen(self, opened: ClientConnection) -> None:
        with contextlib.suppress(WebSocketException, OSError):
            for text in opened:
                self.frames.append(json.loads(text))
                del self.frames[:-500]

    def send(self, left: float, right: float) -> None:
        self.say(motor(left, right))

    def say(self, text: str) -> None:
        if self.socket is None:
            raise ConnectionError("not open")
        self.socket.send(text)

    def reset(self) -> None:
        """Gone without a word: the connection is reset."""
        assert self.socket is not None
        self.socket.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        self.socket.socket.shutdown(socket.SHUT_RD)  # wakes its reading thread, so that closing is closing
        self.socket.socket.close()
        self.socket = None
        self._open.pop_all()  # it is closed as far as it will be

    def close(self) -> None:
        self.socket = None
        with contextlib.suppress(WebSocketException, OSError):
            self._open.close()


class RestDriver:
    """`POST /motor/speed` over one kept connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=OPEN_S)

    def open(self) -> None:
        self._connection.close()
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, left: float, right: float) -> None:
        self.post("/motor/speed", {"left": left, "right": right})

    def post(self, path: str, body: dict[str, Any] | None = None) -> int:
        self._connection.request("POST", path, json.dumps(body or {}), {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        answer.read()
        return answer.status

    def close(self) -> None:
        self._connection.close()


def rest_burst(port: int, left: float, right: float) -> socket.socket:
    """A kept connection that has one such command on its way."""
    body = json.dumps({"left": left, "right": right})
    head = f"POST /motor/speed HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    opened = socket.create_connection(("127.0.0.1", port), OPEN_S)
    opened.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
    return opened


class ChannelDriver:
    """Over the `control` data channel of a real WebRTC peer, whose signalling goes over the robot's `/ws`."""

    def __init__(self, loop: Loop, url: str) -> None:
        self._loop = loop
        self._signalling = SocketDriver(url)
        self._peer: RTCPeerConnection | None = None
        self.channels: dict[str, Any] = {}
        self.answers: list[dict[str, Any]] = []

    def open(self) -> None:
        self.close()
        self._signalling.open()
        self._signalling.say('{"type": "webrtc_request"}')
        offer = until(lambda: self._frame("webrtc_offer"), OPEN_S, "webrtc_offer")
        answer = self._loop.do(self._answer(offer["sdp"]["sdp"]))
        sdp = {"type": "answer", "sdp": answer}
        self._signalling.say(json.dumps({"type": "webrtc_answer", "session_id": offer["session_id"], "sdp": sdp}))
        until(lambda: len(self.channels) == 2, OPEN_S, "both data channels")

    def _frame(self, kind: str) -> dict[str, Any] | None:
        return next((frame for frame in list(self._signalling.frames) if frame.get("type") == kind), None)

    async def _answer(self, offer: str) -> str:
        self.channels.clear()
        self._peer = RTCPeerConnection()
        self._peer.on("datachannel", self._on_channel)
        await self._peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await self._peer.setLocalDescription(await self._peer.createAnswer())
        return str(self._peer.localDescription.sdp)

    def _on_channel(self, channel: Any) -> None:
        channel.on("message", lambda message: self.answers.append(json.loads(message)))
        self.channels[channel.label] = channel

    def send(self, left: float, right: float) -> None:
        self.say(motor(left, right))

    def say(self, text: str, label: str = "control") -> float:
        """Returns CLOCK_MONOTONIC just before it went out."""
        return self._loop.do(self._say(text, label))

    async def _say(self, text: str, label: str) -> float:
        channel = self.channels.get(label)
        if channel is None or channel.readyState != "open":
            raise ConnectionError("the data channel is not open")
        at_s = time.monotonic()
        channel.send(text)
        return at_s

    def close_channel(self) -> None:
        """Close the channel; the connection stays."""
        self._loop.do(self._close_channel())

    async def _close_channel(self) -> None:
        self.channels["control"].close()

    def hang_up(self) -> None:
        """Close the connection."""
        self._loop.do(self._hang_up())

    async def _hang_up(self) -> None:
        peer, self._peer = self._peer, None
        if peer is not None:
            await peer.close()

    def close(self) -> None:
        self.hang_up()
        self.channels.clear()
        self._signalling.close()


class Hand:
    """Holds the stick fully forward by 20 commands a second, and opens its path again whenever it breaks.

    Attributes:
        sent_s: just before the last command was sent: the robot cannot have got it earlier.
        trouble: what went wrong last.
    """

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.sent_s = 0.0
        self.trouble = ""
        self._pressed = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._over = False
        self._open = False
        self._thread = threading.Thread(target=self._run, name="hand", daemon=True)
        self._thread.start()

    def press(self) -> None:
        self._idle.clear()
        self._pressed.set()

    def let_go(self) -> float:
        """Send nothing more; when the last one went out."""
        self._pressed.clear()
        self._idle.wait(OPEN_S)
        return self.sent_s

    def lost(self) -> None:
        """The path is known to be broken: it is opened anew at the next press."""
        self._open = False

    def close(self) -> None:
        self._over = True
        self._pressed.set()
        self._thread.join(OPEN_S)
        self.driver.close()

    def _run(self) -> None:
        while not self._over:
            if not self._pressed.is_set():
                self._idle.set()
                self._pressed.wait()
                continue
            begun_s = time.monotonic()
            try:
                if not self._open:
                    self.driver.open()
                    self._open = True
                if self._pressed.is_set():
                    self.sent_s = time.monotonic()
                    self.driver.send(1.0, 1.0)
            except TROUBLE as error:
                self._open = False
                self.trouble = repr(error)
            time.sleep(max(0.0, SEND_S - (time.monotonic() - begun_s)))
        self._idle.set()


def sign_in(relay_port: int, email: str, password: str) -> str:
    """A token of the relay."""
    connection = http.client.HTTPConnection("127.0.0.1", relay_port, timeout=OPEN_S)
    body = json.dumps({"email": email, "password": password})
    connection.request("POST", "/api/auth/login", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    token = decode(LoginReply, answer.read()).token
    connection.close()
    return token
