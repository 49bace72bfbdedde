from __future__ import annotations

from typing import Any

import av
import numpy as np
import pytest

from bus.frames import Picture
from processes.camera import barcode
from processes.camera.scene import Scene, luma
from processes.webrtc.codec import CodecError, VideoCodec, open_codec
from processes.webrtc.config import VideoConfig

FPS = 15
STEP = 90_000 // FPS
A_MONTH = 30 * 86_400 * 90_000
"""Capture times are counted from the start of the machine."""


def config(**settings: Any) -> VideoConfig:
    return VideoConfig(**({"width": 640, "height": 360, "fps": FPS, "bitrate_kbps": 300} | settings))


def encode(codec: VideoCodec, pictures: list[Picture], key_frames: set[int] = frozenset(), at: int = 0) -> list[Any]:  # type: ignore[assignment]
    packets = []
    for index, picture in enumerate(pictures):
        found = codec.encode(picture, at + index * STEP, key_frame=index in key_frames)
        assert len(found) == 1  # at once: no picture waits inside
        packets += found
    return packets


def filmed(count: int) -> list[Picture]:
    scene = Scene(640, 360)
    return [scene.draw(number, number).copy() for number in range(count)]


def restless(count: int) -> list[Picture]:
    """Pictures with noise that costs more bits than there are."""
    random = np.random.default_rng(1)
    return [picture // 2 + random.integers(0, 40, (540, 640), np.uint8) for picture in filmed(count)]


def nal_types(packet: Any) -> list[int]:
    raw, found, at = bytes(packet), [], -1
    while (at := raw.find(b"\0\0\1", at + 1)) >= 0:
        found.append(raw[at + 3] & 0x1F)
    return found


@pytest.mark.parametrize("name", ["H264", "VP8"])
def test_every_stamp_survives_at_640_and_300_kbit(name: str) -> None:
    packets = encode(open_codec(name, config()), filmed(60))
    decoder: Any = av.CodecContext.create("h264" if name == "H264" else "libvpx", "r")
    pictures = [frame.to_ndarray() for packet in packets for frame in decoder.decode(av.Packet(bytes(packet)))]
    stamps = [barcode.read(luma(picture)) for picture in pictures]
    assert stamps == [barcode.Stamp(number, number) for number in range(60)]
    assert sum(packet.size for packet in packets) * 8 * FPS / 60 < 400_000


@pytest.mark.parametrize("name", ["H264", "VP8"])
def test_key_frames_come_first_and_when_asked_and_times_are_kept(name: str) -> None:
    packets = encode(open_codec(name, config()), filmed(30), {10, 20}, A_MONTH)
    assert [index for index, packet in enumerate(packets) if packet.is_keyframe] == [0, 10, 20]
    assert [packet.pts for packet in packets] == [A_MONTH + index * STEP for index in range(30)]
    assert {packet.time_base for packet in packets} == {packets[0].time_base}
    assert packets[0].time_base.denominator == 90_000


def test_every_h264_key_frame_can_be_the_first_a_viewer_sees() -> None:
    packets = encode(open_codec("H264", config()), filmed(12), {10})
    idr, sps, pps = 5, 7, 8
    for index in (0, 10):
        assert {idr, sps, pps} <= set(nal_types(packets[index]))
    assert idr not in nal_types(packets[9])
    raw = bytes(packets[0])
    profile, constraints, level = raw[raw.index(b"\0\0\1\x67") + 4 :][:3]
    assert (profile, level) == (0x42, 0x1F)  # baseline, level 3.1: profile-level-id 42e01f
    assert constraints & 0x40  # constraint_set1: the constrained one


@pytest.mark.parametrize("name", ["H264", "VP8"])
def test_a_thinner_line_gets_fewer_bits_while_it_runs(name: str) -> None:
    codec = open_codec(name, config(bitrate_kbps=1000))
    pictures = restless(45)
    before = sum(packet.size for packet in encode(codec, pictures)[15:])
    codec.set_bitrate(300_000)
    after = encode(codec, pictures, at=45 * STEP)
    assert sum(packet.size for packet in after[15:]) < 0.6 * before


def test_a_new_rate_costs_h264_no_key_frame() -> None:
    codec = open_codec("H264", config(bitrate_kbps=1000))
    encode(codec, filmed(5))
    codec.set_bitrate(300_000)
    assert not any(packet.is_keyframe for packet in encode(codec, filmed(5), at=5 * STEP))


def test_a_picture_of_another_size_is_scaled() -> None:
    packets = encode(open_codec("H264", config(width=320, height=180)), filmed(2))
    decoder: Any = av.CodecContext.create("h264", "r")
    (frame,) = decoder.decode(av.Packet(bytes(packets[0])))
    assert (frame.width, frame.height) == (320, 180)
    assert barcode.read(luma(frame.to_ndarray())) == barcode.Stamp(0, 0)


def test_what_is_no_picture_is_an_error_and_the_next_one_is_a_key_frame() -> None:
    codec = open_codec("H264", config())
    encode(codec, filmed(2))
    with pytest.raises(CodecError, match="H264"):
        codec.encode(np.zeros((7, 6), np.uint8), 2 * STEP, key_frame=False)
    (packet,) = encode(codec, filmed(1), at=3 * STEP)
    assert packet.is_keyframe
