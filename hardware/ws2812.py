"""WS2812 pixels on an SPI data line: colours to bytes and back.

Each bit of a colour becomes three bits on the wire: 100 for a zero, 110 for a one. At 2.4 MHz that is 0.42 µs or
0.83 µs high in 1.25 µs, inside the tolerances of the WS2812B's datasheet (T0H 0.4 µs, T1H 0.8 µs, ±150 ns). A low of
280 µs latches the colours; the same low in front covers the first bit, which some SPI controllers stretch.
"""

from __future__ import annotations

from collections.abc import Sequence

Rgb = tuple[int, int, int]
"""Red, green, blue, each 0–255."""

LATCH_BYTES = 100
"""Zero bytes before and after the colours: 333 µs at 2.4 MHz, 280 µs even at 2.85 MHz."""

BYTES_PER_PIXEL = 9
"""24 bits of colour, three bits on the wire for each."""


def _symbol(value: int) -> bytes:
    bits = "".join("110" if value & (0x80 >> bit) else "100" for bit in range(8))
    return int(bits, 2).to_bytes(3, "big")


_SYMBOLS = tuple(_symbol(value) for value in range(256))
_VALUES = {symbol: value for value, symbol in enumerate(_SYMBOLS)}


def encode(pixels: Sequence[Rgb], brightness: float = 1.0) -> bytes:
    """The SPI bytes that show these pixels, in the strip's order (green first), latch included.

    Args:
        pixels: red, green, blue of each pixel, 0–255.
        brightness: 0–1, a factor on every colour.

    Raises:
        ValueError: a colour outside 0–255, or a brightness outside 0–1.
    """
    if not 0.0 <= brightness <= 1.0:
        raise ValueError(f"brightness is {brightness}: 0 to 1 is accepted")
    wire = [_SYMBOLS[round(value * brightness)] for value in range(256)]
    out = [bytes(LATCH_BYTES)]
    for pixel in pixels:
        red, green, blue = pixel
        if not (0 <= red <= 255 and 0 <= green <= 255 and 0 <= blue <= 255):
            raise ValueError(f"colour {pixel} is outside 0 to 255")
        out += (wire[green], wire[red], wire[blue])
    out.append(bytes(LATCH_BYTES))
    return b"".join(out)


def decode(data: bytes) -> list[Rgb]:
    """The colours that a strip would take from these SPI bytes.

    Raises:
        ValueError: the bytes between the latches are no whole pixels, or hold a pulse that is neither zero nor one.
    """
    wire = data.strip(b"\0")  # no symbol begins with eight zeros, nor ends with them
    if len(wire) % BYTES_PER_PIXEL:
        raise ValueError(f"{len(wire)} bytes are no whole number of pixels of {BYTES_PER_PIXEL} bytes")
    try:
        values = [_VALUES[wire[at : at + 3]] for at in range(0, len(wire), 3)]
    except KeyError as error:
        raise ValueError(f"{error.args[0].hex()} holds a pulse that is neither a zero nor a one") from None
    return [(values[at + 1], values[at], values[at + 2]) for at in range(0, len(values), 3)]
