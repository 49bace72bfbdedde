"""The simulated pins as programs see them: through pigpio's own client and gpiozero, over a real socket."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import struct
import threading

import pigpio
import pytest
from gpiozero import DigitalInputDevice

from bus.errors import SettingsError
from bus.messages import SimulatedFault
from hardware.config import HardwareConfig
from hardware.pins import Factory, connected
from hardware.servo import ContinuousServo
from processes.simulator.config import SimulatorConfig
from processes.simulator.local import LocalSimulator
from processes.simulator.logic import Machine
from processes.simulator.pigpiod import Connection, PigpioServer

PATIENCE_S = 10.0


@pytest.fixture
def client(simulated: LocalSimulator) -> pigpio.pi:
    """pigpio's client as it is, without anything of ours."""
    client = pigpio.pi("127.0.0.1", simulated.pins.port)
    assert client.connected
    reports = client._notify
    yield client
    client.stop()
    reports.join(PATIENCE_S)
    assert not reports.is_alive(), "the client's thread hears no goodbye"


def test_pigpios_own_client_is_served(simulated: LocalSimulator, client: pigpio.pi) -> None:
    assert client.get_pigpio_version() == 79
    assert client.set_PWM_frequency(13, 1000) == 1000
    assert client.set_PWM_range(13, 10_000) == 200
    assert client.set_PWM_dutycycle(13, 5000) == 0
    assert client.get_PWM_dutycycle(13) == 5000
    assert client.get_PWM_real_range(13) == 200
    assert client.set_servo_pulsewidth(5, 1500) == 0
    assert client.get_servo_pulsewidth(5) == 1500
    assert client.hardware_PWM(12, 1000, 500_000) == 0
    assert client.read_bank_1() & 1 << 13
    assert simulated.state().pins["13"].duty == 0.5


def test_errors_come_with_pigpios_words(client: pigpio.pi) -> None:
    with pytest.raises(pigpio.error, match="GPIO is not in use for PWM"):
        client.get_PWM_dutycycle(13)
    with pytest.raises(pigpio.error, match="no permission to update GPIO"):
        client.write(0, 1)
    with pytest.raises(pigpio.error, match="unknown command"):
        client.serial_open("/dev/ttyS0", 9600)
    count, data = client.spi_read(9, 4)
    assert (count, data) == (pigpio.PI_BAD_HANDLE, "")


def test_spi_exchanges_bytes(client: pigpio.pi) -> None:
    handle = client.spi_open(0, 1_000_000, 0x60)

    assert client.spi_xfer(handle, b"\0" * 5000) == (5000, bytearray(5000))
    assert client.spi_write(handle, b"\0" * 60_000) == 60_000
    assert client.spi_close(handle) == 0


def test_a_falling_treat_is_heard_through_gpiozero(simulated: LocalSimulator, factory: Factory) -> None:
    seen: queue.Queue[str] = queue.Queue()
    beam = DigitalInputDevice(7, pull_up=True, bounce_time=0.002, pin_factory=factory)
    beam.when_activated = lambda: seen.put("broken")
    beam.when_deactivated = lambda: seen.put("clear")
    servo = ContinuousServo(12, factory)

    servo.set_us(1650)
    assert seen.get(timeout=PATIENCE_S) == "broken"
    servo.set_us(1500)
    assert seen.get(timeout=PATIENCE_S) == "clear"

    assert simulated.state().carousel.dropped >= 1


def test_a_fault_is_heard_at_once(simulated: LocalSimulator, factory: Factory) -> None:
    seen = threading.Event()
    beam = DigitalInputDevice(7, pull_up=True, pin_factory=factory)
    beam.when_activated = seen.set

    assert simulated.apply(SimulatedFault(beam_blocked=True)).beam.broken

    assert seen.wait(PATIENCE_S)


def test_edges_of_output_pins_are_reported_with_their_ticks(client: pigpio.pi) -> None:
    seen: queue.Queue[tuple[int, int, int]] = queue.Queue()
    client.write(17, 0)
    client.callback(17, pigpio.EITHER_EDGE, lambda *event: seen.put(event))
    before = client.get_current_tick()

    client.write(17, 1)
    client.write(17, 0)

    first, second = seen.get(timeout=PATIENCE_S), seen.get(timeout=PATIENCE_S)
    assert [first[:2], second[:2]] == [(17, 1), (17, 0)]
    assert 0 <= pigpio.tickDiff(before, first[2]) <= pigpio.tickDiff(before, second[2])


