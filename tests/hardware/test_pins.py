from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

import pytest
from gpiozero import DigitalOutputDevice

from hardware.config import PinsConfig
from hardware.errors import HardwareError
from hardware.motors import HBridgeMotors
from hardware.pins import Factory, close_factory, connected, pin_factory, when_lost
from processes.simulator.local import LocalSimulator
from processes.simulator.pigpiod import PigpioServer


@contextlib.contextmanager
def listener(answer: bytes | None) -> Iterator[PinsConfig]:
    """Something that is no pigpiod: sends `answer` to everybody, or says nothing at all."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept: list[socket.socket] = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    sock, _ = server.accept()
                    kept.append(sock)
                    if answer is not None:
                        sock.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield PinsConfig(port=server.getsockname()[1], timeout_s=0.2)
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for sock in kept:
            sock.close()


def drop(factory: Factory) -> None:
    """Let go of a factory whose daemon is gone: its pins cannot be given back any more."""
    with contextlib.suppress(HardwareError):
        close_factory(factory)


def test_a_factory_reaches_the_pins(simulated: LocalSimulator, factory: Factory) -> None:
    with DigitalOutputDevice(25, initial_value=True, pin_factory=factory):
        assert simulated.state().pins["25"].level == 1

    assert connected(factory)


def test_a_closed_factory_gives_its_pins_back_as_inputs(simulated: LocalSimulator) -> None:
    factory = pin_factory(simulated.pins)
    device = DigitalOutputDevice(25, initial_value=True, pin_factory=factory)
    assert device.is_active

    close_factory(factory)

    assert simulated.state().pins["25"].mode == "input"
    assert not connected(factory)
    simulated.wait_for(lambda state: state.clients == 0)


def test_no_daemon_is_a_readable_error_and_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]

    with pytest.raises(HardwareError, match=f"no pigpio daemon answers at 127.0.0.1:{port}.*start pigpiod"):
        pin_factory(PinsConfig(port=port))

    assert capfd.readouterr().out == ""


def test_something_else_on_the_port_is_told_apart() -> None:
    with listener(b"HTTP/1.1 400 Bad Request\r\n\r\n") as pins:
        with pytest.raises(HardwareError, match=r"is not a pigpio daemon: set pins\.port"):
            pin_factory(pins)


def test_something_silent_on_the_port_is_given_up() -> None:
    with listener(None) as pins, pytest.raises(HardwareError, match="no pigpio daemon answers"):
        pin_factory(pins)


def test_a_daemon_that_is_full_is_a_readable_error(capfd: pytest.CaptureFixture[str]) -> None:
    with LocalSimulator() as simulated:
        # Every client opens a handle for reports, and the daemon has 32.
        with contextlib.ExitStack() as kept:
            for _ in range(32):
                sock = kept.enter_context(socket.create_connection(("127.0.0.1", simulated.pins.port)))
                sock.sendall(struct.pack("<4I", 99, 0, 0, 0))
                assert len(sock.recv(16, socket.MSG_WAITALL)) == 16
            with pytest.raises(HardwareError, match="takes no more connections"):
                pin_factory(simulated.pins)

    assert capfd.readouterr().out == ""


def test_a_daemon_that_dies_is_noticed_and_every_driver_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with LocalSimulator() as simulated:
        factory = pin_factory(simulated.pins)
        motors = HBridgeMotors(simulated.hardware.motors, factory)
        reader = factory.connection._notify  # the thread in which edges are heard

    assert not connected(factory)
    with pytest.raises(HardwareError, match="could not drive the motors"):
        motors.set(0.1, 0.1)
    with pytest.raises(HardwareError, match="could not stop the motors"):
        motors.stop()
    reader.join(10)
    assert not reader.is_alive(), "the thread that hears of edges must not spin on a dead connection"
    drop(factory)
    assert [record.message for record in caplog.records if record.name == "hardware.pins"] == [
        "the pins are lost: the pigpio daemon closed the connection"
    ]


def test_the_end_of_a_daemon_is_told_of_at_once_and_to_who_asks_later() -> None:
    with LocalSimulator() as simulated:
        factory = pin_factory(simulated.pins)
        told = threading.Event()
        when_lost(factory, told.set)
        assert connected(factory)
        assert not told.is_set()
    assert told.wait(10)
    late = threading.Event()
    when_lost(factory, late.set)
    assert late.is_set()
    drop(factory)


def test_who_closes_his_pins_has_not_lost_them(simulated: LocalSimulator) -> None:
    factory = pin_factory(simulated.pins)
    reader = factory.connection._notify
    told = threading.Event()
    when_lost(factory, told.set)
    close_factory(factory)
    reader.join(10)
    assert not reader.is_alive()
    assert not told.is_set()


def test_a_daemon_that_answers_late_is_never_listened_to_again(
    simulated: LocalSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins = PinsConfig(port=simulated.pins.port, timeout_s=0.2)
    factory = pin_factory(pins)
    waiting, go_on = threading.Event(), threading.Event()
    receive = PigpioServer._receive

    def slow_receive(self: PigpioServer, connection: object) -> None:
        waiting.set()
        go_on.wait(10)
        receive(self, connection)  # type: ignore[arg-type]

    monkeypatch.setattr(PigpioServer, "_receive", slow_receive)
    with pytest.raises(TimeoutError):
        factory.ticks()
    assert waiting.is_set()
    go_on.set()

    # Its late answer would be taken for the answer to this.
    assert not connected(factory)
    drop(factory)
