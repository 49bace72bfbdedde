"""pigpiod's socket protocol without the sockets: bytes in, bytes out.

A command is four little-endian 32-bit words, `cmd p1 p2 p3`, then `p3` bytes of extension. The answer is the same
three words and the result in place of `p3`, then, for the commands that read, that many bytes. A connection that
sent NOIB also receives reports `seq(16) flags(16) tick(32) levels(32)` of the lines that it watches.
"""

from __future__ import annotations

import logging
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Literal, NamedTuple

import pigpio

from processes.simulator.gpio import PERMITTED_MASK, PINS, USER_PINS
from processes.simulator.logic import Machine
from processes.simulator.notifications import Notifications, tick_us

log = logging.getLogger(__name__)

HEADER = struct.Struct("<4I")
MAX_EXTENSION = 1 << 16
"""pigpiod hangs up on a longer one."""
MAX_UNSENT = 1 << 20
"""A client that has this much unread is hung up on."""
MAX_UNSENT_REPORTS = 1 << 16
"""Reports beyond this much unread are dropped, and counted."""
SPI_SLOTS = 32
SPI_CHANNELS = 2
SPI_BAUD = (32_000, 125_000_000)
SPI_AUXILIARY = 1 << 8
I2C_SLOTS = 512
I2C_BUSES = 2
MAX_I2C_ADDRESS = 0x7F
MAX_I2C_BLOCK = 32
PIGPIO_VERSION = 79
PI_BAD_PATHNAME = -23
HARDWARE_REVISION = 0xC03115
"""A Raspberry Pi 4 Model B, 4 GB, revision 1.5: the newest that pigpiod runs on."""


class Command(IntEnum):
    """The commands that are understood, by pigpio's numbers."""

    MODES = 0
    MODEG = 1
    PUD = 2
    READ = 3
    WRITE = 4
    PWM = 5
    PRS = 6
    PFS = 7
    SERVO = 8
    BR1 = 10
    BR2 = 11
    BC1 = 12
    BS1 = 14
    TICK = 16
    HWVER = 17
    NO = 18
    NB = 19
    NP = 20
    NC = 21
    PRG = 22
    PFG = 23
    PRRG = 24
    PIGPV = 26
    TRIG = 37
    I2CO = 54
    I2CC = 55
    I2CRB = 61
    I2CWB = 62
    I2CRW = 63
    I2CWI = 68
    SPIO = 71
    SPIC = 72
    SPIR = 73
    SPIW = 74
    SPIX = 75
    GDC = 83
    GPW = 84
    HC = 85
    HP = 86
    FG = 97
    NOIB = 99


_CHANGES_A_PIN = frozenset(
    {
        Command.MODES,
        Command.PUD,
        Command.WRITE,
        Command.PWM,
        Command.PRS,
        Command.PFS,
        Command.SERVO,
        Command.TRIG,
        Command.HC,
        Command.HP,
    }
)
"""Commands whose first word is a pin, which must be one that clients may change."""


class Client:
    """One connection. `out` is what is to be sent on it; `doomed` says why it has to be hung up on."""

    def __init__(self) -> None:
        self.pending = bytearray()
        self.out = bytearray()
        self.doomed: str | None = None


class Call(NamedTuple):
    """One command, complete."""

    client: Client
    p1: int
    p2: int
    extension: bytes
    now: float

    @property
    def word(self) -> int:
        """The extension's first word, 0 where there is none."""
        return int.from_bytes(self.extension[:4], "little")


Handler = Callable[[Call], int | bytes]
"""Returns the result, negative for an error; bytes are sent after it, and their count is the result."""


