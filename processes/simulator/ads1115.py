"""The ADS1115 converter, by its registers: what the datasheet (TI, SBAS444, revision D) says that it does with them."""

from __future__ import annotations

from collections.abc import Callable

CONVERSION, CONFIG, LOW_THRESHOLD, HIGH_THRESHOLD = range(4)
OS, MODE = 0x8000, 0x0100
_AFTER_RESET = {CONVERSION: 0x0000, CONFIG: 0x8583, LOW_THRESHOLD: 0x8000, HIGH_THRESHOLD: 0x7FFF}
_FULL_SCALE_V = (6.144, 4.096, 2.048, 1.024, 0.512, 0.256, 0.256, 0.256)
_SAMPLES_HZ = (8, 16, 32, 64, 128, 250, 475, 860)
_PAIRS = ((0, 1), (0, 3), (1, 3), (2, 3), (0, None), (1, None), (2, None), (3, None))
"""Inputs that MUX puts against each other; None is ground."""


class Ads1115:
    """One chip. Its registers count in bytes as SMBus sends them: the first one is the high one.

    Args:
        input_v: the voltage at an input, 0–3.
    """

    def __init__(self, input_v: Callable[[int], float]) -> None:
        self._input_v = input_v
        self._now = 0.0
        self._done_at: float | None = None
        self.reset()

    def reset(self) -> None:
        """Power comes on."""
        self._registers = dict(_AFTER_RESET)
        self._done_at = None

    def advance(self, now: float) -> None:
        """Let time pass; a conversion that is over by now has its result. In seconds."""
        self._now = now
        if self._done_at is None or now < self._done_at:
            return
        self._registers[CONVERSION] = self._convert()
        if self._registers[CONFIG] & MODE:
            self._done_at = None
        else:
            self._done_at = now + self._conversion_s

    def read(self, register: int) -> int:
        """The first byte."""
        return self.read_word(register) & 0xFF

    def read_word(self, register: int) -> int:
        """As SMBus takes it: the low byte first, which is the chip's high one."""
        word = self._registers[register & 3]
        if register & 3 == CONFIG:
            busy = self._done_at is not None and bool(word & MODE)
            word = word & ~OS | (0 if busy else OS)
        return (word & 0xFF) << 8 | word >> 8

    def write(self, register: int, data: bytes) -> None:
        """One transaction: both bytes of a register, or none."""
        if len(data) < 2 or register & 3 == CONVERSION:
            return
        word = int.from_bytes(data[:2], "big")
        self._registers[register & 3] = word
        if register & 3 != CONFIG:
            return
        begins = not word & MODE or (word & OS and self._done_at is None)
        if begins:
            self._done_at = self._now + self._conversion_s

    @property
    def _conversion_s(self) -> float:
        return 1 / _SAMPLES_HZ[self._registers[CONFIG] >> 5 & 7]

    def _convert(self) -> int:
        word = self._registers[CONFIG]
        plus, minus = _PAIRS[word >> 12 & 7]
        volts = self._input_v(plus) - (0.0 if minus is None else self._input_v(minus))
        steps = round(volts / _FULL_SCALE_V[word >> 9 & 7] * 32768)
        return min(max(steps, -32768), 32767) & 0xFFFF
