"""The PCA9685 servo board, by its registers: what the datasheet (NXP, revision 4) says that it does with them."""

from __future__ import annotations

CHANNELS = 16
STEPS = 4096
MODE1, MODE2, LED0, ALL_LED, PRE_SCALE, TEST_MODE = 0x00, 0x01, 0x06, 0xFA, 0xFE, 0xFF
LAST_OF_LEDS = LED0 + 4 * CHANNELS - 1
RESTART, EXTCLK, AUTO_INCREMENT, SLEEP = 0x80, 0x40, 0x20, 0x10
FULL = 0x10
"""Bit 4 of a high byte: full ON, or full OFF."""

_AFTER_RESET = {MODE1: 0x11, MODE2: 0x04, 0x02: 0xE2, 0x03: 0xE4, 0x04: 0xE8, 0x05: 0xE0, PRE_SCALE: 0x1E}


class Pca9685:
    """One chip. It knows no time: between two writes it makes the same pulses.

    Args:
        oscillator_hz: its internal clock.
    """

    def __init__(self, oscillator_hz: float) -> None:
        self._oscillator_hz = oscillator_hz
        self._registers = bytearray(256)
        self.reset()

    def reset(self) -> None:
        """Power comes on."""
        self._registers[:] = bytes(256)
        for register, value in _AFTER_RESET.items():
            self._registers[register] = value
        for channel in range(CHANNELS):
            self._registers[LED0 + 4 * channel + 3] = FULL

    def read(self, register: int) -> int:
        """One byte; ALL_LED reads as zero."""
        return 0 if ALL_LED <= register < PRE_SCALE else self._registers[register]

    def read_word(self, register: int) -> int:
        """Two bytes in one transaction, the first one being the low one. Without AUTO_INCREMENT both are of the same
        register."""
        second = self._after(register) if self._registers[MODE1] & AUTO_INCREMENT else register
        return self.read(register) | self.read(second) << 8

    def write(self, register: int, data: bytes) -> None:
        """One transaction. Without AUTO_INCREMENT every byte goes to the same register."""
        for value in data:
            self._write_one(register, value)
            if self._registers[MODE1] & AUTO_INCREMENT:
                register = self._after(register)

    @property
    def frequency_hz(self) -> float:
        """How often every output goes up and down."""
        return self._oscillator_hz / (STEPS * (self._registers[PRE_SCALE] + 1))

    def pulse_us(self, channel: int) -> float | None:
        """How long an output is high in each period; None where it is steady."""
        on_low, on_high, off_low, off_high = self._registers[LED0 + 4 * channel :][:4]
        if self._registers[MODE1] & (SLEEP | RESTART) or off_high & FULL or on_high & FULL:
            return None
        steps = (off_low + 256 * (off_high & 0xF) - on_low - 256 * (on_high & 0xF)) % STEPS
        return steps / STEPS / self.frequency_hz * 1e6 if steps else None

    @staticmethod
    def _after(register: int) -> int:
        if register in (LAST_OF_LEDS, PRE_SCALE):
            return MODE1
        return (register + 1) & 0xFF

    def _write_one(self, register: int, value: int) -> None:
        if register == MODE1:
            self._write_mode1(value)
        elif register == PRE_SCALE:
            if self._registers[MODE1] & SLEEP:  # else the write is blocked
                self._registers[PRE_SCALE] = max(value, 3)
        elif ALL_LED <= register < PRE_SCALE:
            for channel in range(CHANNELS):
                self._registers[LED0 + 4 * channel + register - ALL_LED] = value & 0x1F if register & 1 else value
            self._forget_restart()
        elif LED0 <= register <= LAST_OF_LEDS:
            self._registers[register] = value & 0x1F if register & 1 else value
            self._forget_restart()
        else:
            self._registers[register] = value

    def _write_mode1(self, value: int) -> None:
        """RESTART is set by falling asleep with an output under way, and cleared by writing 1 to it."""
        before = self._registers[MODE1]
        restart = before & RESTART
        if value & SLEEP and not before & SLEEP and any(self.pulse_us(n) is not None for n in range(CHANNELS)):
            restart = RESTART
        elif value & RESTART and not before & SLEEP:
            restart = 0
        self._registers[MODE1] = value & ~RESTART | restart | before & EXTCLK  # only a reset ends EXTCLK

    def _forget_restart(self) -> None:
        self._registers[MODE1] &= ~RESTART & 0xFF
