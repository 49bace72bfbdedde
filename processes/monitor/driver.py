"""supervisord, behind a narrow Protocol, and the thread that asks it."""

from __future__ import annotations

import http.client
import logging
import socket
import threading
import time
import xmlrpc.client
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol
from xml.parsers.expat import ExpatError

from processes.monitor.logic import Action, Program

log = logging.getLogger(__name__)

POLL_S = 1.0
HASTE_POLL_S = 0.1
HASTE_S = 3.0
"""supervisord looks for the dead and starts them when something wakes it, else every second: after an action it is
woken often."""
RPC_TIMEOUT_S = 5.0
MAX_TURN_S = 60.0
"""One turn of the thread with a time limit for each of its calls ends within this."""


class Supervisor(Protocol):
    """The process that started us all."""

    def programs(self) -> dict[str, Program]:
        """Every program. Raises OSError when supervisord does not answer."""

    def carry_out(self, action: Action) -> None:
        """Do it. Raises OSError: it was refused, or supervisord does not answer."""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP to a unix socket, with a time limit: supervisord may hang too."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=RPC_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        return _UnixConnection(self._path)


class Supervisord:
    """supervisord's XML-RPC on its unix socket."""

    def __init__(self, path: Path) -> None:
        self._server = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=_UnixTransport(path))

    def programs(self) -> dict[str, Program]:
        programs: dict[str, Program] = {}
        for info in self._call(lambda: self._server.supervisor.getAllProcessInfo()):
            programs[info["name"]] = Program(info["statename"], int(info["pid"]), float(info["start"]))
        return programs

    def carry_out(self, action: Action) -> None:
        rpc = self._server.supervisor
        match action.kind:
            case "kill":
                self._call(lambda: rpc.signalProcess(action.name, "KILL"))
            case "stop":
                self._call(lambda: rpc.stopProcess(action.name, False))
            case "start":
                self._call(lambda: rpc.startProcess(action.name, False))

    def _call(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except (xmlrpc.client.Error, http.client.HTTPException, ExpatError) as error:
            raise OSError(f"supervisord: {error}") from error


Decide = Callable[[dict[str, Program]], list[Action]]


class SupervisorThread:
    """Asks supervisord every second, or when it is poked, off the bus's loop, and has it do what `decide` says.

    Args:
        decide: called in this thread with every program.
    """

    def __init__(self, supervisor: Supervisor, decide: Decide, period_s: float = POLL_S) -> None:
        self._supervisor = supervisor
        self._decide = decide
        self._period_s = period_s
        self._poked = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._reachable = True
        self._haste_until = 0.0
        self._turned_at = time.monotonic()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End after this turn, without waiting for it."""
        self._stopping = True
        self._poked.set()

    def poke(self) -> None:
        """Ask now. From any thread."""
        self._poked.set()

    def works(self) -> bool:
        """Whether the thread is there, and turns."""
        return self._thread.is_alive() and time.monotonic() - self._turned_at < MAX_TURN_S

    def _run(self) -> None:
        while not self._stopping:
            hasty = time.monotonic() < self._haste_until
            self._poked.wait(min(HASTE_POLL_S, self._period_s) if hasty else self._period_s)
            self._poked.clear()
            self._turned_at = time.monotonic()
            if not self._stopping:
                self._turn()

    def _turn(self) -> None:
        try:
            programs = self._supervisor.programs()
        except OSError as error:
            if self._reachable:
                log.warning("supervisord cannot be asked, so nothing that hangs is restarted: %s", error)
            self._reachable = False
            return
        if not self._reachable:
            log.info("supervisord answers again")
        self._reachable = True
        for action in self._decide(programs):
            self._haste_until = time.monotonic() + HASTE_S
            log.warning("supervisord is asked to %s %s", action.kind, action.name)
            try:
                self._supervisor.carry_out(action)
            except OSError as error:  # whatever is still due is asked for again in the next turn
                log.warning("%s %s: %s", action.kind, action.name, error)
