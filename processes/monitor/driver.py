"""The machine and supervisord, each behind a narrow Protocol."""

from __future__ import annotations

import http.client
import logging
import socket
import threading
import xmlrpc.client
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from processes.monitor.logic import Program

log = logging.getLogger(__name__)

POLL_S = 1.0
RPC_TIMEOUT_S = 5.0
CPU_ZONES = ("cpu-thermal", "cpu_thermal", "x86_pkg_temp", "soc-thermal")


class Machine(Protocol):
    """What can be read of the computer. None: not known here."""

    def temperature_c(self) -> float | None: ...

    def wifi_dbm(self) -> int | None: ...

    def uptime_s(self) -> int: ...


class LinuxMachine:
    """Readings from /sys and /proc.

    Args:
        root: where /sys and /proc are found.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._thermal = root / "sys/class/thermal"
        self._wireless = root / "proc/net/wireless"
        self._uptime = root / "proc/uptime"
        self._zone = self._find_zone()

    def temperature_c(self) -> float | None:
        """Temperature of the processor, from a thermal zone's millidegrees."""
        text = _read(self._zone / "temp") if self._zone else None
        try:
            value = int(text) / 1000 if text else None
        except ValueError:
            return None
        return value if value is not None and -60.0 <= value <= 200.0 else None

    def wifi_dbm(self) -> int | None:
        """Signal level of the first wireless interface, the fourth column of /proc/net/wireless."""
        for line in (_read(self._wireless) or "").splitlines()[2:]:
            columns = line.split()
            try:
                level = round(float(columns[3]))
            except (IndexError, ValueError):
                continue
            if -150 <= level <= 0:
                return level
        return None

    def uptime_s(self) -> int:
        """Seconds since the machine was started."""
        return int(float((_read(self._uptime) or "0").split()[0]))

    def _find_zone(self) -> Path | None:
        zones = sorted(self._thermal.glob("thermal_zone*"))
        for kind in CPU_ZONES:
            for zone in zones:
                if (_read(zone / "type") or "").strip() == kind:
                    return zone
        return zones[0] if zones else None


def _read(path: Path) -> str | None:
    """A small file of the kernel's; None where there is none, or the sensor behind it gives nothing."""
    try:
        return path.read_text()
    except OSError:
        return None


class Supervisor(Protocol):
    """The process that started us all."""

    def programs(self) -> dict[str, Program]:
        """Every program. Raises OSError when supervisord does not answer."""

    def kill(self, name: str) -> None:
        """kill -9 of a program, which supervisord then starts again. Raises OSError."""


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
            running = info["statename"] == "RUNNING"
            programs[info["name"]] = Program(running, int(info["pid"]), float(info["start"]))
        return programs

    def kill(self, name: str) -> None:
        self._call(lambda: self._server.supervisor.signalProcess(name, "KILL"))

    def _call(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except (xmlrpc.client.Error, http.client.HTTPException) as error:
            raise OSError(f"supervisord: {error}") from error


Decide = Callable[[dict[str, Program]], list[str]]


class SupervisorThread:
    """Asks supervisord every second, off the bus's loop, and kills whom `decide` names.

    Args:
        decide: called in this thread with every program.
    """

    def __init__(self, supervisor: Supervisor, decide: Decide, period_s: float = POLL_S) -> None:
        self._supervisor = supervisor
        self._decide = decide
        self._period_s = period_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._reachable = True

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(self._period_s):
            try:
                self._turn()
            except OSError as error:
                if self._reachable:
                    log.warning("supervisord cannot be asked, so nothing that hangs is restarted: %s", error)
                self._reachable = False

    def _turn(self) -> None:
        programs = self._supervisor.programs()
        self._reachable = True
        for name in self._decide(programs):
            log.warning("%s runs but does not beat: it is killed, and supervisord starts it again", name)
            self._supervisor.kill(name)
