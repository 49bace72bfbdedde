"""What aiortc sends to one viewer: packets that were encoded once for all. The private parts of aiortc are only here.

aiortc sends `av.Packet`s as they are, but then leads key frame requests and bandwidth estimates nowhere, because it
thinks that they are for its own encoder. `watch_feedback` hooks in where they arrive. Written against aiortc 1.16,
which is pinned; the tests see a PLI become a key frame.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any

from aiortc import MediaStreamTrack, RTCRtpSender, RTCRtpTransceiver
from aiortc.rtp import RTCP_PSFB_APP, RTCP_PSFB_FIR, RTCP_PSFB_PLI, AnyRtcpPacket, RtcpPsfbPacket, unpack_remb_fci

MAX_QUEUED = 8
"""Half a second of video. A viewer that is further behind gets nothing until the next key frame."""


class PacketTrack(MediaStreamTrack):
    """A video track of encoded packets. When the camera is silent, it waits, and the session lives on.

    Attributes:
        dropped: packets this viewer did not get, because it was behind.
    """

    kind = "video"

    def __init__(self) -> None:
        super().__init__()
        self.dropped = 0
        self._queue: asyncio.Queue[Any] = asyncio.Queue(MAX_QUEUED)
        self._needs_key_frame = True

    async def recv(self) -> Any:
        """The next `av.Packet`."""
        return await self._queue.get()

    def push(self, packet: Any) -> bool:
        """Queue a packet. False when the viewer fell behind by this one and needs a key frame to go on."""
        if self._needs_key_frame and not packet.is_keyframe:
            return True
        if not self._queue.full():
            self._needs_key_frame = False
            self._queue.put_nowait(packet)
            return True
        while not self._queue.empty():
            self._queue.get_nowait()
            self.dropped += 1
        if packet.is_keyframe:
            self._queue.put_nowait(packet)
            return True
        self.dropped += 1
        self._needs_key_frame = True
        return False


def watch_feedback(sender: RTCRtpSender, on_key_frame: Callable[[], None], on_estimate: Callable[[int], None]) -> None:
    """Call `on_key_frame` for every PLI and FIR, and `on_estimate` with the bits per second of every REMB."""
    handle = sender._handle_rtcp_packet

    async def watched(packet: AnyRtcpPacket) -> None:
        if not isinstance(packet, RtcpPsfbPacket):
            await handle(packet)
        elif packet.fmt in (RTCP_PSFB_PLI, RTCP_PSFB_FIR):
            on_key_frame()
        elif packet.fmt == RTCP_PSFB_APP:
            try:
                bps, ssrcs = unpack_remb_fci(packet.fci)
            except (ValueError, struct.error):
                return  # another application's message, or a broken one: no estimate
            if sender._ssrc in ssrcs:
                on_estimate(bps)

    sender._handle_rtcp_packet = watched  # type: ignore[method-assign]


def negotiated_codec(transceiver: RTCRtpTransceiver) -> str:
    """The codec that aiortc will send with, "H264" or "VP8"; after the answer was applied."""
    name: str = transceiver._codecs[0].mimeType.partition("/")[2]
    return name.upper()
