"""pigpiod's protocol, byte by byte, without sockets."""

from __future__ import annotations

import itertools
import struct

import pigpio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware.config import HardwareConfig
from hardware.ws2812 import encode
from processes.simulator.config import SimulatorConfig
from processes.simulator.logic import Machine
from processes.simulator.protocol import (
    HARDWARE_REVISION,
    HEADER,
    I2C_SLOTS,
    MAX_EXTENSION,
    MAX_UNSENT,
    PIGPIO_VERSION,
    SPI_SLOTS,
    Client,
    Command,
    Daemon,
)

NOW = 50.0


def make_daemon() -> Daemon:
    return Daemon(Machine(HardwareConfig(), SimulatorConfig(), NOW))


@pytest.fixture
def daemon() -> Daemon:
    return make_daemon()


@pytest.fixture
def client(daemon: Daemon) -> Client:
    return daemon.connected()


def frame(command: int, p1: int = 0, p2: int = 0, extension: bytes = b"") -> bytes:
    return HEADER.pack(command, p1, p2, len(extension)) + extension


def ask(
    daemon: Daemon, client: Client, command: int, p1: int = 0, p2: int = 0, extension: bytes = b"", now: float = NOW
) -> int:
    """The result of one command."""
    client.out.clear()
    daemon.received(client, frame(command, p1, p2, extension), now)
    echoed, q1, q2, result = struct.unpack_from("<3Ii", client.out)
    assert (echoed, q1, q2) == (command, p1, p2)
    return int(result)


def test_the_numbers_are_pigpios() -> None:
    for command in Command:
        assert getattr(pigpio, f"_PI_CMD_{command.name}") == command


def test_an_answer_echoes_the_command_and_carries_the_result(daemon: Daemon, client: Client) -> None:
    daemon.received(client, frame(Command.PIGPV, 7, 9), NOW)

    assert HEADER.unpack(client.out) == (Command.PIGPV, 7, 9, PIGPIO_VERSION)
    assert ask(daemon, client, Command.HWVER) == HARDWARE_REVISION
    assert ask(daemon, client, Command.TICK) == 50_000_000


def test_several_commands_at_once_are_answered_in_order(daemon: Daemon, client: Client) -> None:
    daemon.received(client, frame(Command.WRITE, 17, 1) + frame(Command.READ, 17) + frame(Command.MODEG, 17), NOW)

    assert [HEADER.unpack_from(client.out, at)[3] for at in (0, 16, 32)] == [0, 1, 1]


COMMANDS = [
    frame(Command.PFS, 13, 1000),
    frame(Command.PRS, 13, 10_000),
    frame(Command.PWM, 13, 5000),
    frame(Command.HP, 12, 1000, struct.pack("<I", 500_000)),
    frame(Command.GDC, 13),
    frame(200, 1, 2, b"unknown"),
    frame(Command.BR1),
]


@given(st.lists(st.integers(0, 200), max_size=20))
def test_frames_may_come_in_any_pieces(cuts: list[int]) -> None:
    stream = b"".join(COMMANDS)
    whole, pieces = make_daemon(), make_daemon()
    at_once, in_pieces = whole.connected(), pieces.connected()
    whole.received(at_once, stream, NOW)

    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    for start, end in itertools.pairwise(edges):
        pieces.received(in_pieces, stream[start:end], NOW)

    assert in_pieces.out == at_once.out
    assert len(at_once.out) == 16 * len(COMMANDS)
    assert in_pieces.pending == b""


def test_half_a_frame_waits_and_does_nothing(daemon: Daemon, client: Client) -> None:
    daemon.received(client, frame(Command.WRITE, 17, 1)[:15], NOW)

    assert client.out == b""
    assert daemon.machine.bank.pins[17].level == 0


@settings(max_examples=200)
@given(st.binary(max_size=400))
def test_garbage_never_crashes_it(garbage: bytes) -> None:
    daemon = make_daemon()
    client, other = daemon.connected(), daemon.connected()

    daemon.received(client, garbage, NOW)

    assert ask(daemon, other, Command.PIGPV) == PIGPIO_VERSION
    assert len(client.pending) <= len(garbage)


@settings(max_examples=200)
@given(
    command=st.sampled_from(sorted(Command)),
    p1=st.integers(0, 0xFFFFFFFF) | st.integers(0, 60),
    p2=st.integers(0, 0xFFFFFFFF) | st.integers(0, 60),
    extension=st.binary(max_size=12),
)
def test_any_parameters_get_an_answer(command: int, p1: int, p2: int, extension: bytes) -> None:
    daemon = make_daemon()
    client = daemon.connected()

    daemon.received(client, frame(command, p1, p2, extension), NOW)

    assert HEADER.unpack_from(client.out)[:3] == (command, p1, p2) or command == Command.NB
    assert client.doomed is None


