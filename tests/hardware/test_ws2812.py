from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.ws2812 import BYTES_PER_PIXEL, LATCH_BYTES, Rgb, decode, encode

colours = st.tuples(*[st.integers(0, 255)] * 3)


@given(st.lists(colours, max_size=40))
def test_what_is_encoded_is_what_the_strip_shows(pixels: list[Rgb]) -> None:
    assert decode(encode(pixels)) == pixels


def test_each_bit_is_three_bits_on_the_wire_and_green_comes_first() -> None:
    wire = encode([(0xFF, 0x00, 0x80)])[LATCH_BYTES:-LATCH_BYTES]

    assert f"{int.from_bytes(wire, 'big'):072b}" == "100" * 8 + "110" * 8 + "110" + "100" * 7


def test_a_low_before_and_after_latches_the_colours() -> None:
    data = encode([(1, 2, 3)] * 160)

    assert len(data) == 160 * BYTES_PER_PIXEL + 2 * LATCH_BYTES
    assert not any(data[:LATCH_BYTES])
    assert not any(data[-LATCH_BYTES:])


def test_brightness_scales_every_colour() -> None:
    assert decode(encode([(255, 100, 0)], brightness=0.25)) == [(64, 25, 0)]
    assert decode(encode([(255, 100, 7)], brightness=0.0)) == [(0, 0, 0)]


@pytest.mark.parametrize("pixel", [(256, 0, 0), (0, -1, 0), (0, 0, 1000)])
def test_a_colour_out_of_range_is_refused(pixel: Rgb) -> None:
    with pytest.raises(ValueError, match="outside 0 to 255"):
        encode([pixel])


@pytest.mark.parametrize("brightness", [-0.1, 1.1, float("nan")])
def test_a_brightness_out_of_range_is_refused(brightness: float) -> None:
    with pytest.raises(ValueError, match="0 to 1 is accepted"):
        encode([], brightness)


@given(st.binary(max_size=100))
def test_noise_on_the_line_is_refused_or_read_but_never_crashes(noise: bytes) -> None:
    try:
        pixels = decode(noise)
    except ValueError:
        return
    assert decode(encode(pixels)) == pixels


def test_half_a_pixel_is_refused() -> None:
    with pytest.raises(ValueError, match="no whole number of pixels"):
        decode(encode([(1, 2, 3)])[: LATCH_BYTES + 6])
