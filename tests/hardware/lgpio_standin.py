"""A stand-in for the module lgpio, with the functions, defaults and habits of lgpio 0.2.2.

Habits, from its C source: a pulse train is replaced at the end of its period; ending one leaves the line at the level
that it has at that moment; ending one that was never begun is an error; a line has one owner among all programs.
`line(chip, n)` tells what a line does, `pulses` every train that was asked for. Time stands in the middle of a pulse:
a train that is ended leaves its line high.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType

import pytest

HIGHEST_PWM_HZ = 10_000
SHORTEST_PERIOD_US = 10
FLAG_OUT = 2


class error(Exception):
    """lgpio's own."""


@dataclass
class Line:
    """One line of a chip. `train` is (µs high, µs low) while there are pulses; `edges` those that are told of."""

    output: bool = False
    level: int = 0
    train: tuple[int, int] | None = None
    owner: int | None = None
    edges: int = 0

    @property
    def pulse_us(self) -> int | None:
        return None if self.train is None else self.train[0]


@dataclass
class I2cChip:
    """A chip that remembers what was written to its registers."""

    registers: bytearray = field(default_factory=lambda: bytearray(256))
    transactions: list[tuple[int, bytes]] = field(default_factory=list)


Edge = Callable[[int, int, int, int], object]
"""Told the chip, the line, its new level and when that was, in ns."""


class Callback:
    """What `callback` gives."""

    def __init__(self, callbacks: dict[tuple[int, int], Edge], key: tuple[int, int], func: Edge) -> None:
        self._callbacks, self._key = callbacks, key
        callbacks[key] = func

    def cancel(self) -> None:
        self._callbacks.pop(self._key, None)


