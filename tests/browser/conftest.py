"""A real Chromium, and a relay with a robot behind it that play their parts for the web client."""

from __future__ import annotations

import asyncio
import fractions
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription, VideoStreamTrack
from av import VideoFrame
from flask import Flask, Response, request, send_from_directory
from flask_sock import Sock
from playwright.sync_api import Browser, Page, expect, sync_playwright
from simple_websocket import ConnectionClosed, Server
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.browser.steps import DEVICE, EMAIL, OFFLINE_DEVICE, PASSWORD, TOKEN

WEB = Path(__file__).parents[2] / "web"
expect.set_options(timeout=20_000)  # two slow cores
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


class _Quiet(WSGIRequestHandler):
    """No line per request."""

    def log(self, type: str, message: str, *args: Any) -> None:
        pass


class Drawing(VideoStreamTrack):
    """15 frames a second whose brightness walks up and down."""

    async def recv(self) -> VideoFrame:
        self.number = getattr(self, "number", -1) + 1
        await asyncio.sleep(1 / 15)
        level = abs((self.number * 6) % 400 - 200) + 20
        frame = VideoFrame.from_ndarray(np.full((180, 320, 3), level, dtype=np.uint8), format="rgb24")
        frame.pts = self.number * 6000
        frame.time_base = fractions.Fraction(1, 90_000)
        return frame