def test_an_unknown_command_is_refused_and_its_extension_skipped(daemon: Daemon, client: Client) -> None:
    serial_open = 76
    assert ask(daemon, client, serial_open, 9600, 0, b"/dev/ttyS0") == pigpio.PI_UNKNOWN_COMMAND
    assert daemon.counters["unknown_commands"] == 1
    assert ask(daemon, client, Command.PIGPV) == PIGPIO_VERSION


def test_what_i2c_refuses_it_refuses_in_pigpios_words(daemon: Daemon, client: Client) -> None:
    no_flags = struct.pack("<I", 0)
    assert ask(daemon, client, Command.I2CO, 2, 0x40, no_flags) == pigpio.PI_BAD_I2C_BUS
    assert ask(daemon, client, Command.I2CO, 1, 0x80, no_flags) == pigpio.PI_BAD_I2C_ADDR
    assert ask(daemon, client, Command.I2CO, 1, 0x40, struct.pack("<I", 1)) == pigpio.PI_BAD_FLAGS
    assert ask(daemon, client, Command.I2CRB, 5, 0) == pigpio.PI_BAD_HANDLE
    assert ask(daemon, client, Command.I2CWI, 5, 0, b"x") == pigpio.PI_BAD_HANDLE
    handles = [ask(daemon, client, Command.I2CO, 1, 0x40, no_flags) for _ in range(I2C_SLOTS)]
    assert handles == list(range(I2C_SLOTS))
    assert ask(daemon, client, Command.I2CO, 1, 0x40, no_flags) == pigpio.PI_NO_HANDLE
    assert ask(daemon, client, Command.I2CRB, 0, 0) == pigpio.PI_I2C_READ_FAILED  # no board is wired
    assert ask(daemon, client, Command.I2CWB, 0, 0, no_flags) == pigpio.PI_I2C_WRITE_FAILED
    assert ask(daemon, client, Command.I2CRB, 0, 0x100) == pigpio.PI_BAD_PARAM
    assert ask(daemon, client, Command.I2CWB, 0, 0, struct.pack("<I", 0x100)) == pigpio.PI_BAD_PARAM
    assert ask(daemon, client, Command.I2CWI, 0, 0, bytes(33)) == pigpio.PI_BAD_PARAM
    assert ask(daemon, client, Command.I2CC, 0) == 0
    assert ask(daemon, client, Command.I2CC, 0) == pigpio.PI_BAD_HANDLE


def test_an_extension_too_long_is_hung_up_on(daemon: Daemon, client: Client) -> None:
    daemon.received(client, HEADER.pack(Command.SPIW, 0, 0, MAX_EXTENSION), NOW)

    assert client.doomed is not None
    assert "65536 bytes; fewer than 65536 are accepted" in client.doomed
    assert daemon.counters["hung_up"] == 1


