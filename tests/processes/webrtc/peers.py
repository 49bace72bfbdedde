"""A robot on the in-memory bus, whose camera films the drawn room, with a stub of motion; and viewers that are real
WebRTC peers."""

from __future__ import annotations

import asyncio
import functools
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiortc import RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from msgspec import Struct

from bus.bell import Bell
from bus.frames import FrameWriter
from bus.memory import MemoryHub
from bus.messages import Origin, RobotEvent, SessionEnd, Signal, SignalOut, VideoState
from bus.topics import COMMAND_TOPICS, DRIVER_GONE, EVENTS, SIGNAL, SIGNAL_OUT, VIDEO_STATE
from contract.commands import Driven, Motor
from processes.camera import barcode
from processes.camera.scene import Scene
from processes.webrtc.config import VideoConfig, WebrtcConfig
from processes.webrtc.service import WebrtcService

PATIENCE_S = 30.0
"""For what has to happen at some time; the machine may be slow."""
WIDTH, HEIGHT, FPS = 640, 360, 30.0
APP = Origin("lan", "socket-1", "user-1", "owner")


async def until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"still waiting for: {what}"
        await asyncio.sleep(0.01)


class Robot:
    """`async with` it."""

    def __init__(self, run_dir: Path, config: WebrtcConfig) -> None:
        self.hub = MemoryHub()
        self.bus = self.hub.bus("webrtc")
        self.camera = self.hub.bus("camera")
        self.app = self.hub.bus("local_api")
        self.motion = self.hub.bus("motion")
        self.driven: list[tuple[Motor, Origin | None]] = []
        self.gone: list[Origin] = []
        self.signals: list[SignalOut] = []
        self.states: list[VideoState] = []
        self.camera_on = True
        self._run_dir, self._config = run_dir, config
        self._scene = Scene(WIDTH, HEIGHT)
        self._writer = FrameWriter(run_dir, "main", WIDTH, HEIGHT)
        self._bell = Bell(run_dir)

    async def __aenter__(self) -> Robot:
        self.service = WebrtcService(self.bus, self._config, self._run_dir)
        self.motion.serve(COMMAND_TOPICS["motor"], self._drive)
        self.motion.serve(DRIVER_GONE, lambda request: self._driver_gone(request.body))
        self.app.subscribe(SIGNAL_OUT, lambda message: self.signals.append(message.value))
        self.app.subscribe(VIDEO_STATE, lambda message: self.states.append(message.value))
        self._pumps = [asyncio.create_task(self._pump_bus()), asyncio.create_task(self._film())]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.service.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def _drive(self, request: Any) -> Struct:
        self.driven.append((request.body, request.origin))
        return Driven(request.body.left, request.body.right)

    def _driver_gone(self, end: SessionEnd) -> None:
        self.gone.append(end.origin)

    async def _pump_bus(self) -> None:
        while True:
            self.hub.advance(0.005)
            await asyncio.sleep(0.005)

    async def _film(self) -> None:
        while True:
            if self.camera_on:
                picture = self._scene.draw(self._writer.next_number, int(time.time() * 1000))
                self._writer.write(picture, time.monotonic_ns())
                self._bell.ring()
            await asyncio.sleep(1 / FPS)

    async def ask(self, frame: dict[str, Any], origin: Origin = APP) -> Any:
        """Send a signalling frame; raises what the robot refuses it with."""
        return await asyncio.to_thread(self.app.request(SIGNAL, Signal(frame, origin)).result)

    def frames_to(self, session: str, type_: str) -> list[dict[str, Any]]:
        frames = [signal.frame for signal in self.signals]
        return [frame for frame in frames if frame["session_id"] == session and frame["type"] == type_]

    def publish_event(self, event: RobotEvent) -> None:
        self.camera.publish(EVENTS["camera"], event)


class Viewer:
    """What a browser is to the robot."""

    def __init__(self, robot: Robot, session: str = "session-1", origin: Origin = APP) -> None:
        self.robot, self.session, self.origin = robot, session, origin
        self.peer = RTCPeerConnection()
        self.channels: dict[str, Any] = {}
        self.messages: dict[str, list[Any]] = {"control": [], "events": []}
        self.stamps: list[barcode.Stamp] = []
        self.sizes: set[tuple[int, int]] = set()
        self._watching: asyncio.Task[None] | None = None
        self.peer.on("track", self._on_track)
        self.peer.on("datachannel", self._on_channel)

    async def offer(self, **request: Any) -> str:
        """Ask to watch, and wait for the robot's offer."""
        before = len(self.robot.frames_to(self.session, "webrtc_offer"))
        frame = {"type": "webrtc_request", "session_id": self.session, "ice_servers": {"iceServers": []}}
        await self.robot.ask(frame | request, self.origin)
        await until(lambda: len(self.robot.frames_to(self.session, "webrtc_offer")) > before, "an offer")
        sdp: str = self.robot.frames_to(self.session, "webrtc_offer")[-1]["sdp"]["sdp"]
        return sdp

    async def make_answer(self, offer: str, codec: str | None = None) -> str:
        if codec is not None:
            capabilities = RTCRtpReceiver.getCapabilities("video")
            assert capabilities is not None
            chosen = [capability for capability in capabilities.codecs if capability.mimeType == f"video/{codec}"]
            self.peer.addTransceiver("video", direction="recvonly").setCodecPreferences(chosen)
        await self.peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await self.peer.setLocalDescription(await self.peer.createAnswer())
        return self.peer.localDescription.sdp

    async def send_answer(self, sdp: str) -> None:
        answer = {"type": "answer", "sdp": sdp}
        await self.robot.ask({"type": "webrtc_answer", "session_id": self.session, "sdp": answer}, self.origin)

    async def watch(self, codec: str | None = None, **request: Any) -> Viewer:
        """The whole way to a connection with both channels."""
        await self.send_answer(await self.make_answer(await self.offer(**request), codec))
        await until(lambda: len(self.channels) == 2, "both data channels")
        return self

    async def pictures(self, count: int) -> None:
        """Wait for so many more pictures with a readable stamp."""
        wanted = len(self.stamps) + count
        await until(lambda: len(self.stamps) >= wanted, f"{count} pictures")

    def send(self, channel: str, message: Any) -> None:
        self.channels[channel].send(message if isinstance(message, str | bytes) else json.dumps(message))

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
        await self.peer.close()

    def _on_channel(self, channel: Any) -> None:
        channel.on("message", lambda message: self.messages[channel.label].append(json.loads(message)))
        self.channels[channel.label] = channel

    def _on_track(self, track: Any) -> None:
        self._watching = asyncio.create_task(self._look(track))

    async def _look(self, track: Any) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            self.sizes.add((frame.width, frame.height))
            stamp = barcode.read(frame.to_ndarray()[: frame.height])
            if stamp is not None:
                self.stamps.append(stamp)


def on_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs a test on an event loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


@asynccontextmanager
async def a_robot(run_dir: Path, **settings: Any) -> AsyncIterator[Robot]:
    video = settings.pop("video", VideoConfig(width=WIDTH, height=HEIGHT, fps=FPS, bitrate_kbps=600))
    async with Robot(run_dir, WebrtcConfig(video=video, **settings)) as robot:
        yield robot


@asynccontextmanager
async def viewers(*given: Viewer) -> AsyncIterator[None]:
    """Closes them."""
    try:
        yield
    finally:
        await asyncio.gather(*[viewer.close() for viewer in given])
