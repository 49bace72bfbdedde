"""Cloudlink on the bus: commands and signalling in, results and events out."""

from __future__ import annotations

import functools
import logging
import os
import random
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import datetime
from importlib import metadata
from typing import Any

import msgspec
from msgspec import Struct

from bus.base import Bus, Latest
from bus.codec import Message
from bus.errors import SettingsError
from bus.events import robot_event, timestamp, utc_now
from bus.gateway import Session
from bus.liveness import LinkPing, on_restart
from bus.messages import LinkState, Origin, RobotEvent, Signal, SignalOut
from bus.promise import Promise
from bus.runner import Context
from bus.topics import EVENTS, LINK_STATE, PAIRING_CODE, PROCESSES, SIGNAL, SIGNAL_OUT, TELEMETRY
from contract import commands, frames
from contract.commands import CommandResult, Relayed
from contract.errors import ContractError
from contract.models import status_of
from contract.validate import convert, decode_json
from hardware.priority import DOOR_NICE, go_first
from processes.cloudlink.config import CloudlinkConfig, Relay, relay_of
from processes.cloudlink.driver import Connection, Dialer, WebsocketDialer
from processes.cloudlink.events import EventSender
from processes.cloudlink.logic import Closed, Link, SigningClock, signature
from processes.cloudlink.sessions import Sessions
from processes.cloudlink.store import Outbox

log = logging.getLogger(__name__)

TICK_S = 0.1
STATE_S = 1.0
STATUS_S = 5.0
GOODBYE_S = 1.0


