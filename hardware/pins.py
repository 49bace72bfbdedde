"""Pin factories: the way to the pins, as gpiozero's devices want it.

SPI and PWM go through the factory's own connection, so one factory serves a whole process.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import socket
import struct
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

import pigpio
from gpiozero import PinInvalidState
from gpiozero.pins.pi import PiFactory
from gpiozero.pins.pigpio import PiGPIOFactory, PiGPIOPin

from hardware.config import PinsConfig
from hardware.errors import HardwareError, hardware_errors
from hardware.kernel_pins import kernel_factory

log = logging.getLogger(__name__)

Factory = Any
"""A gpiozero pin factory; gpiozero has no types."""

_PIGPV = 26
"""pigpio's command "version of the daemon", which has no side effect."""


class _CommandSocket:
    """The client's socket for commands, closed for good at the first answer that does not come in time.

    pigpio's client matches answers to commands by order alone: an answer that comes late would be taken for the
    next command's.
    """

    def __init__(self, sock: socket.socket, timeout_s: float) -> None:
        sock.settimeout(timeout_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock

    def send(self, data: bytes) -> int:
        self._sock.sendall(data)  # the client sends whole commands, and does not look at how much went out
        return len(data)

    def sendall(self, data: bytes) -> None:
        self._sock.sendall(data)

    def recv(self, size: int) -> bytes:
        """Exactly `size` bytes: the client takes whatever it gets for all that it asked for."""
        received = bytearray()
        try:
            while len(received) < size:
                chunk = self._sock.recv(size - len(received))
                if not chunk:
                    raise ConnectionResetError("the pigpio daemon closed the connection")
                received += chunk
        except OSError:
            self._sock.close()
            raise
        return bytes(received)

    def close(self) -> None:
        self._sock.close()


class _ReportSocket:
    """The client's socket for reports of edges; its thread would spin for ever on one that was hung up on."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def send(self, data: bytes) -> int:
        return self._sock.send(data)

    def recv(self, size: int) -> bytes:
        data = self._sock.recv(size)
        if not data:
            raise ConnectionResetError("the pigpio daemon closed the connection")
        return data

    def shutdown(self, how: int) -> None:
        self._sock.shutdown(how)

    def close(self) -> None:
        self._sock.close()


class _Reports(pigpio._callback_thread):  # type: ignore[misc]
    """The client's thread for reports, which ends when the daemon does, and tells of it."""

    go: bool

    def __init__(self, control: Any, host: str, port: int) -> None:
        self._over = Future[None]()
        try:
            super().__init__(control, host, port)
        except BaseException:
            self.sl.s.close()  # the daemon has no handle left
            raise

    def run(self) -> None:
        self.sl.s = _ReportSocket(self.sl.s)
        try:
            super().run()
        except OSError as error:
            if self.go:  # nobody asked it to stop
                self.go = False
                log.warning("the pins are lost: %s", error)
                self._over.set_result(None)
            self.sl.s.close()

    def is_over(self) -> bool:
        """Whether the daemon has hung up."""
        return self._over.done()

    def when_over(self, call: Callable[[], None]) -> None:
        """Call when the daemon has hung up, from this thread; at once if it has."""
        self._over.add_done_callback(lambda _: call())

    def stop(self) -> None:
        with contextlib.suppress(OSError):  # the daemon hung up, and there is nobody to say goodbye to
            super().stop()


class _Client(pigpio.pi):  # type: ignore[misc]
    """pigpio's client; its own constructor prints what went wrong, and returns unconnected.

    Raises:
        OSError, struct.error, pigpio.error: the daemon cannot be reached, or has no room.
        HardwareError: what listens is no pigpio daemon.
    """

    def __init__(self, pins: PinsConfig) -> None:
        self.connected = True
        self._host, self._port = pins.host, pins.port
        self._notify = None
        self.sl = pigpio._socklock()
        sock = socket.create_connection((pins.host, pins.port), timeout=pins.timeout_s)
        self.sl.s = _CommandSocket(sock, pins.timeout_s)
        try:
            self._greet()
            self._notify = _Reports(self.sl, pins.host, pins.port)
        except BaseException:
            self.stop()
            raise
        atexit.register(self.stop)

    def _greet(self) -> None:
        self.sl.s.send(struct.pack("<4I", _PIGPV, 0, 0, 0))
        if struct.unpack_from("<I", self.sl.s.recv(16))[0] != _PIGPV:
            raise HardwareError(
                f"what listens at {self._host}:{self._port} is not a pigpio daemon: set pins.port to the daemon's port"
            )

    def stop(self) -> None:
        atexit.unregister(self.stop)
        super().stop()


class _Pin(PiGPIOPin):  # type: ignore[misc]
    """gpiozero's, which asks the daemon for a pulse's range and share before it writes another: three ways there and
    back, when a motor has to stop."""

    _RANGE = 10_000
    """What gpiozero sets whenever it begins to pulse a pin."""

    def _set_state(self, value: float) -> None:
        if not self._pwm:
            super()._set_state(value)
            return
        try:
            self.factory.connection.set_PWM_dutycycle(self._number, int(value * self._RANGE))
        except pigpio.error as error:
            raise PinInvalidState(f"invalid state {value!r} for pin {self!r}") from error


class _PigpioFactory(PiGPIOFactory):  # type: ignore[misc]
    half_step_us = 2.5
    """gpiozero and the daemon both truncate a pulse, in the end to 5 µs: half of that more makes it a rounding."""

    def __init__(self, pins: PinsConfig, client: _Client) -> None:
        PiFactory.__init__(self)  # PiGPIOFactory's own would make another client
        self.pin_class = _Pin
        self._connection = client
        self._host, self._port = pins.host, pins.port
        self._spis: list[Any] = []


def _pigpio_factory(pins: PinsConfig) -> Factory:
    where = f"{pins.host}:{pins.port}"
    try:
        return _PigpioFactory(pins, _Client(pins))
    except OSError as error:
        raise HardwareError(
            f"no pigpio daemon answers at {where} ({error}): start pigpiod (Pi 4 and older) or the simulator "
            "(off the Pi), or set pins.factory to lgpio (Pi 5)"
        ) from error
    except (pigpio.error, struct.error) as error:
        raise HardwareError(
            f"the pigpio daemon at {where} takes no more connections ({error}): stop a program that uses it"
        ) from error


def pin_factory(pins: PinsConfig) -> Factory:
    """Open the way to the pins.

    Raises:
        HardwareError: the daemon or the GPIO chip cannot be reached, and what to do about it.
    """
    return kernel_factory(pins) if pins.factory == "lgpio" else _pigpio_factory(pins)


def connected(factory: Factory) -> bool:
    """Whether the pins still answer (asks the daemon, under a millisecond).

    A process whose factory is no longer connected should end: its devices hear and move nothing any more, and a new
    daemon knows nothing of them.
    """
    if isinstance(factory, PiGPIOFactory) and (factory.connection is None or factory.connection._notify.is_over()):
        return False
    try:
        with hardware_errors("reach the pins"):
            factory.ticks()
    except HardwareError:
        return False
    return True


def pull_low(factory: Factory, gpios: Iterable[int]) -> None:
    """Bring pins low by one write each, which ends their pulses too, before they are taken with many more. Pins of the
    kernel are at rest already: what held them is gone.

    Raises:
        OSError, pigpio.error: the daemon did not take it.
    """
    if isinstance(factory, PiGPIOFactory):
        for gpio in gpios:
            factory.connection.write(gpio, 0)


def when_lost(factory: Factory, call: Callable[[], None]) -> None:
    """Call, from any thread, when the daemon hangs up; at once if it has. The kernel never does."""
    if isinstance(factory, PiGPIOFactory) and factory.connection is not None:
        factory.connection._notify.when_over(call)


def abandon_factory(factory: Factory) -> None:
    """Drop a connection that may be dead: nothing is written, and its threads and sockets are gone."""
    if not isinstance(factory, PiGPIOFactory):
        factory.abandon()
        return
    if factory.connection is None:
        return
    client = factory.connection
    notify, client._notify = client._notify, None
    if notify is not None:
        notify.go = False
        _shut(notify.sl.s)
    client.stop()


def _shut(sock: Any) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads from it, and ends it
    except OSError as error:
        log.debug("the socket for reports was closed already: %s", error)


def close_factory(factory: Factory) -> None:
    """Give the pins back, as inputs.

    Raises:
        HardwareError: they could not be: the connection was gone already.
    """
    try:
        with hardware_errors("give the pins back"):
            factory.close()
    finally:
        if isinstance(factory, PiGPIOFactory) and factory.connection is not None:
            factory.connection.stop()
