from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bus.codec import MAX_MESSAGE_BYTES
from contract.models import Telemetry
from contract.validate import encode
from processes.monitor.history import RECORDS, History, Row, row_of

RECORD_BYTES = 64
FULL = Row(0.0, 79.5, 15.42, True, 51.3, -52, 12_345, 61.2, 48)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "telemetry.ring"


def row(number: int) -> Row:
    return Row(60.0 * number, treats_remaining=number)


def treats(history: History, minutes: int = RECORDS) -> list[int | None]:
    return history.latest(minutes).treats_remaining


def test_what_was_written_is_there_for_the_next_process(path: Path) -> None:
    written = History(path)
    written.append(FULL)
    written.append(Row(60.0))
    told = written.latest(10)
    written.close()

    read = History(path)
    assert read.latest(10) == told
    assert told.timestamp == ["1970-01-01T00:00:00.000Z", "1970-01-01T00:01:00.000Z"]
    assert told.battery == [79.5, None]
    assert told.battery_voltage == [15.42, None]
    assert told.is_charging == [True, None]
    assert told.temperature == [51.3, None]
    assert told.wifi_strength == [-52, None]
    assert told.disk_free_mib == [12_345, None]
    assert told.memory_free == [61.2, None]
    assert told.treats_remaining == [48, None]
    read.close()


def test_the_file_never_grows_and_holds_the_latest_day(path: Path) -> None:
    history = History(path)
    size = path.stat().st_size
    for number in range(RECORDS + 500):
        history.append(row(number))
    history.close()
    assert path.stat().st_size == size == RECORDS * RECORD_BYTES

    again = History(path)
    assert treats(again) == list(range(500, RECORDS + 500))
    again.append(row(7))
    assert treats(again, 2) == [RECORDS + 499, 7]
    again.close()


def test_a_record_cut_off_by_a_power_cut_is_left_out(path: Path) -> None:
    history = History(path)
    for number in range(5):
        history.append(row(number))
    history.close()
    with path.open("r+b") as file:
        file.seek(2 * RECORD_BYTES + 20)
        file.write(b"\xff\xff\xff")

    again = History(path)
    assert treats(again) == [0, 1, 3, 4]
    again.append(row(5))
    again.close()
    assert treats(History(path)) == [0, 1, 3, 4, 5]


@pytest.mark.parametrize("content", [b"", b"nonsense", bytes(RECORDS * RECORD_BYTES), b"\xff" * RECORDS * RECORD_BYTES])
def test_a_file_that_is_none_of_ours_is_begun_anew(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    history = History(path)
    assert treats(history) == []
    history.append(row(1))
    assert treats(history) == [1]
    history.close()


def test_a_clock_that_goes_back_leaves_the_order(path: Path) -> None:
    history = History(path)
    for number in (5, 6, 2):
        history.append(row(number))
    history.close()
    assert treats(History(path)) == [5, 6, 2]


WRITER = """
import sys
from pathlib import Path
from processes.monitor.history import History, Row
history = History(Path(sys.argv[1]))
for number in range(1_000_000):
    history.append(Row(60.0 * number, treats_remaining=number % 1000))
    if number == 100:
        print("ready", flush=True)
"""


def test_kill_9_at_any_instant_loses_no_record_and_breaks_none(path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"ready\n"
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    writer.stdout.close()

    found = treats(History(path))
    assert len(found) > 100
    first = found[0]
    assert first is not None
    assert found == [(first + number) % 1000 for number in range(len(found))]


def test_a_disk_without_room_is_an_error_and_the_minute_is_still_known(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History(path)

    def full(*arguments: object) -> int:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space"):
        history.append(row(1))
    assert treats(history) == [1]


def test_a_whole_day_fits_into_a_message_of_the_bus(path: Path) -> None:
    history = History(path)
    for number in range(RECORDS):
        history.append(Row(1.8e9 + 60 * number, 79.5, 15.42, False, 51.3, -52, 12_345, 61.2, 48))
    assert len(encode(history.latest(RECORDS))) < MAX_MESSAGE_BYTES / 1.5
    history.close()


def test_a_row_is_the_telemetry_of_its_moment() -> None:
    telemetry = Telemetry(battery=79.5, temperature=51.312, treats_remaining=3, uptime_seconds=9)
    kept = row_of(telemetry, datetime(1970, 1, 1, 0, 1, tzinfo=UTC))
    assert kept == Row(60.0, battery=79.5, temperature=51.3, treats_remaining=3)