class FakeRobot:
    """Offers video and the two data channels, records what comes over "control", and answers it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.sessions: dict[str, RTCPeerConnection] = {}
        self.control: list[tuple[float, dict[str, Any]]] = []
        self.answering = True
        self.silent = False
        self.refusal: dict[str, Any] | None = None
        self.treats = 12
        self.emergency_stop: bool | None = None
        self.mode = {"mode": "idle", "reason": ""}
        self.missions: list[dict[str, Any]] = []

    def call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout=20)

    async def offer(self, session_id: str) -> dict[str, str]:
        pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.sessions[session_id] = pc
        self._serve_control(pc.createDataChannel("control", ordered=False, maxRetransmits=0))
        self._serve_events(pc.createDataChannel("events"))
        pc.addTransceiver(Drawing(), direction="sendonly")
        await pc.setLocalDescription(await pc.createOffer())
        return {"type": "offer", "sdp": pc.localDescription.sdp}

    async def answer(self, session_id: str, sdp: dict[str, str]) -> None:
        await self.sessions[session_id].setRemoteDescription(RTCSessionDescription(sdp["sdp"], sdp["type"]))

    async def close(self, session_id: str) -> None:
        if session_id in self.sessions:
            await self.sessions.pop(session_id).close()

    def _serve_control(self, channel: RTCDataChannel) -> None:
        def on_message(text: str) -> None:
            message = json.loads(text)
            self.control.append((time.monotonic(), message))
            if "id" in message and self.answering and not self.silent:
                channel.send(json.dumps(self.result(message)))

        channel.on("message", on_message)

    def _serve_events(self, channel: RTCDataChannel) -> None:
        def on_message(text: str) -> None:
            message = json.loads(text)
            if message["type"] == "ping" and not self.silent:
                channel.send(json.dumps({"type": "pong", "t": message["t"]}))

        channel.on("message", on_message)

    def result(self, message: dict[str, Any]) -> dict[str, Any]:
        """What a robot answers to a command with an id."""
        reply = {"type": "command_result", "id": message["id"], "command": message["command"], "success": True}
        if self.refusal is not None:
            return reply | {"success": False, "error": self.refusal}
        if message["command"] == "treat":
            self.treats -= 1
            return reply | {"data": {"remaining": self.treats, "confirmed": True}}
        if message["command"] == "get_status":
            status = {"battery": 78.4, "temperature": 41.6, "mode": "idle", "treats_remaining": self.treats}
            return reply | {"data": status | {"is_charging": False, "emergency_stop": self.emergency_stop}}
        if message["command"] == "mode_get":
            return reply | {"data": self.mode}
        if message["command"] == "mission_list":
            return reply | {"data": {"missions": self.missions}}
        return reply

    def stop(self) -> None:
        for session_id in list(self.sessions):
            self.call(self.close(session_id))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(timeout=10)


class FakeRelay:
    """The relay's API and socket (or, with `served_by="robot"`, the robot's own) for one account and two robots."""

    def __init__(self, served_by: str) -> None:
        self.served_by = served_by
        self.robot = FakeRobot()
        self.received: list[tuple[float, dict[str, Any]]] = []
        self.sockets: set[Server] = set()
        self.connections = 0
        self.accepting = True
        self.history: list[dict[str, Any]] = []
        self.names = {DEVICE: "Biscuit", OFFLINE_DEVICE: "Patch"}
        self.role = "owner"
        self.owned = True
        self.failing: dict[str, Any] | None = None  # what every catch-up is refused with
        app = Flask("fake_relay", static_folder=None)
        app.config["SOCK_SERVER_OPTIONS"] = {"max_message_size": 65_536}
        self._add_pages(app)
        self._add_api(app)
        Sock(app).route("/ws")(self._serve_socket)
        self.server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
        self.server.daemon_threads = True  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def _add_pages(self, app: Flask) -> None:
        @app.after_request
        def strict(response: Response) -> Response:
            response.headers["Content-Security-Policy"] = CSP
            response.headers["X-Content-Type-Options"] = "nosniff"
            response.headers["Cache-Control"] = "no-cache"
            return response

        app.add_url_rule("/", view_func=lambda: send_from_directory(WEB, "index.html"), endpoint="index")
        app.add_url_rule("/<path:name>", view_func=lambda name: send_from_directory(WEB, name), endpoint="file")
        app.add_url_rule("/client-config.json", view_func=lambda: {"served_by": self.served_by}, endpoint="config")

    def _add_api(self, app: Flask) -> None:
        def refuse(code: str, status: int) -> tuple[dict[str, Any], int]:
            return {"success": False, "error": {"code": code, "message": f"Refused: {code}."}}, status

        def login() -> Any:
            body = request.get_json()
            if (body["email"], body["password"]) != (EMAIL, PASSWORD):
                return refuse("AUTH_FAILED", 401)
            return {"token": TOKEN, "expires_in": 3600, "user_id": "u_1"}

        def devices() -> Any:
            if request.headers.get("Authorization") != f"Bearer {TOKEN}":
                return refuse("AUTH_FAILED", 401)
            return {
                "devices": [
                    {"device_id": device_id, "name": name, "is_online": device_id == DEVICE, "role": self.role}
                    for device_id, name in self.names.items()
                    if self.owned or device_id != DEVICE
                ]
            }

        def telemetry() -> Any:
            if request.cookies.get("wimz_session") != "open":
                return refuse("AUTH_FAILED", 401)
            return {"battery": 78.4, "temperature": None, "treats_remaining": 12, "wifi_strength": -58}

        def pairing() -> Any:
            shown = (None, None) if self.owned else ("ABCD2345", 540)
            return {"paired": self.owned, "code": shown[0], "expires_in_s": shown[1], "relay": "connected"}

        def session() -> Any:
            if request.get_json()["token"] != TOKEN:
                return refuse("AUTH_FAILED", 401)
            return {"success": True}, 200, {"Set-Cookie": "wimz_session=open; HttpOnly; SameSite=Strict; Path=/"}

        app.add_url_rule("/api/auth/login", view_func=login, methods=["POST"])
        app.add_url_rule("/api/device/list", view_func=devices)
        for path in ("/api/device/pair", "/api/device/join"):
            app.add_url_rule(path, view_func=lambda: refuse("NOT_FOUND", 404), methods=["POST"], endpoint=path)
        app.add_url_rule(
            "/api/events", view_func=lambda: {"events": self.history, "next_after": None}, endpoint="events"
        )
        app.add_url_rule("/telemetry", view_func=telemetry)
        app.add_url_rule("/pairing", view_func=pairing)
        app.add_url_rule("/session", view_func=session, methods=["POST"])

    def _serve_socket(self, ws: Server) -> None:
        if not self.accepting:
            ws.close(1012)
        if self.served_by == "relay":
            frame = json.loads(ws.receive())
            if frame != {"type": "auth", "token": TOKEN}:
                ws.close(4001, "AUTH_FAILED")
            ws.send(json.dumps({"type": "auth_result", "success": True, "user_id": "u_1"}))
            for device_id in (DEVICE, OFFLINE_DEVICE):
                ws.send(json.dumps(self.presence(device_id, device_id == DEVICE)))
        self.connections += 1
        self.sockets.add(ws)
        try:
            while True:
                self._handle(ws, json.loads(ws.receive()))
        finally:
            self.sockets.discard(ws)

    def presence(self, device_id: str, online: bool) -> dict[str, Any]:
        data = {"device_id": device_id, "is_online": online}
        return {"event": "device_status", "data": data, "role": self.role, "timestamp": None}

    def _handle(self, ws: Server, message: dict[str, Any]) -> None:
        self.received.append((time.monotonic(), message))
        kind = message.get("type")
        if kind == "ping":
            ws.send('{"type":"pong"}')
        elif kind == "catch_up" and self.failing is not None:
            ws.send(json.dumps({"type": "error", "device_id": message["device_id"], **self.failing}))
        elif kind == "catch_up":
            missed = [event for event in self.history if event["seq"] > message["after"]]
            after = max([message["after"], *(event["seq"] for event in missed)])
            page = {"after": message["after"], "events": missed, "next_after": after, "more": False}
            ws.send(json.dumps({"type": "caught_up", "device_id": message["device_id"], **page}))
        elif kind == "webrtc_request":
            self._offer(ws, message)
        elif kind == "webrtc_answer":
            self.robot.call(self.robot.answer(message["session_id"], message["sdp"]))
        elif kind == "webrtc_close":
            self.robot.call(self.robot.close(message["session_id"]))
        elif "command" in message and message.get("device_id") == OFFLINE_DEVICE:
            ws.send(json.dumps({"type": "error", "code": "DEVICE_OFFLINE", "message": "…", "id": message.get("id")}))
        elif "id" in message and self.robot.answering:
            ws.send(json.dumps(self.robot.result(message)))

    def _offer(self, ws: Server, message: dict[str, Any]) -> None:
        if message.get("device_id", DEVICE) != DEVICE:
            ws.send(json.dumps({"type": "error", "code": "DEVICE_OFFLINE", "message": "The robot is offline."}))
            return
        session_id = uuid.uuid4().hex
        servers = {"type": "webrtc_credentials", "session_id": session_id, "ice_servers": {"iceServers": []}}
        ws.send(json.dumps(servers))
        sdp = self.robot.call(self.robot.offer(session_id))
        ws.send(json.dumps({"type": "webrtc_offer", "session_id": session_id, "sdp": sdp}))

    def send(self, message: dict[str, Any]) -> None:
        """Send to every app there is; the page may show before its socket is signed in, so the first is waited for."""
        self.wait(lambda: self.sockets)
        for ws in list(self.sockets):
            ws.send(json.dumps(message))

    def wait(self, condition: Callable[[], Any]) -> None:
        """Until something holds that no page has to go on for."""
        deadline = time.monotonic() + 20.0
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true in time"
            time.sleep(0.01)

    def drop_sockets(self, code: int = 1012) -> None:
        """Close every app's socket, as a restarting worker does."""
        for ws in list(self.sockets):
            try:
                ws.close(code)
            except ConnectionClosed:
                self.sockets.discard(ws)

    def commands(self, name: str) -> list[tuple[float, dict[str, Any]]]:
        """Commands of that name that came over the socket, with their arrival."""
        return [entry for entry in list(self.received) if entry[1].get("command") == name]

    def over_control(self, name: str) -> list[tuple[float, dict[str, Any]]]:
        """Commands of that name that came over the data channel, with their arrival."""
        return [entry for entry in list(self.robot.control) if entry[1].get("command") == name]

    def shut(self) -> None:
        """Nobody answers any more."""
        self.drop_sockets(1000)
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(timeout=10)

    def stop(self) -> None:
        if self.thread.is_alive():
            self.shut()
        self.robot.stop()


@pytest.fixture
def relay() -> Iterator[FakeRelay]:
    server = FakeRelay("relay")
    yield server
    server.stop()


@pytest.fixture
def lan_robot() -> Iterator[FakeRelay]:
    server = FakeRelay("robot")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A phone. Errors and refusals of the content security policy on the page fail the test."""
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, service_workers="block")
    context.set_default_timeout(20_000)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda line: problems.append(line.text) if "Content Security Policy" in line.text else None)
    yield page
    context.close()
    assert problems == []


@pytest.fixture
def eventually(page: Page) -> Callable[[Callable[[], Any]], Any]:
    """Wait until a condition holds, and return its value; the page goes on meanwhile."""

    def wait(condition: Callable[[], Any], within_s: float = 20.0) -> Any:
        deadline = time.monotonic() + within_s
        while not (value := condition()):
            assert time.monotonic() < deadline, "the condition did not come true in time"
            page.wait_for_timeout(25)
        return value

    return wait