class Daemon:
    """What pigpiod knows beside the pins: its clients, their notifications, and the SPI handles.

    `counters` counts what went wrong: `unknown_commands`, `reports_dropped`, `hung_up`.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.counters: Counter[str] = Counter()
        self._clients: set[Client] = set()
        self._notifications: Notifications[Client] = Notifications(machine.bank)
        self._spi: set[int] = set()  # as in pigpiod, handles outlive the client that opened them
        self._i2c: dict[int, tuple[int, int]] = {}  # handle: bus and address
        self._handlers: dict[int, Handler] = {
            **self._pin_handlers(),
            Command.TICK: lambda call: tick_us(call.now),
            Command.HWVER: lambda call: HARDWARE_REVISION,
            Command.PIGPV: lambda call: PIGPIO_VERSION,
            Command.NO: lambda call: PI_BAD_PATHNAME,  # there is no /dev/pigpioN to report to
            Command.NOIB: self._notify_open,
            Command.NB: lambda call: self._notify_begin(call.p1, call.p2, call.now),
            Command.NP: lambda call: self._notify_begin(call.p1, 0, call.now),
            Command.NC: self._notify_close,
            Command.I2CO: self._i2c_open,
            Command.I2CC: self._i2c_close,
            Command.I2CRB: lambda call: self._i2c_read(call, "read"),
            Command.I2CRW: lambda call: self._i2c_read(call, "read_word"),
            Command.I2CWB: lambda call: self._i2c_write(call, call.extension[:1] if call.word <= 0xFF else b""),
            Command.I2CWI: lambda call: self._i2c_write(call, call.extension),
            Command.SPIO: self._spi_open,
            Command.SPIC: self._spi_close,
            Command.SPIR: self._spi_read,
            Command.SPIW: self._spi_write,
            Command.SPIX: self._spi_exchange,
        }

    def _pin_handlers(self) -> dict[int, Handler]:
        bank = self.machine.bank
        return {
            Command.MODES: lambda call: bank.set_mode(call.p1, call.p2),
            Command.MODEG: lambda call: bank.get_mode(call.p1),
            Command.PUD: lambda call: bank.set_pull(call.p1, call.p2),
            Command.READ: lambda call: bank.read(call.p1, call.now),
            Command.WRITE: lambda call: bank.write(call.p1, call.p2),
            Command.PWM: lambda call: bank.set_pwm(call.p1, call.p2),
            Command.GDC: lambda call: bank.get_pwm(call.p1),
            Command.PRS: lambda call: bank.set_range(call.p1, call.p2),
            Command.PRG: lambda call: bank.get_range(call.p1),
            Command.PRRG: lambda call: bank.get_real_range(call.p1),
            Command.PFS: lambda call: bank.set_frequency(call.p1, call.p2),
            Command.PFG: lambda call: bank.get_frequency(call.p1),
            Command.SERVO: lambda call: bank.set_servo(call.p1, call.p2),
            Command.GPW: lambda call: bank.get_servo(call.p1),
            Command.HC: lambda call: bank.set_clock(call.p1, call.p2),
            Command.HP: lambda call: bank.set_hardware_pwm(call.p1, call.p2, call.word),
            Command.FG: lambda call: bank.set_glitch_filter(call.p1, call.p2),
            Command.BR1: lambda call: bank.levels,
            Command.BR2: lambda call: 0,
            Command.BC1: lambda call: bank.write_bits(call.p1, 0),
            Command.BS1: lambda call: bank.write_bits(call.p1, 1),
            Command.TRIG: self._trigger,
        }

    # -- connections ------------------------------------------------------------------------------

    @property
    def clients(self) -> int:
        """How many programs are connected; the connection on which one hears of edges is not counted."""
        return len(self._clients - self._notifications.listeners())

    def connected(self) -> Client:
        """A new connection."""
        client = Client()
        self._clients.add(client)
        return client

    def disconnected(self, client: Client) -> None:
        """A connection is gone. The pins stay as they are: nothing stops a motor here."""
        self._clients.discard(client)
        self._notifications.forget(client)

    def received(self, client: Client, data: bytes, now: float) -> None:
        """Carry out the commands that are complete, and keep the rest for later."""
        client.pending += data
        done = 0
        while client.doomed is None and len(client.pending) - done >= HEADER.size:
            command, p1, p2, length = HEADER.unpack_from(client.pending, done)
            if length >= MAX_EXTENSION:
                self._hang_up(client, f"an extension of {length} bytes; fewer than {MAX_EXTENSION} are accepted")
                return
            end = done + HEADER.size + length
            if len(client.pending) < end:
                break
            call = Call(client, p1, p2, bytes(client.pending[done + HEADER.size : end]), now)
            done = end
            self.advance(now)
            client.out += self._answer(command, call)
            self.machine.note_edge(now)
            self.advance(now)
            if len(client.out) > MAX_UNSENT:
                self._hang_up(client, f"{len(client.out)} bytes of answers unread")
        del client.pending[:done]

    def _answer(self, command: int, call: Call) -> bytes:
        result = self._carry_out(command, call)
        read = result if isinstance(result, bytes) else b""
        number = len(result) if isinstance(result, bytes) else result
        return HEADER.pack(command, call.p1, call.p2, number & 0xFFFFFFFF) + read

    def _carry_out(self, command: int, call: Call) -> int | bytes:
        handler = self._handlers.get(command)
        if handler is None:
            self.counters["unknown_commands"] += 1
            log.debug("command %d is not simulated", command)
            return int(pigpio.PI_UNKNOWN_COMMAND)
        if command in _CHANGES_A_PIN and call.p1 < PINS and not PERMITTED_MASK >> call.p1 & 1:
            return int(pigpio.PI_NOT_PERMITTED)
        return handler(call)

    def _hang_up(self, client: Client, reason: str) -> None:
        self.counters["hung_up"] += 1
        client.doomed = reason

    # -- time and reports -------------------------------------------------------------------------

    def advance(self, now: float) -> None:
        """Let time pass in the machine, and report the edges."""
        self.machine.advance(now)
        self._send(self._notifications.reports(self.machine.take_edges(), now))

    def next_event_s(self) -> float | None:
        """When `advance` is due next; None while nothing moves by itself."""
        moments = (self.machine.next_event_s(), self._notifications.next_event_s())
        return min((moment for moment in moments if moment is not None), default=None)

    def _send(self, reports: Iterable[tuple[Client, bytes]]) -> None:
        for client, report in reports:
            if len(client.out) > MAX_UNSENT_REPORTS:
                self.counters["reports_dropped"] += 1
            else:
                client.out += report

    def _notify_open(self, call: Call) -> int:
        handle = self._notifications.open(call.client)
        return int(pigpio.PI_NO_HANDLE) if handle is None else handle

    def _notify_begin(self, handle: int, bits: int, now: float) -> int:
        reports = self._notifications.begin(handle, bits, now)
        if reports is None:
            return int(pigpio.PI_BAD_HANDLE)
        self._send(reports)
        return 0

    def _notify_close(self, call: Call) -> int:
        return 0 if self._notifications.close(call.p1) else int(pigpio.PI_BAD_HANDLE)

    # -- pulses and SPI ---------------------------------------------------------------------------

    def _trigger(self, call: Call) -> int:
        gpio, pulse_us, level = call.p1, call.p2, call.word
        if gpio >= USER_PINS:
            return int(pigpio.PI_BAD_USER_GPIO)
        if not 1 <= pulse_us <= 100:
            return int(pigpio.PI_BAD_PULSELEN)
        if level > 1:
            return int(pigpio.PI_BAD_LEVEL)
        bank = self.machine.bank
        bank.write_bits(1 << gpio, level)
        self.machine.note_edge(call.now)
        return bank.write_bits(1 << gpio, 1 - level)

    def _spi_open(self, call: Call) -> int:
        channel, baud, flags = call.p1, call.p2, call.word
        if flags & SPI_AUXILIARY:
            return int(pigpio.PI_NO_AUX_SPI)
        if channel >= SPI_CHANNELS:
            return int(pigpio.PI_BAD_SPI_CHANNEL)
        if not SPI_BAUD[0] <= baud <= SPI_BAUD[1]:
            return int(pigpio.PI_BAD_SPI_SPEED)
        if flags > 1 << 22:
            return int(pigpio.PI_BAD_FLAGS)
        free = next((handle for handle in range(SPI_SLOTS) if handle not in self._spi), None)
        if free is None:
            return int(pigpio.PI_NO_HANDLE)
        if not self._spi:
            self.machine.spi_begin(leave_chip_selects=flags >> 5 & 0b11)
        self._spi.add(free)
        return free

    def _spi_close(self, call: Call) -> int:
        if call.p1 not in self._spi:
            return int(pigpio.PI_BAD_HANDLE)
        self._spi.discard(call.p1)
        if not self._spi:
            self.machine.spi_end()
        return 0

    def _spi_write(self, call: Call) -> int:
        if call.p1 not in self._spi:
            return int(pigpio.PI_BAD_HANDLE)
        self.machine.spi_write(call.extension)
        return len(call.extension)

    def _spi_exchange(self, call: Call) -> int | bytes:
        written = self._spi_write(call)
        return bytes(written) if written >= 0 else written  # nothing answers on MISO

    def _spi_read(self, call: Call) -> int | bytes:
        if call.p1 not in self._spi:
            return int(pigpio.PI_BAD_HANDLE)
        return bytes(call.p2) if call.p2 <= MAX_EXTENSION else int(pigpio.PI_BAD_SPI_COUNT)

    # -- I²C --------------------------------------------------------------------------------------

    def _i2c_open(self, call: Call) -> int:
        bus, address = call.p1, call.p2
        if bus >= I2C_BUSES:
            return int(pigpio.PI_BAD_I2C_BUS)
        if address > MAX_I2C_ADDRESS:
            return int(pigpio.PI_BAD_I2C_ADDR)
        if call.word:
            return int(pigpio.PI_BAD_FLAGS)
        free = next((handle for handle in range(I2C_SLOTS) if handle not in self._i2c), None)
        if free is None:
            return int(pigpio.PI_NO_HANDLE)
        self._i2c[free] = (bus, address)
        return free

    def _i2c_close(self, call: Call) -> int:
        return int(pigpio.PI_BAD_HANDLE) if self._i2c.pop(call.p1, None) is None else 0

    def _i2c_read(self, call: Call, how: Literal["read", "read_word"]) -> int:
        where, register = self._i2c.get(call.p1), call.p2
        if where is None:
            return int(pigpio.PI_BAD_HANDLE)
        if register > 0xFF:
            return int(pigpio.PI_BAD_PARAM)
        chip = self.machine.i2c_chip(*where)
        if chip is None:
            return int(pigpio.PI_I2C_READ_FAILED)
        return chip.read(register) if how == "read" else chip.read_word(register)

    def _i2c_write(self, call: Call, data: bytes) -> int:
        where, register = self._i2c.get(call.p1), call.p2
        if where is None:
            return int(pigpio.PI_BAD_HANDLE)
        if register > 0xFF or not 1 <= len(data) <= MAX_I2C_BLOCK:
            return int(pigpio.PI_BAD_PARAM)
        chip = self.machine.i2c_chip(*where)
        if chip is None:
            return int(pigpio.PI_I2C_WRITE_FAILED)
        chip.write(register, data)
        return 0
