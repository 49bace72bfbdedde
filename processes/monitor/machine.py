"""What can be read of the computer and of the processes on it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from processes.monitor.logic import Usage

log = logging.getLogger(__name__)

CPU_ZONES = ("cpu-thermal", "cpu_thermal", "x86_pkg_temp", "soc-thermal")


@dataclass(frozen=True)
class Condition:
    """The computer at one moment. None: not known here.

    Attributes:
        wifi_dbm: signal level.
        undervoltage: its 5 V supply gives less than the firmware wants.
        throttled: it has slowed itself down.
        disk_free_mib: where the robot keeps its data.
        memory_free_pct: that programs could still have.
    """

    uptime_s: int
    temperature_c: float | None = None
    wifi_dbm: int | None = None
    undervoltage: bool | None = None
    throttled: bool | None = None
    disk_free_mib: int | None = None
    memory_free_pct: float | None = None


class Machine(Protocol):
    """The computer."""

    def read(self) -> Condition:
        """How it is now."""


THROTTLED_BITS = 0b1110
"""Of what the firmware's GET_THROTTLED returns: frequency capped, throttled, soft temperature limit."""
UNDERVOLTAGE_BIT = 0b1


class LinuxMachine:
    """Readings from /sys and /proc.

    Args:
        data: a directory on the disk whose space counts.
        root: where /sys and /proc are found.
    """

    def __init__(self, data: Path, root: Path = Path("/")) -> None:
        self._data = data
        self._sys = root / "sys"
        self._memory = root / "proc/meminfo"
        self._thermal = root / "sys/class/thermal"
        self._wireless = root / "proc/net/wireless"
        self._uptime = root / "proc/uptime"
        self._zone = self._find_zone()
        # On a Pi 5 the bus has another name, such as soc@107c000000.
        self._firmware = next(self._sys.glob("devices/platform/soc*/soc*:firmware/get_throttled"), None)
        self._alarm = self._find_alarm()

    def read(self) -> Condition:
        """How it is now."""
        bits = self._throttled_bits()
        return Condition(
            uptime_s=self.uptime_s(),
            temperature_c=self.temperature_c(),
            wifi_dbm=self.wifi_dbm(),
            undervoltage=self._undervoltage(bits),
            throttled=None if bits is None else bool(bits & THROTTLED_BITS),
            disk_free_mib=self.disk_free_mib(),
            memory_free_pct=self.memory_free_pct(),
        )

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

    def disk_free_mib(self) -> int | None:
        """What this user may still write."""
        try:
            disk = os.statvfs(self._data)
        except OSError:
            return None
        return disk.f_bavail * disk.f_frsize // 2**20

    def memory_free_pct(self) -> float | None:
        """MemAvailable of /proc/meminfo, the kernel's own estimate."""
        sizes: dict[str, int] = {}
        for line in (_read(self._memory) or "").splitlines():
            name, _, rest = line.partition(":")
            if name in ("MemTotal", "MemAvailable") and rest.split():
                sizes[name] = int(rest.split()[0])
        if len(sizes) < 2 or not sizes["MemTotal"]:
            return None
        return round(100 * min(sizes["MemAvailable"] / sizes["MemTotal"], 1.0), 1)

    def _throttled_bits(self) -> int | None:
        """The firmware's GET_THROTTLED, in hexadecimal digits."""
        text = _read(self._firmware) if self._firmware else None
        try:
            return int(text, 16) if text else None
        except ValueError:
            return None

    def _undervoltage(self, bits: int | None) -> bool | None:
        """The kernel's driver raspberrypi-hwmon asks the firmware every two seconds whether there was any since, so
        that short ones are seen; where it is not loaded, what is now has to do."""
        text = (_read(self._alarm) or "").strip() if self._alarm else ""
        if text in ("0", "1"):
            return text == "1"
        return None if bits is None else bool(bits & UNDERVOLTAGE_BIT)

    def _find_alarm(self) -> Path | None:
        for monitor in sorted(self._sys.glob("class/hwmon/hwmon*")):
            if (_read(monitor / "name") or "").strip() == "rpi_volt":
                return monitor / "in0_lcrit_alarm"
        return None

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


class UsageMeter:
    """CPU time and memory of programs: of each its whole process group, which supervisord makes for it.

    Own memory is RSS without its shared part (proc(5), `statm`): cheap, while PSS would hold the memory map of the
    process that is looked at.
    """

    def __init__(self) -> None:
        self._processes: dict[int, psutil.Process] = {}
        self._spent_s: dict[int, float] = {}
        self._read_at = time.monotonic()

    def read(self, pids: Mapping[str, int]) -> dict[str, Usage]:
        """What each program takes, by name. The first reading of a process has no CPU share.

        Args:
            pids: the process that supervisord started, by program.
        """
        now = time.monotonic()
        elapsed_s, self._read_at = now - self._read_at, now
        members = _members(pids.values())
        ours = {pid for group in members.values() for pid in group}
        self._processes = {pid: process for pid, process in self._processes.items() if pid in ours}
        spent_s: dict[int, float] = {}
        usages = {name: self._program(members[pid], elapsed_s, spent_s) for name, pid in pids.items()}
        self._spent_s = spent_s
        return usages

    def _program(self, pids: Iterable[int], elapsed_s: float, spent_s: dict[int, float]) -> Usage:
        cpu_s, rss, own, known = 0.0, 0, 0, False
        for pid in pids:
            try:
                process = self._processes.get(pid)
                if process is None or not process.is_running():
                    self._spent_s.pop(pid, None)
                    process = self._processes[pid] = psutil.Process(pid)
                with process.oneshot():
                    times, memory = process.cpu_times(), process.memory_info()
            except psutil.NoSuchProcess:  # it has just ended
                continue
            spent_s[pid] = times.user + times.system
            if pid in self._spent_s:
                known = True
                cpu_s += max(0.0, spent_s[pid] - self._spent_s[pid])
            rss += memory.rss
            own += max(0, memory.rss - memory.shared)
        cpu_pct = round(100 * cpu_s / elapsed_s, 1) if known and elapsed_s > 0 else None
        return Usage(cpu_pct, rss // 1024, own // 1024)


def _members(groups: Iterable[int]) -> dict[int, list[int]]:
    """The processes of each process group."""
    members: dict[int, list[int]] = {group: [] for group in groups}
    for pid in psutil.pids():
        try:
            group = os.getpgid(pid)
        except ProcessLookupError:
            continue
        if group in members:
            members[group].append(pid)
    return members
