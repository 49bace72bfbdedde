from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from typing import Any

from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTCP_PSFB_FIR,
    RTCP_PSFB_PLI,
    RtcpPsfbPacket,
    RtcpRtpfbPacket,
    pack_remb_fci,
)

from processes.webrtc.track import MAX_QUEUED, PacketTrack, watch_feedback


@dataclass
class Packet:
    number: int
    is_keyframe: bool = False


async def taken(track: PacketTrack, count: int) -> list[int]:
    return [(await asyncio.wait_for(track.recv(), 5)).number for _ in range(count)]


def test_a_viewer_begins_with_a_key_frame() -> None:
    async def scenario() -> None:
        track = PacketTrack()
        for packet in (Packet(1), Packet(2), Packet(3, True), Packet(4)):
            assert track.push(packet)
        assert await taken(track, 2) == [3, 4]
        assert track.dropped == 0

    asyncio.run(scenario())


def test_a_viewer_that_is_behind_goes_on_with_the_next_key_frame() -> None:
    async def scenario() -> None:
        track = PacketTrack()
        kept_up = [track.push(Packet(number, number == 0)) for number in range(MAX_QUEUED + 3)]
        assert kept_up.count(False) == 1  # asked for one key frame, not for one with every packet
        assert track.dropped == MAX_QUEUED + 1
        track.push(Packet(100, True))
        track.push(Packet(101))
        assert await taken(track, 2) == [100, 101]

    asyncio.run(scenario())


def test_a_key_frame_takes_the_place_of_what_is_old() -> None:
    async def scenario() -> None:
        track = PacketTrack()
        for number in range(MAX_QUEUED):
            track.push(Packet(number, number == 0))
        assert track.push(Packet(50, True))
        assert await taken(track, 1) == [50]

    asyncio.run(scenario())


def test_without_a_picture_the_track_waits_and_does_not_end() -> None:
    async def scenario() -> None:
        track = PacketTrack()
        waiting = asyncio.create_task(track.recv())
        await asyncio.sleep(0)
        assert not waiting.done()
        assert track.readyState == "live"
        track.push(Packet(1, True))
        assert (await waiting).number == 1

    asyncio.run(scenario())


class Sender:
    """The part of aiortc's sender that feedback comes to."""

    _ssrc = 1234

    def __init__(self) -> None:
        self.passed_on: list[Any] = []

    async def _handle_rtcp_packet(self, packet: Any) -> None:
        self.passed_on.append(packet)


def test_feedback_is_led_to_the_encoder_we_share() -> None:
    asked: list[str] = []
    estimates: list[int] = []
    sender: Any = Sender()
    watch_feedback(sender, lambda: asked.append("key frame"), estimates.append)
    nack = RtcpRtpfbPacket(fmt=1, ssrc=1, media_ssrc=1234)
    packets = [
        RtcpPsfbPacket(fmt=RTCP_PSFB_PLI, ssrc=1, media_ssrc=1234),
        RtcpPsfbPacket(fmt=RTCP_PSFB_FIR, ssrc=1, media_ssrc=1234),
        RtcpPsfbPacket(fmt=RTCP_PSFB_APP, ssrc=1, media_ssrc=0, fci=pack_remb_fci(500_000, [1234])),
        RtcpPsfbPacket(fmt=RTCP_PSFB_APP, ssrc=1, media_ssrc=0, fci=pack_remb_fci(9_000, [99])),
        RtcpPsfbPacket(fmt=RTCP_PSFB_APP, ssrc=1, media_ssrc=0, fci=b"REMB\xff" + struct.pack("!BH", 0, 9)),
        RtcpPsfbPacket(fmt=RTCP_PSFB_APP, ssrc=1, media_ssrc=0, fci=b"else"),
        nack,
    ]

    async def scenario() -> None:
        for packet in packets:
            await sender._handle_rtcp_packet(packet)

    asyncio.run(scenario())
    assert asked == ["key frame", "key frame"]
    assert estimates == [500_000]
    assert sender.passed_on == [nack]  # lost packets are sent again by aiortc itself
