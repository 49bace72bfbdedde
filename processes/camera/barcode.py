"""The machine-readable frame number and time in the drawn picture; pure. `docs/frame-number.md` tells how to read it.

Two rows of 48 black and white blocks: 32 bits of frame number, 48 bits of time in milliseconds since 1970 (UTC), and
16 bits of CRC-16/CCITT-FALSE over those ten bytes, most significant bit first. Positions are fractions of the
picture's sides, and blocks are large, so that it can be read after scaling to half size and after a low bit rate.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COLUMNS = 48
ROWS = 2
LEFT, BLOCK_WIDTH = 0.02, 0.02
TOP, BLOCK_HEIGHT = 0.02, 0.04
"""Of the picture's width and height. Block (row, column) has its middle at
(LEFT + (column + 0.5) * BLOCK_WIDTH, TOP + (row + 0.5) * BLOCK_HEIGHT)."""

BLACK, WHITE = 16, 235
THRESHOLD = 126
"""Luma (limited range, 16 to 235) above which a block is a one."""

NUMBER_LIMIT = 2**32
TIME_LIMIT = 2**48
_CRC_START = 0xFFFF


@dataclass(frozen=True)
class Stamp:
    """What the blocks say.

    Attributes:
        number: the frame's number, modulo 2**32.
        unix_ms: when the frame was taken, in milliseconds since 1970 UTC.
    """

    number: int
    unix_ms: int


def encode(stamp: Stamp) -> NDArray[np.bool_]:
    """The blocks, shape (ROWS, COLUMNS), True for white."""
    content = (stamp.number % NUMBER_LIMIT).to_bytes(4, "big") + (stamp.unix_ms % TIME_LIMIT).to_bytes(6, "big")
    content += binascii.crc_hqx(content, _CRC_START).to_bytes(2, "big")
    return np.unpackbits(np.frombuffer(content, np.uint8)).astype(bool).reshape(ROWS, COLUMNS)


def decode(blocks: NDArray[np.bool_]) -> Stamp | None:
    """What the blocks say, or None when the checksum does not agree."""
    content = np.packbits(blocks.reshape(-1)).tobytes()
    if binascii.crc_hqx(content[:10], _CRC_START) != int.from_bytes(content[10:], "big"):
        return None
    return Stamp(int.from_bytes(content[:4], "big"), int.from_bytes(content[4:10], "big"))


def read(luma: NDArray[np.uint8]) -> Stamp | None:
    """Read a picture's luma plane, shape (height, width) of any size; None when there is no readable stamp."""
    height, width = luma.shape
    rows = ((TOP + (np.arange(ROWS) + 0.5) * BLOCK_HEIGHT) * height).astype(int)
    columns = ((LEFT + (np.arange(COLUMNS) + 0.5) * BLOCK_WIDTH) * width).astype(int)
    samples: list[NDArray[np.uint8]] = [
        luma[np.ix_(rows + down, columns + right)] for down in (-1, 0, 1) for right in (-1, 0, 1)
    ]
    return decode(np.mean(samples, axis=0) > THRESHOLD)


class Strip:
    """Draws stamps into luma planes of one size, in two assignments a frame."""

    def __init__(self, width: int, height: int) -> None:
        edges = np.round((LEFT + np.arange(COLUMNS + 1) * BLOCK_WIDTH) * width).astype(int)
        self._columns = slice(edges[0], edges[-1])
        self._block_of_column = np.repeat(np.arange(COLUMNS), np.diff(edges))
        down = np.round((TOP + np.arange(ROWS + 1) * BLOCK_HEIGHT) * height).astype(int)
        self._rows = [slice(down[row], down[row + 1]) for row in range(ROWS)]

    def draw(self, luma: NDArray[np.uint8], stamp: Stamp) -> None:
        values = np.where(encode(stamp), WHITE, BLACK).astype(np.uint8)
        for row, where in enumerate(self._rows):
            luma[where, self._columns] = values[row, self._block_of_column]
