"""One viewer: the peer connection, its video and its two data channels.

The robot is the offerer. `control` is unordered and never repeats what was lost: for driving. `events` is ordered and
reliable: pings, events, and whatever must arrive. Commands are taken on both; the result goes back the same way.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCDataChannel,
    RTCIceCandidate,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from msgspec import Struct

from bus import gateway
from bus.messages import Origin
from bus.promise import Promise
from contract.commands import is_command
from contract.errors import ContractError
from contract.frames import MAX_FRAME_BYTES, Frame, IceCandidate, Ping, Pong, WebrtcOffer, WebrtcRequest
from contract.frames import SessionDescription as Description
from contract.validate import convert, decode_json, encode
from processes.webrtc.encoder import VideoEncoder
from processes.webrtc.ice import choose_servers, parse_candidate, without_useless_candidates
from processes.webrtc.logic import Liveness
from processes.webrtc.track import PacketTrack, negotiated_codec, watch_feedback

log = logging.getLogger(__name__)

MAX_CANDIDATES = 64
"""Candidates taken from one viewer; a browser has under ten."""
MAX_BUFFERED_BYTES = 256 * 1024
"""What may wait in a data channel before messages to it are dropped."""
CLOSE_S = 5.0


class House(Protocol):
    """What a session needs of the service around it."""

    counters: Counter[str]

    def now(self) -> float: ...

    def post(self, call: Callable[[], None]) -> None:
        """Call on the event loop, from any thread."""

    def encoder(self, codec: str) -> VideoEncoder: ...

    def codecs(self) -> tuple[str, ...]:
        """The codecs to offer, the preferred one first."""

    def send(self, frame: Frame, asker: Origin) -> None:
        """A signalling frame to whoever asked for the session."""

    def over(self, session: Session, reason: str) -> None:
        """The session is at its end and has to be ended."""


class Session:
    """A viewer's session, from `webrtc_request` to its end.

    Args:
        asker: who sends and gets the signalling frames.
        door: takes the commands of this viewer.
    """

    def __init__(self, request: WebrtcRequest, asker: Origin, door: gateway.Session, house: House) -> None:
        self.id = request.session_id
        self.asker = asker
        self.connected = False
        self.ended = False
        self.liveness = Liveness(house.now())
        self._door, self._house = door, house
        self._track = PacketTrack()
        self._encoder: VideoEncoder | None = None
        self._early: list[RTCIceCandidate] = []
        self._candidates = 0
        self._answered = False
        self._in_order = asyncio.Lock()
        servers = choose_servers(request.ice_servers)
        self._peer = RTCPeerConnection(RTCConfiguration(servers, bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        self._transceiver = self._peer.addTransceiver(self._track, direction="sendonly")
        self._transceiver.setCodecPreferences(_preferences(house.codecs()))
        self._channels = [
            self._peer.createDataChannel("control", ordered=False, maxRetransmits=0),
            self._peer.createDataChannel("events"),
        ]
        for channel in self._channels:
            channel.on("message", lambda message, channel=channel: self._on_message(channel, message))
            channel.on("close", self._on_channel_closed)
        self._peer.on("connectionstatechange", self._on_state)
        watch_feedback(self._transceiver.sender, self._on_key_frame_asked, self._on_estimate)

    # -- signalling -------------------------------------------------------------------------------

    async def offer(self) -> None:
        """Gather addresses (up to 5 s when a STUN server is silent) and send the offer.

        Raises:
            ContractError: UNAVAILABLE: the robot has no network address to offer.
        """
        async with self._in_order:
            await self._peer.setLocalDescription(await self._peer.createOffer())
        description = self._peer.localDescription
        if self.ended or description is None:
            return
        if "a=candidate:" not in description.sdp:
            raise ContractError("UNAVAILABLE", "The robot has no network address that video could be sent from.")
        self._house.send(WebrtcOffer(session_id=self.id, sdp=Description("offer", description.sdp)), self.asker)

    async def answer(self, description: Description) -> None:
        """Raises:
        ContractError: INVALID_PARAMETER, CONFLICT.
        """
        if description.type != "answer":
            raise ContractError("INVALID_PARAMETER", "`sdp.type`: the robot offers; it takes an answer.")
        async with self._in_order:
            if self._answered or self.ended:
                raise ContractError("CONFLICT", f"The session {self.id} has been answered already.")
            self._answered = True
            sdp = without_useless_candidates(description.sdp)
            try:
                await self._peer.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
            except Exception as error:  # aiortc's parser fails in any way on what a stranger wrote
                self._house.counters["webrtc.bad_answers"] += 1
                self._house.over(self, "its answer could not be used")
                raise ContractError(
                    "INVALID_PARAMETER", f"`sdp`: no answer to this session's offer: {error}"
                ) from error
            early, self._early = self._early, []
            for candidate in early:
                await self._peer.addIceCandidate(candidate)

    async def candidate(self, candidate: IceCandidate | None) -> None:
        """A candidate of the viewer, kept until the answer is there. None or an empty one: no more follow, which aiortc
        is not told, since a browser may yet call from an address that it hides.

        Raises:
            ContractError: INVALID_PARAMETER, RATE_LIMITED.
        """
        if candidate is None or not candidate.candidate.strip():
            return
        parsed = parse_candidate(candidate)
        if parsed is None:
            self._house.counters["webrtc.candidates_ignored"] += 1
            return
        self._candidates += 1
        if self._candidates > MAX_CANDIDATES:
            raise ContractError("RATE_LIMITED", f"A session may have {MAX_CANDIDATES} candidates.")
        async with self._in_order:
            if self.ended:
                return
            if not self._answered:
                self._early.append(parsed)
                return
            await self._peer.addIceCandidate(parsed)

    # -- the connection ---------------------------------------------------------------------------

    def _on_state(self) -> None:
        state = self._peer.connectionState
        if state == "connected" and not self.connected and not self.ended:
            self.connected = True
            self.liveness.on_connected()
            self._encoder = self._house.encoder(negotiated_codec(self._transceiver))
            self._encoder.add(self._track)
            log.info("session %s: connected, %s", self.id, self._encoder.codec)
        elif state in ("failed", "closed") and not self.ended:
            self._house.over(self, f"the connection {'failed' if state == 'failed' else 'was closed'}")

    def _on_key_frame_asked(self) -> None:
        if self._encoder is not None:
            self._encoder.ask_key_frame()

    def _on_estimate(self, bps: int) -> None:
        if self._encoder is not None:
            self._encoder.on_estimate(self._track, bps)

    def end(self) -> Promise | None:
        """Stop what it drove and its video, at once; idempotent. `close` has to follow.

        Returns:
            The promise of motion's answer that the driver is gone, or None when it was driving nothing.
        """
        if self.ended:
            return None
        self.ended = True
        self.connected = False
        if self._encoder is not None:
            self._encoder.remove(self._track)
        return self._door.close()

    async def close(self) -> None:
        """Close the connection. Does not raise."""
        try:
            await asyncio.wait_for(self._peer.close(), CLOSE_S)
        except Exception:
            # A connection that does not close is counted and left to the garbage collector; others go on.
            self._house.counters["webrtc.close_failures"] += 1
            log.exception("session %s did not close", self.id)

    # -- the data channels ------------------------------------------------------------------------

    def tell(self, message: bytes) -> None:
        """An event for this viewer, as JSON."""
        if self.connected:
            self._send(self._channels[1], message)

    def _on_message(self, channel: RTCDataChannel, message: str | bytes) -> None:
        if self.ended:
            return
        received = self._house.now()
        self.liveness.on_message(received)
        try:
            self._take(channel, _json_object(message), received)
        except ContractError as error:
            self._house.counters["webrtc.bad_messages"] += 1
            self._answer(channel, gateway.error_frame(error))

    def _on_channel_closed(self) -> None:
        """Whoever closes a channel stops driving, even if the connection stays."""
        if not self.ended:
            self._door.close()

    def _take(self, channel: RTCDataChannel, message: dict[str, Any], received: float) -> None:
        if message.get("type") == "ping":
            self.liveness.on_ping(received)
            self._answer(channel, Pong(t=convert(Ping, message).t))
        elif is_command(message):
            # Results come on the bus's thread.
            self._door.submit(message, received, lambda frame: self._house.post(lambda: self._answer(channel, frame)))
        else:
            raise ContractError("INVALID_PARAMETER", 'Accepted here: {"command": NAME, …} and {"type": "ping"}.')

    def _answer(self, channel: RTCDataChannel, frame: Struct) -> None:
        self._send(channel, encode(frame))

    def _send(self, channel: RTCDataChannel, message: bytes) -> None:
        if self.ended or channel.readyState != "open" or channel.bufferedAmount > MAX_BUFFERED_BYTES:
            self._house.counters["webrtc.messages_dropped"] += 1
            return
        channel.send(message.decode())


def _json_object(message: str | bytes) -> dict[str, Any]:
    if not isinstance(message, str):
        raise ContractError("INVALID_JSON", "Messages here are JSON text, not bytes.")
    if len(message) > MAX_FRAME_BYTES:
        raise ContractError("MESSAGE_TOO_LARGE", f"A message may have {MAX_FRAME_BYTES} bytes.")
    value = decode_json(message)
    if not isinstance(value, dict):
        raise ContractError("INVALID_PARAMETER", 'A message is a JSON object, such as {"command": "stop"}.')
    return value


def _preferences(names: tuple[str, ...]) -> list[Any]:
    """aiortc's codecs in our order. Of H.264, constrained baseline (42e01f) first: that is what we send."""
    capabilities = RTCRtpSender.getCapabilities("video").codecs

    def order(codec: Any) -> tuple[int, bool]:
        name = codec.mimeType.partition("/")[2].upper()
        place = names.index(name) if name in names else len(names)
        return place, codec.parameters.get("profile-level-id") != "42e01f"

    return sorted(capabilities, key=order)