def test_the_last_duty_is_held_after_its_client_is_gone(simulated: LocalSimulator) -> None:
    with socket.create_connection(("127.0.0.1", simulated.pins.port)) as sock:
        for command, gpio, value in ((4, 17, 1), (7, 13, 1000), (5, 13, 255)):
            sock.sendall(struct.pack("<4I", command, gpio, value, 0))
            assert sock.recv(16, socket.MSG_WAITALL)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, as from a kill

    state = simulated.wait_for(lambda state: state.clients == 0)

    assert state.motors.left.duty == 1.0
    assert state.pins["13"].frequency_hz == 1000


def test_garbage_and_half_frames_harm_nobody(simulated: LocalSimulator, client: pigpio.pi) -> None:
    address = ("127.0.0.1", simulated.pins.port)
    client.set_PWM_dutycycle(13, 100)
    others = [socket.create_connection(address) for _ in range(20)]
    for n, sock in enumerate(others):
        sock.sendall(os.urandom(300) if n % 2 else struct.pack("<4I", 74, 0, 0, 5000) + b"half")
    for sock in others[::3]:
        sock.close()

    assert client.get_PWM_dutycycle(13) == 100
    simulated.wait_for(lambda state: state.pins["13"].duty == pytest.approx(0.392))
    for sock in others:
        sock.close()
    simulated.wait_for(lambda state: state.clients == 1)


def test_a_client_that_is_hung_up_on_hears_it(simulated: LocalSimulator) -> None:
    with socket.create_connection(("127.0.0.1", simulated.pins.port), timeout=PATIENCE_S) as sock:
        sock.sendall(struct.pack("<4I", 74, 0, 0, 1 << 20))

        assert sock.recv(16) == b""

    assert simulated.server.counters["hung_up"] == 1


def test_a_client_that_never_reads_is_bounded(simulated: LocalSimulator, client: pigpio.pi) -> None:
    with socket.create_connection(("127.0.0.1", simulated.pins.port), timeout=PATIENCE_S) as sock:
        request = struct.pack("<4I", 16, 0, 0, 0) * 4096
        with contextlib.suppress(ConnectionError):
            for _ in range(5000):
                sock.sendall(request)
            pytest.fail("nobody hung up")

    assert simulated.server.counters["hung_up"] == 1
    assert client.get_pigpio_version() == 79


def test_there_is_room_for_so_many_connections_and_no_more(client: pigpio.pi) -> None:
    server = PigpioServer(Machine(HardwareConfig(), SimulatorConfig(), 0.0), max_connections=2)
    address = ("127.0.0.1", server.start("127.0.0.1", 0))
    kept = [socket.create_connection(address, timeout=PATIENCE_S) for _ in range(2)]
    for sock in kept:
        sock.sendall(struct.pack("<4I", 26, 0, 0, 0))
        assert sock.recv(16)

    with socket.create_connection(address, timeout=PATIENCE_S) as refused:
        assert refused.recv(16) == b""
    assert server.counters["refused"] == 1

    kept.pop().close()
    for sock in kept:
        sock.close()
    server.stop()


def test_a_fault_of_ours_in_one_connection_ends_that_connection(
    simulated: LocalSimulator, client: pigpio.pi, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive = PigpioServer._receive
    with socket.create_connection(("127.0.0.1", simulated.pins.port), timeout=PATIENCE_S) as sock:
        port = sock.getsockname()[1]

        def fail_for_one(self: PigpioServer, connection: Connection) -> None:
            ours = connection.socket.getpeername()[1] == port
            receive(self, connection)
            if ours:
                raise ZeroDivisionError

        monkeypatch.setattr(PigpioServer, "_receive", fail_for_one)
        sock.sendall(b"x")
        assert sock.recv(1) == b""

    assert simulated.server.counters["errors"] == 1
    assert client.get_pigpio_version() == 79
    assert simulated.server.alive


def test_a_port_that_is_taken_is_a_readable_error(simulated: LocalSimulator) -> None:
    second = PigpioServer(Machine(HardwareConfig(), SimulatorConfig(), 0.0))

    with pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1:{simulated.pins.port}.*another pins.port"):
        second.start("127.0.0.1", simulated.pins.port)

    assert not second.alive
    second.stop()


def test_a_stopped_simulator_comes_back_on_its_port(simulated: LocalSimulator, factory: Factory) -> None:
    with LocalSimulator() as first:
        port = first.pins.port
        sock = socket.create_connection(("127.0.0.1", port))
    assert not first.server.alive

    again = PigpioServer(Machine(HardwareConfig(), SimulatorConfig(), 0.0))
    assert again.start("127.0.0.1", port) == port
    again.stop()
    sock.close()
    assert connected(factory)