class CloudlinkService:
    """Wires the link's logic to the bus, the outbox and the socket.

    Args:
        dialer: opens connections.
        outbox: where events wait.
        executor: what the outbox runs on.
        wall_clock: for signatures and for what people read.
        jitter: random, 0 to 1.
    """

    def __init__(
        self,
        bus: Bus,
        relay: Relay,
        dialer: Dialer,
        outbox: Outbox,
        executor: Executor,
        wall_clock: Callable[[], datetime] = utc_now,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._bus = bus
        self._relay = relay
        self._dialer = dialer
        self._wall_clock = wall_clock
        self._jitter = jitter
        self._link = Link(bus.now())
        self._signing = SigningClock()
        self._ping = LinkPing(bus.now())
        self._connection: Connection | None = None
        self._sessions = Sessions(bus)
        self._events = EventSender(bus, outbox, executor, relay.device_id, self._send_text)
        self._telemetry = Latest(bus, TELEMETRY)
        self._paired: bool | None = None
        self._code: tuple[str, float] | None = None
        self._told: LinkState | None = None
        self._handlers: Mapping[str, tuple[type[Struct], Callable[[Any], None]]] = {
            "error": (frames.Error, self._on_error),
            "event_ack": (frames.EventAck, lambda ack: self._events.on_ack(ack.ids)),
            "access_changed": (frames.AccessChanged, self._on_access),
            "session_ended": (frames.SessionEnded, lambda ended: self._sessions.end(ended.session)),
            "user_disconnected": (frames.UserDisconnected, lambda gone: self._sessions.end_user(gone.user_id)),
            "paired": (frames.Paired, self._on_paired),
            "pairing_code": (frames.PairingCodeShown, self._on_code),
            "webrtc_request": (frames.WebrtcRequest, self._on_watch),
            "webrtc_answer": (frames.WebrtcAnswer, self._on_signal),
            "webrtc_ice": (frames.WebrtcIce, self._on_signal),
            "webrtc_close": (frames.WebrtcClose, self._on_unwatch),
        }
        for name in PROCESSES:
            bus.subscribe(EVENTS[name], self._on_event)
        bus.subscribe(SIGNAL_OUT, self._on_signal_out)
        on_restart(bus, "webrtc", self._video_restarted)
        bus.serve(PAIRING_CODE, self._fresh_code)
        bus.every(TICK_S, self._tick)
        bus.every(STATE_S, lambda: self._publish_state(again=True))
        bus.every(STATUS_S, self._send_status)
        self._tick()

    def close(self) -> None:
        """Say goodbye; for when the bus's loop has ended."""
        if self._connection is not None:
            self._send(frames.RobotDisconnecting(device_id=self._relay.device_id, reason="shutdown"))
            self._connection.close()
            self._connection.join(GOODBYE_S)
            self._connection = None
        self._events.close()

    # -- the link ---------------------------------------------------------------------------------

    def _tick(self) -> None:
        now = self._bus.now()
        self._link.on_tick(now)
        if self._connection is not None and self._ping.dead(now):
            log.warning("the relay does not answer pings")
            self._connection.close()
            self._lost(Closed(reason="the relay does not answer pings"))
        elif self._link.state == "connected" and self._ping.due(now) and self._connection is not None:
            self._connection.ping()
            self._ping.on_sent(now)
        if self._link.due(now):
            self._dial()
        self._events.on_tick(now)
        self._publish_state()

    def _dial(self) -> None:
        seconds = self._signing.next(self._wall_clock().timestamp())
        headers = {
            "X-Device-ID": self._relay.device_id,
            "X-Timestamp": str(seconds),
            "X-Signature": signature(self._relay.secret, self._relay.device_id, seconds),
        }
        self._link.on_dial()
        self._ping = LinkPing(self._bus.now())
        listener = _Listener(self)
        self._connection = self._dialer.dial(self._relay.url, headers, listener)

    def on_opened(self, local_ip: str | None) -> None:
        """The socket is open; whether the relay takes us in is not known yet."""
        self._link.on_open(self._bus.now())
        now = timestamp(self._wall_clock())
        self._send(
            frames.RobotConnected(
                device_id=self._relay.device_id, version=metadata.version("wimz"), local_ip=local_ip, timestamp=now
            )
        )
        self._events.on_connected()
        self._send_status()

    def on_pong(self) -> None:
        self._ping.on_pong()

    def on_closed(self, closed: Closed) -> None:
        self._lost(closed)
        self._publish_state()

    def _lost(self, closed: Closed) -> None:
        """Whoever drove through the relay drives no more."""
        self._connection = None
        self._sessions.end_all()
        self._events.on_disconnected()
        self._link.on_closed(closed, self._bus.now(), self._jitter())
        self._bus.counters["cloudlink.links_lost"] += 1
        log.info("the link is closed (code %s, %s): %s", closed.code, closed.reason or "no reason", self._link.state)

    def _on_error(self, error: frames.Error) -> None:
        self._bus.counters[f"cloudlink.relay_says.{error.code}"] += 1
        level = logging.DEBUG if self._link.state == "connected" else logging.WARNING
        log.log(level, "the relay says %s: %s", error.code, error.message)
        server_time = self._link.on_error(error)
        if server_time is not None:
            self._signing.on_server_time(server_time, self._wall_clock().timestamp())

    # -- what comes in ----------------------------------------------------------------------------

    def on_frame(self, text: str) -> None:
        """A frame of the relay's. What is not understood is counted, and harms nobody."""
        received = self._bus.now()
        try:
            message = decode_json(text)
            if not isinstance(message, dict):
                raise ContractError("INVALID_PARAMETER", "A frame is a JSON object.")
            if message.get("device_id") not in (None, self._relay.device_id):
                self._bus.counters["cloudlink.for_others"] += 1
                return
            if message.get("type") != "error":
                self._link.on_accepted()
            if commands.is_command(message):
                self._on_command(message, received)
            else:
                self._on_typed(message)
        except ContractError as error:
            self._bus.counters["cloudlink.bad_frames"] += 1
            log.debug("a frame was refused: %s", error)
        self._publish_state()

    def _on_typed(self, message: dict[str, Any]) -> None:
        kind = message.get("type")
        row = self._handlers.get(kind) if isinstance(kind, str) else None
        if row is None:
            self._bus.counters["cloudlink.ignored_frames"] += 1
            return
        type_, handle = row
        handle(convert(type_, message))

    def _on_command(self, message: dict[str, Any], received: float) -> None:
        sender = convert(Relayed, message)
        session = self._sessions.of(sender)
        fresh = self._ping.fresh(received)
        self._ping.on_motion(received)
        session.submit(message, received, functools.partial(self._answer, sender), link_fresh=fresh)

    def _answer(self, sender: Relayed, answer: CommandResult | frames.Error) -> None:
        if isinstance(answer, CommandResult):
            self._send(msgspec.structs.replace(answer, session=sender.session))
        else:  # the relay takes no errors for commands without an id: nobody waits for them
            self._bus.counters[f"cloudlink.refused.{answer.code}"] += 1

    # -- video signalling -------------------------------------------------------------------------

    def _on_watch(self, frame: frames.WebrtcRequest) -> None:
        self._signal(frame, self._sessions.watch(frame.session_id, frame.user_id, frame.role))

    def _on_signal(self, frame: frames.WebrtcAnswer | frames.WebrtcIce) -> None:
        self._signal(frame, self._sessions.watcher(frame.session_id))

    def _on_unwatch(self, frame: frames.WebrtcClose) -> None:
        origin = self._sessions.watcher(frame.session_id).origin
        self._sessions.unwatch(frame.session_id)
        self._end_video(frame, origin)

    def _on_access(self, frame: frames.AccessChanged) -> None:
        """What an account had open in another role ends: it begins anew in its role of now, if it has one."""
        self._sessions.end_user(frame.user_id, frame.role)
        for origin in self._sessions.unwatch_user(frame.user_id, frame.role):
            close = frames.WebrtcClose(session_id=origin.session, reason="Your role has changed.")
            self._send(close)
            self._end_video(close, origin)

    def _signal(self, frame: frames.Frame, sender: Session) -> None:
        body = Signal(msgspec.to_builtins(frame), sender.origin)
        future = sender.ask(SIGNAL, body, self._bus.now())
        if not isinstance(frame, frames.WebrtcIce):
            future.add_done_callback(lambda done: self._signalled(sender.origin.session, done))

    def _end_video(self, frame: frames.WebrtcClose, origin: Origin) -> None:
        """Ending is never too often, so it does not pass the gateway's limits."""
        self._bus.request(SIGNAL, Signal(msgspec.to_builtins(frame), origin), origin=origin)

    def _signalled(self, session_id: str, done: Promise) -> None:
        error = done.exception()
        if isinstance(error, ContractError):
            self._send(frames.WebrtcError(session_id=session_id, error=error.message, code=error.code))
        elif error is not None:
            raise error

    def _on_signal_out(self, message: Message[SignalOut]) -> None:
        origin, frame = message.value.origin, message.value.frame
        if origin.source != "cloud":
            return
        if frame.get("type") in ("webrtc_close", "webrtc_error"):
            self._sessions.unwatch(origin.session)
        self._send_text(msgspec.json.encode(frame).decode())

    def _video_restarted(self) -> None:
        """Its sessions ended with it; apps that are told ask again at once."""
        for origin in self._sessions.unwatch_all():
            close = frames.WebrtcClose(session_id=origin.session, reason="The robot's video has restarted.")
            self._send(close)
            self._end_video(close, origin)  # in case it was asked for after the restart, and before this was known

    # -- pairing ----------------------------------------------------------------------------------

    def _fresh_code(self, request: Any) -> None:
        if self._link.state != "connected" or not self._send(frames.GetPairingCode()):
            raise ContractError("UNAVAILABLE", f"The relay gives the code, and the link to it is: {self._link.state}.")

    def _on_paired(self, frame: frames.Paired) -> None:
        self._paired = frame.paired
        if frame.paired:
            self._code = None

    def _on_code(self, frame: frames.PairingCodeShown) -> None:
        self._paired = False
        self._code = (frame.code, self._bus.now() + frame.expires_in_s)
        log.info(
            "This robot has no owner. Type the code %s into the app within %d minutes.",
            frame.code,
            max(1, frame.expires_in_s // 60),
        )

    def _code_left(self) -> frames.PairingCodeShown | None:
        if self._code is None:
            return None
        code, until = self._code
        left_s = int(until - self._bus.now())
        return frames.PairingCodeShown(code=code, expires_in_s=left_s) if left_s > 0 else None

    # -- what goes out ----------------------------------------------------------------------------

    def _publish_state(self, *, again: bool = False) -> None:
        state = LinkState(self._link.state, self._paired, self._code_left())
        told = self._told
        changed = told is None or (told.state, told.paired, told.code and told.code.code) != (
            state.state,
            state.paired,
            state.code and state.code.code,
        )
        if changed and (told is None or told.state != state.state):
            log.info("link: %s", state.state)
        if changed or again:
            self._told = state
            self._bus.publish(LINK_STATE, state)

    def _on_event(self, message: Message[RobotEvent]) -> None:
        if message.value.event != "status":
            self._events.on_event(message.value)

    def _send_status(self) -> None:
        """Without an id: the relay stores what has one, and only the latest status counts."""
        telemetry = self._telemetry.fresh(self._bus.now())
        if telemetry is None:
            return
        event = robot_event("status", status_of(telemetry), self._wall_clock())
        self._send(
            frames.Event(event=event.event, data=event.data, timestamp=event.timestamp, device_id=self._relay.device_id)
        )

    def _send(self, frame: Struct) -> bool:
        return self._send_text(msgspec.json.encode(frame).decode())

    def _send_text(self, text: str) -> bool:
        if self._connection is None or not self._connection.send(text):
            self._bus.counters["cloudlink.unsent"] += 1
            return False
        return True


class _Listener:
    """One connection's voice; what an older connection still says is not heard, since it was closed."""

    def __init__(self, service: CloudlinkService) -> None:
        self.opened = service.on_opened
        self.frame = service.on_frame
        self.pong = service.on_pong
        self.closed = service.on_closed


def without_relay(bus: Bus, state: str) -> None:
    """A robot on its own says so, and why."""

    def publish() -> None:
        bus.publish(LINK_STATE, LinkState(state))

    def no_code(request: Any) -> None:
        raise ContractError("UNAVAILABLE", f"There is no link to a relay ({state}), and so no pairing code.")

    bus.serve(PAIRING_CODE, no_code)
    bus.every(STATE_S, publish)
    publish()


def build(context: Context) -> None:
    """Wire cloudlink to the relay of the settings, or to none."""
    go_first(DOOR_NICE)
    config = context.section("cloudlink", CloudlinkConfig)
    try:
        relay = relay_of(config, os.environ, context.data_dir)
    except SettingsError as error:
        log.error("%s", error)
        without_relay(context.bus, str(error))
        return
    if relay is None:
        log.info("no relay is configured: this robot is reached on its own network only")
        without_relay(context.bus, "off")
        return
    outbox = Outbox(context.data_dir / "outbox.db", config.outbox_events)
    executor = ThreadPoolExecutor(1, "outbox")
    service = CloudlinkService(context.bus, relay, WebsocketDialer(context.bus.call_soon), outbox, executor)

    def close() -> None:
        service.close()
        executor.shutdown(wait=True)
        outbox.close()

    context.on_stop(close)
