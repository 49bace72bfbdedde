from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.settings import ROOT
from processes.camera import barcode
from processes.camera.barcode import NUMBER_LIMIT, TIME_LIMIT, Stamp, Strip
from processes.camera.scene import Scene, luma


@given(st.integers(0, NUMBER_LIMIT - 1), st.integers(0, TIME_LIMIT - 1))
def test_what_was_written_is_read(number: int, unix_ms: int) -> None:
    stamp = Stamp(number, unix_ms)
    assert barcode.decode(barcode.encode(stamp)) == stamp


def test_numbers_begin_again_after_32_bits() -> None:
    assert barcode.decode(barcode.encode(Stamp(NUMBER_LIMIT + 5, 1))) == Stamp(5, 1)


@given(st.integers(0, 95), st.integers(0, NUMBER_LIMIT - 1))
def test_one_wrong_block_is_noticed(block: int, number: int) -> None:
    blocks = barcode.encode(Stamp(number, 1_700_000_000_000))
    blocks[block // 48, block % 48] ^= True
    assert barcode.decode(blocks) is None


@pytest.mark.parametrize("grey", [0, 16, 128, 235])
def test_a_picture_without_a_stamp_has_none(grey: int) -> None:
    assert barcode.read(np.full((360, 640), grey, np.uint8)) is None


@pytest.mark.parametrize("size", [(320, 180), (640, 360), (640, 480), (1280, 720), (854, 480)])
def test_it_is_read_at_any_size(size: tuple[int, int]) -> None:
    width, height = size
    picture = np.full((height, width), 100, np.uint8)
    stamp = Stamp(0xDEADBEEF, 1_769_860_800_123)
    Strip(width, height).draw(picture, stamp)
    assert barcode.read(picture) == stamp


def test_it_survives_scaling_to_640_and_h264_at_300_kbit() -> None:
    scene = Scene(1280, 720)
    encoder: Any = av.CodecContext.create("libx264", "w")
    decoder: Any = av.CodecContext.create("h264", "r")
    encoder.width, encoder.height, encoder.pix_fmt = 640, 360, "yuv420p"
    encoder.bit_rate, encoder.framerate, encoder.time_base = 300_000, 15, Fraction(1, 15)
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency"}
    read = []
    for number in range(60):
        frame = av.VideoFrame.from_ndarray(scene.draw(number, 1_700_000_000_000 + number), format="yuv420p")
        small = frame.reformat(640, 360)
        small.pts = number
        for packet in encoder.encode(small):
            for decoded in decoder.decode(packet):
                read.append(barcode.read(luma(decoded.to_ndarray())))
    assert read == [Stamp(number, 1_700_000_000_000 + number) for number in range(len(read))]
    assert len(read) >= 58


def test_the_document_says_where_the_blocks_are() -> None:
    text = (ROOT / "docs" / "frame-number.md").read_text()
    assert "x = W * (0.02 + (column + 0.5) * 0.02)" in text
    assert "y = H * (0.02 + (row + 0.5) * 0.04)" in text
    assert (barcode.LEFT, barcode.BLOCK_WIDTH, barcode.TOP, barcode.BLOCK_HEIGHT) == (0.02, 0.02, 0.02, 0.04)
    assert re.search(r"Two rows of 48 blocks", text)
    assert (barcode.ROWS, barcode.COLUMNS) == (2, 48)