class Board:
    """The machine behind the module: chips by number, each of so many lines."""

    def __init__(self, chips: dict[int, int]) -> None:
        self.lines = {(chip, n): Line() for chip, count in chips.items() for n in range(count)}
        self.chips = chips
        self.i2c: dict[tuple[int, int], I2cChip] = {}
        self.pulses: list[tuple[int, int, int]] = []
        self.spi: list[tuple[object, ...]] = []
        self._callbacks: dict[tuple[int, int], Edge] = {}
        self._handles: dict[int, int] = {}
        self._i2c_handles: dict[int, tuple[int, int]] = {}
        self._next = 0

    def line(self, chip: int, n: int) -> Line:
        return self.lines[chip, n]

    @property
    def open_chips(self) -> list[int]:
        return list(self._handles.values())

    def change(self, chip: int, n: int, level: int, at_ns: int) -> None:
        """Something outside moves a line."""
        line = self.lines[chip, n]
        falls, line.level = line.level > level, level
        for handle, number in self._handles.items():
            if number == chip and line.edges & (2 if falls else 1) and (handle, n) in self._callbacks:
                self._callbacks[handle, n](handle, n, level, at_ns)

    def handle(self) -> int:
        self._next += 1
        return self._next

    def at(self, handle: int, gpio: int) -> Line:
        if handle not in self._handles:
            raise error("unknown handle")
        key = (self._handles[handle], gpio)
        if key not in self.lines:
            raise error("bad GPIO number")
        return self.lines[key]

    def claim(self, handle: int, gpio: int, *, output: bool, level: int = 0) -> None:
        line = self.at(handle, gpio)
        if line.owner not in (None, handle):
            raise error("GPIO busy")
        line.owner = handle
        if not (output and line.output):
            line.train = None
            line.level = level
        line.output = output

    # -- the module's functions, by their own names and defaults ----------------------------------

    def gpiochip_open(self, gpiochip: int) -> int:
        if gpiochip not in self.chips:
            raise error("can not open gpiochip")
        handle = self.handle()
        self._handles[handle] = gpiochip
        return handle

    def gpiochip_close(self, handle: int) -> int:
        del self._handles[handle]
        for line in self.lines.values():
            if line.owner == handle:
                line.owner = line.train = None
        return 0

    def gpio_claim_input(self, handle: int, gpio: int, lFlags: int = 0) -> int:
        self.claim(handle, gpio, output=False)
        return 0

    def gpio_claim_output(self, handle: int, gpio: int, level: int = 0, lFlags: int = 0) -> int:
        self.claim(handle, gpio, output=True, level=level)
        return 0

    def gpio_free(self, handle: int, gpio: int) -> int:
        line = self.at(handle, gpio)
        line.owner = line.train = None
        return 0

    def gpio_get_mode(self, handle: int, gpio: int) -> int:
        return FLAG_OUT if self.at(handle, gpio).output else 0

    def gpio_read(self, handle: int, gpio: int) -> int:
        return self.at(handle, gpio).level

    def gpio_write(self, handle: int, gpio: int, level: int) -> int:
        line = self.at(handle, gpio)
        if not line.output:
            raise error("GPIO not an output")
        line.level = level
        return 0

    def tx_pulse(
        self, handle: int, gpio: int, pulse_on: int, pulse_off: int, pulse_offset: int = 0, pulse_cycles: int = 0
    ) -> int:
        line = self.at(handle, gpio)
        if not line.output:
            raise error("GPIO not an output")
        if pulse_on == pulse_off == 0 and line.train is not None:
            line.level, line.train = 1, None
        elif not isinstance(pulse_on, int) or not isinstance(pulse_off, int):
            raise TypeError("in method '_tx_pulse', argument of type 'int'")
        elif pulse_on + pulse_off <= SHORTEST_PERIOD_US or pulse_on < 0 or pulse_off < 0:
            raise error("bad PWM micros")
        else:
            line.train = (pulse_on, pulse_off)
            self.pulses.append((gpio, pulse_on, pulse_off))
        return 3

    def gpio_claim_alert(
        self, handle: int, gpio: int, eFlags: int, lFlags: int = 0, notify_handle: int | None = None
    ) -> int:
        self.claim(handle, gpio, output=False, level=self.at(handle, gpio).level)
        self.at(handle, gpio).edges = eFlags
        return 0

    def callback(self, handle: int, gpio: int, edge: int = 1, func: Edge | None = None) -> Callback:
        assert func is not None
        return Callback(self._callbacks, (handle, gpio), func)

    def i2c_open(self, i2c_bus: int, i2c_address: int, i2c_flags: int = 0) -> int:
        if i2c_bus != 1:
            raise error("bad I2C bus")
        handle = self.handle()
        self._i2c_handles[handle] = (i2c_bus, i2c_address)
        return handle

    def i2c_close(self, handle: int) -> int:
        del self._i2c_handles[handle]
        return 0

    def i2c_read_byte_data(self, handle: int, reg: int) -> int:
        return self._i2c_chip(handle, "I2C read failed").registers[reg]

    def i2c_read_word_data(self, handle: int, reg: int) -> int:
        registers = self._i2c_chip(handle, "I2C read failed").registers
        return registers[reg] | registers[reg + 1] << 8

    def i2c_write_i2c_block_data(self, handle: int, reg: int, data: bytes) -> int:
        chip = self._i2c_chip(handle, "I2C write failed")
        chip.transactions.append((reg, bytes(data)))
        chip.registers[reg : reg + len(data)] = data
        return 0

    def spi_open(self, spi_device: int, spi_channel: int, baud: int, spi_flags: int = 0) -> int:
        self.spi.append(("open", spi_device, spi_channel, baud, spi_flags))
        return self.handle()

    def spi_write(self, handle: int, data: bytes) -> int:
        self.spi.append(("write", data))
        return len(data)

    def spi_close(self, handle: int) -> int:
        self.spi.append(("close",))
        return 0

    def _i2c_chip(self, handle: int, trouble: str) -> I2cChip:
        chip = self.i2c.get(self._i2c_handles[handle])
        if chip is None:
            raise error(trouble)
        return chip


FUNCTIONS = [
    name for name, value in vars(Board).items() if name.startswith(("gpio", "tx_", "callback", "i2c_", "spi_"))
]


def install(monkeypatch: pytest.MonkeyPatch, chips: dict[int, int]) -> Board:
    """Be the module lgpio, on a board with these chips, until the test is over."""
    board = Board(chips)
    module = ModuleType("lgpio")
    for name in FUNCTIONS:
        setattr(module, name, getattr(board, name))
    module.error = error  # type: ignore[attr-defined]
    constants = {"RISING_EDGE": 1, "FALLING_EDGE": 2, "BOTH_EDGES": 3}
    constants |= {"SET_PULL_UP": 32, "SET_PULL_DOWN": 64, "SET_PULL_NONE": 128}
    for name, value in constants.items():
        setattr(module, name, value)
    monkeypatch.setitem(sys.modules, "lgpio", module)
    monkeypatch.delitem(sys.modules, "gpiozero.pins.lgpio", raising=False)  # it keeps the lgpio that it first saw
    return board
