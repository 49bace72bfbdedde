"""The socket that pigpiod would listen on, served from one thread.

A thread of its own keeps the pins' round trip short whatever the bus does: a motion process writes a dozen pins one
after the other, and waits for each.
"""

from __future__ import annotations

import logging
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable

from bus.errors import SettingsError
from bus.messages import MachineState, SimulatedFault
from processes.simulator.logic import Machine
from processes.simulator.protocol import Client, Daemon

log = logging.getLogger(__name__)

RECEIVE_BYTES = 1 << 16
MAX_WAIT_S = 1.0


class Connection:
    """A client's socket."""

    def __init__(self, sock: socket.socket, client: Client) -> None:
        self.socket = sock
        self.client = client
        self.waits_to_send = False


class PigpioServer:
    """Serves a machine's pins. `snapshot` and `apply` may be called from any thread.

    Args:
        machine: the machine; from here on only this server touches it.
        max_connections: further ones are closed at once, and counted.
        clock: monotonic, in seconds.
    """

    def __init__(
        self, machine: Machine, *, max_connections: int = 64, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._daemon = Daemon(machine)
        self._max_connections = max_connections
        self._clock = clock
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._connections: set[Connection] = set()
        self._listener: socket.socket | None = None
        self._wake_in, self._wake_out = socket.socketpair()
        self._thread: threading.Thread | None = None
        self._stopping = False

    # -- from other threads -----------------------------------------------------------------------

    def start(self, host: str, port: int) -> int:
        """Listen, and return the port (a free one for port 0).

        Raises:
            SettingsError: the address cannot be listened on.
        """
        try:
            self._listener = socket.create_server((host, port), backlog=128)
        except OSError as error:
            raise SettingsError(
                f"the simulator cannot listen on {host}:{port} ({error.strerror}): stop what listens there, "
                "or give this robot another pins.port"
            ) from error
        self._listener.setblocking(False)
        self._wake_in.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake_in, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, args=(self._listener,), name="pigpiod", daemon=True)
        self._thread.start()
        return int(self._listener.getsockname()[1])

    def stop(self) -> None:
        """Hang up on everybody, and stop listening."""
        self._stopping = True
        self._wake()
        if self._thread is not None:
            self._thread.join()
        for connection in list(self._connections):
            self._close(connection)
        if self._listener is not None:
            self._listener.close()
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()

    @property
    def alive(self) -> bool:
        """Whether it serves."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def counters(self) -> Counter[str]:
        """What went wrong, by kind."""
        with self._lock:
            machine = self._daemon.machine
            return self._daemon.counters + Counter(
                edges_dropped=machine.edges_dropped, garbled_frames=machine.garbled_frames
            )

    def snapshot(self) -> MachineState:
        """The machine at this instant."""
        with self._lock:
            return self._snapshot()

    def apply(self, fault: SimulatedFault) -> MachineState:
        """Break or mend something; the lines that it changes are reported to who watches them."""
        with self._lock:
            machine = self._daemon.machine
            machine.advance(self._clock())
            machine.apply(fault)
            state = self._snapshot()
        self._wake()
        return state

    def _snapshot(self) -> MachineState:
        self._daemon.machine.advance(self._clock())
        return self._daemon.machine.snapshot(self._daemon.clients)

    def _wake(self) -> None:
        self._wake_out.send(b"\0")

    # -- the server's thread ----------------------------------------------------------------------

    def _run(self, listener: socket.socket) -> None:
        while not self._stopping:
            for key, events in self._selector.select(self._wait_s()):
                if key.fileobj is listener:
                    self._accept(listener)
                elif key.fileobj is self._wake_in:
                    self._wake_in.recv(RECEIVE_BYTES)
                elif events & selectors.EVENT_READ and key.data in self._connections:
                    self._guarded(key.data, self._receive)
            with self._lock:
                self._daemon.advance(self._clock())
            for connection in [connection for connection in self._connections if connection.client.out]:
                self._guarded(connection, self._send)

    def _wait_s(self) -> float:
        with self._lock:
            due_s = self._daemon.next_event_s()
        return MAX_WAIT_S if due_s is None else min(max(due_s - self._clock(), 0.0), MAX_WAIT_S)

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except OSError as error:  # the client is gone again, or descriptors ran out
            self._count("accept_errors", f"a connection could not be accepted: {error}")
            return
        if len(self._connections) >= self._max_connections:
            self._count("refused", f"more than {self._max_connections} connections: the new one is closed")
            sock.close()
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            connection = Connection(sock, self._daemon.connected())
        self._connections.add(connection)
        self._selector.register(sock, selectors.EVENT_READ, connection)

    def _guarded(self, connection: Connection, work: Callable[[Connection], None]) -> None:
        """One connection's trouble ends that connection, and nothing else."""
        try:
            work(connection)
        except BlockingIOError:
            return
        except OSError:  # the client is gone, as every client is some day
            self._close(connection)
        except Exception:
            with self._lock:
                self._daemon.counters["errors"] += 1
            log.exception("serving a connection failed")
            self._close(connection)

    def _receive(self, connection: Connection) -> None:
        data = connection.socket.recv(RECEIVE_BYTES)
        if not data:
            self._close(connection)
            return
        with self._lock:
            self._daemon.received(connection.client, data, self._clock())
        self._send(connection)

    def _send(self, connection: Connection) -> None:
        out = connection.client.out
        try:
            while out:
                del out[: connection.socket.send(out)]
        except BlockingIOError:
            self._watch_sending(connection, True)
        else:
            self._watch_sending(connection, False)
        if connection.client.doomed is not None:
            log.warning("hung up on a client: %s", connection.client.doomed)
            self._close(connection)

    def _watch_sending(self, connection: Connection, waits: bool) -> None:
        if waits != connection.waits_to_send:
            connection.waits_to_send = waits
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if waits else 0)
            self._selector.modify(connection.socket, events, connection)

    def _close(self, connection: Connection) -> None:
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        self._selector.unregister(connection.socket)
        connection.socket.close()
        with self._lock:
            self._daemon.disconnected(connection.client)

    def _count(self, what: str, message: str) -> None:
        with self._lock:
            self._daemon.counters[what] += 1
        log.warning("%s", message)
