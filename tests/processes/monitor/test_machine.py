from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from processes.monitor.machine import Condition, LinuxMachine, UsageMeter


def files(root: Path, **texts: str) -> None:
    for name, text in texts.items():
        path = root / name.replace("__", "/").replace("_Z_", "-")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_pi_is_read(tmp_path: Path) -> None:
    files(
        tmp_path,
        sys__class__thermal__thermal_zone0__type="gpu\n",
        sys__class__thermal__thermal_zone0__temp="90000\n",
        sys__class__thermal__thermal_zone1__type="cpu-thermal\n",
        sys__class__thermal__thermal_zone1__temp="48312\n",
        proc__uptime="12345.67 9999.0\n",
        proc__net__wireless="Inter-| sta-|   Quality\n face | tus | link level noise\n"
        " wlan0: 0000   58.  -52.  -256        0      0      0      0      0        0\n",
    )
    machine = LinuxMachine(tmp_path, tmp_path)
    assert machine.temperature_c() == pytest.approx(48.312)
    assert machine.wifi_dbm() == -52
    assert machine.uptime_s() == 12345


def test_what_is_not_there_is_unknown(tmp_path: Path) -> None:
    condition = LinuxMachine(tmp_path / "nowhere", tmp_path).read()
    assert condition == Condition(0)


def test_what_makes_no_sense_is_unknown(tmp_path: Path) -> None:
    files(
        tmp_path,
        sys__class__thermal__thermal_zone0__type="cpu-thermal",
        sys__class__thermal__thermal_zone0__temp="hot",
        proc__net__wireless="a\nb\n wlan0: 0000 58. 999. x\n broken\n",
        proc__meminfo="MemTotal: 0 kB\nMemAvailable:\n",
    )
    throttled(tmp_path, "unknown\n")
    machine = LinuxMachine(tmp_path / "nowhere", tmp_path)
    assert machine.read() == Condition(0)


def throttled(root: Path, text: str, bus: str = "soc") -> None:
    path = root / f"sys/devices/platform/{bus}/{bus}:firmware/get_throttled"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("bus", ["soc", "soc@107c000000"])
@pytest.mark.parametrize(
    ("bits", "undervoltage", "slow"),
    [("0", False, False), ("50005", True, True), ("50000", False, False), ("8", False, True), ("1", True, False)],
)
def test_throttling_is_what_the_firmware_says_of_now(
    tmp_path: Path, bus: str, bits: str, undervoltage: bool, slow: bool
) -> None:
    throttled(tmp_path, f"{bits}\n", bus)
    condition = LinuxMachine(tmp_path, tmp_path).read()
    assert (condition.undervoltage, condition.throttled) == (undervoltage, slow)


def test_short_undervoltage_is_what_the_kernel_caught(tmp_path: Path) -> None:
    throttled(tmp_path, "0\n")
    files(
        tmp_path,
        sys__class__hwmon__hwmon0__name="cpu_thermal\n",
        sys__class__hwmon__hwmon1__name="rpi_volt\n",
        sys__class__hwmon__hwmon1__in0_lcrit_alarm="1\n",
    )
    assert LinuxMachine(tmp_path, tmp_path).read().undervoltage is True


def test_memory_is_what_programs_could_still_have(tmp_path: Path) -> None:
    files(tmp_path, proc__meminfo="MemTotal: 4000 kB\nMemFree: 10 kB\nMemAvailable: 1000 kB\n")
    assert LinuxMachine(tmp_path, tmp_path).memory_free_pct() == 25.0


def test_this_very_machine_can_be_read() -> None:
    condition = LinuxMachine(Path("/")).read()
    assert condition.uptime_s > 0
    assert condition.memory_free_pct is not None
    assert 0 < condition.memory_free_pct <= 100
    assert condition.disk_free_mib is not None
    assert condition.disk_free_mib > 0


BUSY = """
import os
block = bytearray(b"x") * 30_000_000
if os.fork() == 0:
    print("ready", flush=True)
while True:
    pass
"""


@pytest.fixture
def busy() -> Iterator[int]:
    """A program of two processes that compute, in a group of its own."""
    process = subprocess.Popen([sys.executable, "-c", BUSY], process_group=0, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    yield process.pid
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_a_program_is_measured_with_all_its_processes(busy: int) -> None:
    meter = UsageMeter()
    first = meter.read({"busy": busy, "me": os.getpgrp()})
    assert first["busy"].cpu_pct is None
    assert first["busy"].rss_kib * 1024 > 2 * 30_000_000
    assert 0 < first["busy"].own_kib < first["busy"].rss_kib
    end = time.monotonic() + 20.0
    while not (meter.read({"busy": busy})["busy"].cpu_pct or 0) > 0:
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_program_that_has_ended_takes_nothing() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""], process_group=0)
    gone.wait()
    usage = UsageMeter().read({"gone": gone.pid})["gone"]
    assert (usage.cpu_pct, usage.rss_kib, usage.own_kib) == (None, 0, 0)
