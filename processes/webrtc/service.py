"""Video on the bus: sessions by signalling, events to viewers, the encoders they share.

The bus's handlers run in the bus's thread and hand over to asyncio's loop, where everything else happens.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from bus.base import Bus
from bus.bell import follow
from bus.codec import Message, Request
from bus.errors import Unavailable
from bus.frames import Frame as Picture
from bus.frames import FrameReader
from bus.gateway import Gateway
from bus.messages import Origin, RobotEvent, Signal, SignalOut, VideoState
from bus.promise import Promise
from bus.runner import Context
from bus.topics import EVENTS, SIGNAL, SIGNAL_OUT, VIDEO_STATE
from contract.commands import Nothing
from contract.errors import ContractError
from contract.frames import Event, Frame, WebrtcAnswer, WebrtcClose, WebrtcError, WebrtcIce, WebrtcRequest
from contract.validate import convert, encode
from processes.webrtc.config import WebrtcConfig
from processes.webrtc.encoder import VideoEncoder
from processes.webrtc.session import Session

log = logging.getLogger(__name__)

SWEEP_S = 0.25
STATE_S = 1.0
GOODBYE_S = 0.5
"""How long stopping waits for motion to hear that its drivers are gone."""
CLOSE_S = 2.0
"""How long stopping waits for connections to be closed."""

SignalFrame = WebrtcRequest | WebrtcAnswer | WebrtcIce | WebrtcClose


class WebrtcService:
    """Make it on the event loop, before the bus's thread starts.

    Args:
        run_dir: where the ring of frames is.
    """

    def __init__(self, bus: Bus, config: WebrtcConfig, run_dir: Path) -> None:
        self.counters = bus.counters
        self.sessions: dict[str, Session] = {}
        self._bus, self._config = bus, config
        self._gateway = Gateway(bus)
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._encoders = {
            name: VideoEncoder(name, config.video, run_dir, self.post, bus.counters) for name in self.codecs()
        }
        bus.serve(SIGNAL, self._on_signal)
        follow(bus, FrameReader(run_dir, "main"), self._on_picture)
        for topic in EVENTS.values():
            bus.subscribe(topic, self._on_event)
        self._sweeper = self._loop.create_task(self._sweep())

    async def close(self) -> None:
        """End every session; motion hears of it before this returns."""
        self._sweeper.cancel()
        goodbyes = [
            self._end(session, "the robot's video stops", tell=True) for session in list(self.sessions.values())
        ]
        waiting = [self._loop.create_task(self._ended(goodbye)) for goodbye in goodbyes if goodbye is not None]
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=GOODBYE_S)
            for task in late:
                task.cancel()
            self.counters["webrtc.goodbyes_unheard"] += len(late)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_S)

    async def _ended(self, promise: Promise) -> None:
        ended = asyncio.Event()
        promise.add_done_callback(lambda _: self.post(ended.set))
        await ended.wait()

    # -- what sessions need (session.House) -------------------------------------------------------

    def now(self) -> float:
        return self._bus.now()

    def post(self, call: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop is closed: the process is stopping
            self.counters["webrtc.posted_too_late"] += 1

    def codecs(self) -> tuple[str, ...]:
        return ("H264", "VP8") if self._config.video.codec == "H264" else ("VP8", "H264")

    def encoder(self, codec: str) -> VideoEncoder:
        return self._encoders[codec]

    def send(self, frame: Frame, asker: Origin) -> None:
        self._bus.publish(SIGNAL_OUT, SignalOut(msgspec.to_builtins(frame), asker))

    def over(self, session: Session, reason: str) -> None:
        self._end(session, reason, tell=True)

    # -- in the bus's thread ----------------------------------------------------------------------

    def _on_signal(self, request: Request[Signal]) -> Future[Any]:
        frame: SignalFrame = convert(SignalFrame, request.body.frame)  # type: ignore[arg-type]
        done: Future[Any] = Future()
        self.post(lambda: self._spawn(self._signal(frame, request.body.origin, done)))
        return done

    def _on_picture(self, picture: Picture) -> None:
        for encoder in self._encoders.values():
            encoder.tick()

    def _on_event(self, message: Message[RobotEvent]) -> None:
        event = message.value
        self.post(lambda: self._tell_viewers(event))

    # -- signalling -------------------------------------------------------------------------------

    async def _signal(self, frame: SignalFrame, origin: Origin, done: Future[Any]) -> None:
        """Handle a frame; `done` ends with what its sender is told."""
        try:
            await self._dispatch(frame, origin)
        except ContractError as error:
            self.counters["webrtc.signals_refused"] += 1
            done.set_exception(error)
        except Exception:
            # One session's failure inside aiortc is not the others'.
            self.counters["webrtc.signal_errors"] += 1
            log.exception("session %s: %s failed", frame.session_id, type(frame).__name__)
            done.set_exception(ContractError("INTERNAL_ERROR", "The robot's video failed; its log says why."))
        else:
            done.set_result(Nothing())

    async def _dispatch(self, frame: SignalFrame, origin: Origin) -> None:
        session = self._session_of(frame.session_id, origin)
        if isinstance(frame, WebrtcRequest):
            self._request(frame, origin, session)
        elif isinstance(frame, WebrtcClose):
            if session is not None:
                self._end(session, "the viewer closed it", tell=False)
        elif isinstance(frame, WebrtcIce):
            if session is not None:  # else it came after the end, as candidates do
                await session.candidate(frame.candidate)
        elif session is None:
            raise ContractError("NOT_FOUND", f"There is no session {frame.session_id}; send webrtc_request first.")
        else:
            await session.answer(frame.sdp)

    def _session_of(self, session_id: str, origin: Origin) -> Session | None:
        session = self.sessions.get(session_id)
        if session is not None and (session.asker.source, session.asker.session) != (origin.source, origin.session):
            raise ContractError("NOT_AUTHORIZED", f"The session {session_id} is somebody else's.")
        return session

    def _request(self, frame: WebrtcRequest, origin: Origin, old: Session | None) -> None:
        if not self._config.enabled:
            raise Unavailable("Video is switched off on this robot (webrtc.enabled).")
        if old is not None:
            self._end(old, "it was asked for again", tell=False)
        if len(self.sessions) >= self._config.max_connections:
            limit = self._config.max_connections
            raise ContractError("VIEWER_LIMIT", f"{limit} viewers are watching already, which is this robot's limit.")
        driver = Origin("datachannel", frame.session_id, frame.user_id or origin.user_id, frame.role or origin.role)
        session = Session(frame, origin, self._gateway.open(driver), self)
        self.sessions[session.id] = session
        self._spawn(self._offer(session))

    async def _offer(self, session: Session) -> None:
        try:
            await session.offer()
        except Exception as error:  # noqa: BLE001 - whatever the network does: the viewer is told, the others go on
            self.counters["webrtc.offer_errors"] += 1
            log.warning("session %s: no offer: %s", session.id, error or type(error).__name__)
            if not session.ended:
                text = error.message if isinstance(error, ContractError) else "The robot could not set up the video."
                self.send(WebrtcError(session_id=session.id, error=text, code="UNAVAILABLE"), session.asker)
                self._end(session, "no offer could be made", tell=False)

    # -- the sessions -----------------------------------------------------------------------------

    def _end(self, session: Session, reason: str, *, tell: bool) -> Promise | None:
        """End a session: first what it drove, then the rest. `tell`: its asker does not know yet."""
        if session.ended:
            return None
        goodbye = session.end()
        if self.sessions.get(session.id) is session:
            del self.sessions[session.id]
        if tell:
            self.send(WebrtcClose(session_id=session.id, reason=reason), session.asker)
        log.info("session %s: over, %s", session.id, reason)
        self._spawn(session.close())
        return goodbye

    def _tell_viewers(self, event: RobotEvent) -> None:
        viewers = [session for session in self.sessions.values() if session.connected]
        if viewers:
            message = encode(Event(event=event.event, data=event.data, timestamp=event.timestamp, id=event.id))
            for session in viewers:
                session.tell(message)

    async def _sweep(self) -> None:
        """Ends sessions whose viewer is gone, and publishes the state."""
        state_due = 0.0
        while True:
            now = self.now()
            for session in list(self.sessions.values()):
                reason = session.liveness.over(now)
                if reason is not None:
                    self.counters["webrtc.sessions_timed_out"] += 1
                    self._end(session, reason, tell=True)
            if now >= state_due:
                state_due = now + STATE_S
                self._publish_state()
            await asyncio.sleep(SWEEP_S)

    def _publish_state(self) -> None:
        viewers = sum(session.connected for session in self.sessions.values())
        running = [name for name, encoder in self._encoders.items() if encoder.running]
        self._bus.publish(VIDEO_STATE, VideoState(viewers, running))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@asynccontextmanager
async def build(context: Context) -> AsyncIterator[None]:
    logging.getLogger("aioice").setLevel(logging.WARNING)  # it tells of every address it tries
    service = WebrtcService(context.bus, context.section("webrtc", WebrtcConfig), context.run_dir)
    try:
        yield
    finally:
        await service.close()