def test_a_client_that_does_not_read_is_hung_up_on(daemon: Daemon, client: Client) -> None:
    daemon.received(client, frame(Command.TICK) * (MAX_UNSENT // 16 + 100), NOW)

    assert client.doomed is not None
    assert len(client.out) <= MAX_UNSENT + 16


def test_reports_to_a_client_that_does_not_read_are_dropped_and_counted(daemon: Daemon, client: Client) -> None:
    reader = daemon.connected()
    handle = ask(daemon, reader, Command.NOIB)
    ask(daemon, client, Command.NB, handle, 1 << 17)
    for n in range(12_000):
        ask(daemon, client, Command.WRITE, 17, n % 2)

    assert daemon.counters["reports_dropped"] > 0
    assert len(reader.out) <= 1 << 17


@pytest.mark.parametrize("gpio", [0, 1, 28, 31, 53])
@pytest.mark.parametrize("command", [Command.MODES, Command.WRITE, Command.PWM, Command.SERVO, Command.PUD])
def test_pins_that_are_not_the_headers_may_not_be_changed(
    daemon: Daemon, client: Client, command: int, gpio: int
) -> None:
    assert ask(daemon, client, command, gpio, 1) == pigpio.PI_NOT_PERMITTED


def test_a_pin_that_does_not_exist_is_a_bad_one(daemon: Daemon, client: Client) -> None:
    assert ask(daemon, client, Command.WRITE, 54, 1) == pigpio.PI_BAD_GPIO


def test_a_trigger_is_a_pulse_that_watchers_see(daemon: Daemon, client: Client) -> None:
    reader = daemon.connected()
    handle = ask(daemon, reader, Command.NOIB)
    ask(daemon, client, Command.WRITE, 17, 0)
    ask(daemon, client, Command.NB, handle, 1 << 17)
    reader.out.clear()

    assert ask(daemon, client, Command.TRIG, 17, 10, struct.pack("<I", 1)) == 0

    reports = [struct.unpack_from("<HHII", reader.out, at) for at in range(0, len(reader.out), 12)]
    assert [levels >> 17 & 1 for _, _, _, levels in reports] == [1, 0]
    assert ask(daemon, client, Command.TRIG, 17, 0, struct.pack("<I", 1)) == pigpio.PI_BAD_PULSELEN
    assert ask(daemon, client, Command.TRIG, 17, 10, struct.pack("<I", 2)) == pigpio.PI_BAD_LEVEL
    assert ask(daemon, client, Command.TRIG, 60, 10, struct.pack("<I", 1)) == pigpio.PI_BAD_USER_GPIO


def test_a_notification_pipe_is_not_to_be_had(daemon: Daemon, client: Client) -> None:
    assert ask(daemon, client, Command.NO) == pigpio._PI_BAD_PATHNAME


def test_handles_that_nobody_has_are_bad_ones(daemon: Daemon, client: Client) -> None:
    for command in (Command.NB, Command.NP, Command.NC, Command.SPIC, Command.SPIR, Command.SPIW, Command.SPIX):
        assert ask(daemon, client, command, 3) == pigpio.PI_BAD_HANDLE


def test_a_program_with_two_connections_counts_once(daemon: Daemon, client: Client) -> None:
    reports = daemon.connected()
    ask(daemon, reports, Command.NOIB)
    assert daemon.clients == 1

    daemon.disconnected(reports)
    daemon.disconnected(client)
    assert daemon.clients == 0


def test_the_pins_stay_as_a_dead_client_left_them(daemon: Daemon, client: Client) -> None:
    ask(daemon, client, Command.WRITE, 17, 1)
    ask(daemon, client, Command.PWM, 13, 255)

    daemon.disconnected(client)

    assert daemon.machine.snapshot().motors.left.duty == 1.0


def test_spi_writes_reach_the_pixels_and_reads_are_silent(daemon: Daemon, client: Client) -> None:
    handle = ask(daemon, client, Command.SPIO, 0, 2_400_000, struct.pack("<I", 0x60))
    data = encode([(1, 2, 3)])

    assert ask(daemon, client, Command.SPIW, handle, 0, data) == len(data)
    assert daemon.machine.snapshot().leds.pixels[0] == (1, 2, 3)
    assert ask(daemon, client, Command.SPIX, handle, 0, encode([(4, 5, 6)])) == len(data)
    assert client.out[16:] == bytes(len(data))
    assert daemon.machine.snapshot().leds.pixels[0] == (4, 5, 6)
    assert ask(daemon, client, Command.SPIR, handle, 3) == 3
    assert client.out[16:] == b"\0\0\0"
    assert ask(daemon, client, Command.SPIR, handle, 1 << 20) == pigpio.PI_BAD_SPI_COUNT
    assert ask(daemon, client, Command.SPIC, handle) == 0
    assert ask(daemon, client, Command.SPIW, handle, 0, data) == pigpio.PI_BAD_HANDLE


def test_spi_handles_outlive_their_client_and_are_limited(daemon: Daemon, client: Client) -> None:
    flags = struct.pack("<I", 0)
    handles = [ask(daemon, client, Command.SPIO, 0, 500_000, flags) for _ in range(SPI_SLOTS)]
    assert handles == list(range(SPI_SLOTS))
    daemon.disconnected(client)

    other = daemon.connected()
    assert ask(daemon, other, Command.SPIO, 0, 500_000, flags) == pigpio.PI_NO_HANDLE
    assert ask(daemon, other, Command.SPIC, 5) == 0
    assert ask(daemon, other, Command.SPIO, 0, 500_000, flags) == 5


@pytest.mark.parametrize(
    ("channel", "baud", "flags", "error"),
    [
        (2, 500_000, 0, pigpio.PI_BAD_SPI_CHANNEL),
        (0, 31_999, 0, pigpio.PI_BAD_SPI_SPEED),
        (0, 500_000, 1 << 23, pigpio.PI_BAD_FLAGS),
        (0, 500_000, 1 << 8, pigpio.PI_NO_AUX_SPI),
    ],
)
def test_spi_that_cannot_be_is_refused(
    daemon: Daemon, client: Client, channel: int, baud: int, flags: int, error: int
) -> None:
    assert ask(daemon, client, Command.SPIO, channel, baud, struct.pack("<I", flags)) == error
