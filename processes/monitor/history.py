"""A day of readings on disk, a minute apart.

A file of fixed size, made once: a record of 64 bytes is written in place each minute, oldest first. One that was
being written when the power went has a wrong checksum, and is not there. That is one page a minute for the SD card,
which the kernel writes when it likes: after a power cut the last minute may be missing.
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bus.events import timestamp
from contract.models import Telemetry, TelemetryHistory

STEP_S = 60
RECORDS = 1440

MAGIC = b"WZT1"
_BODY = struct.Struct("<4sQd8f")
_RECORD_BYTES = 64
_CRC = struct.Struct("<I")
_PADDING = bytes(_RECORD_BYTES - _BODY.size - _CRC.size)


@dataclass(frozen=True)
class Row:
    """One minute; None: not known. `at_s`: unix time."""

    at_s: float
    battery: float | None = None
    battery_voltage: float | None = None
    is_charging: bool | None = None
    temperature: float | None = None
    wifi_strength: int | None = None
    disk_free_mib: int | None = None
    memory_free: float | None = None
    treats_remaining: int | None = None


def row_of(telemetry: Telemetry, at: datetime) -> Row:
    """What of the telemetry is kept."""
    return Row(
        at.timestamp(),
        telemetry.battery,
        telemetry.battery_voltage,
        telemetry.is_charging,
        _rounded(telemetry.temperature, 1),
        telemetry.wifi_strength,
        telemetry.disk_free_mib,
        telemetry.memory_free,
        telemetry.treats_remaining,
    )


class History:
    """The file, and what is in it.

    Raises:
        OSError: it cannot be opened, or the disk has no room for it.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if os.fstat(self._file).st_size != RECORDS * _RECORD_BYTES:
                os.ftruncate(self._file, 0)
                os.posix_fallocate(self._file, 0, RECORDS * _RECORD_BYTES)
            raw = os.pread(self._file, RECORDS * _RECORD_BYTES, 0)
        except OSError:
            os.close(self._file)
            raise
        found = [_decode(raw[at : at + _RECORD_BYTES]) for at in range(0, len(raw), _RECORD_BYTES)]
        records = sorted((record for record in found if record is not None), key=lambda record: record[0])
        self._next = records[-1][0] + 1 if records else 0
        self._rows = deque((row for _, row in records), maxlen=RECORDS)

    def append(self, row: Row) -> None:
        """Keep one more minute, in the oldest one's place. It is in memory also where the disk refuses it.

        Raises:
            OSError: the disk does not take it.
        """
        number, self._next = self._next, self._next + 1
        self._rows.append(row)
        os.pwrite(self._file, _encode(number, row), number % RECORDS * _RECORD_BYTES)

    def latest(self, minutes: int) -> TelemetryHistory:
        """So many of the latest rows, oldest first, as columns."""
        rows = list(self._rows)[-minutes:]
        return TelemetryHistory(
            step_s=STEP_S,
            timestamp=[timestamp(datetime.fromtimestamp(row.at_s, UTC)) for row in rows],
            battery=[row.battery for row in rows],
            battery_voltage=[row.battery_voltage for row in rows],
            is_charging=[row.is_charging for row in rows],
            temperature=[row.temperature for row in rows],
            wifi_strength=[row.wifi_strength for row in rows],
            disk_free_mib=[row.disk_free_mib for row in rows],
            memory_free=[row.memory_free for row in rows],
            treats_remaining=[row.treats_remaining for row in rows],
        )

    def close(self) -> None:
        os.close(self._file)


def _encode(number: int, row: Row) -> bytes:
    values = (
        row.battery,
        row.battery_voltage,
        row.is_charging,
        row.temperature,
        row.wifi_strength,
        row.disk_free_mib,
        row.memory_free,
        row.treats_remaining,
    )
    body = _BODY.pack(MAGIC, number, row.at_s, *(math.nan if value is None else float(value) for value in values))
    return body + _CRC.pack(zlib.crc32(body)) + _PADDING


def _decode(record: bytes) -> tuple[int, Row] | None:
    """The number and the row; None where there is none, or half of one."""
    body = record[: _BODY.size]
    if not record.startswith(MAGIC) or _CRC.unpack_from(record, _BODY.size) != (zlib.crc32(body),):
        return None
    _, number, at_s, *values = _BODY.unpack(body)
    battery, volts, charging, temperature, wifi, disk, memory, treats = (
        None if math.isnan(value) else value for value in values
    )
    return number, Row(
        at_s,
        _rounded(battery, 1),
        _rounded(volts, 2),
        None if charging is None else bool(charging),
        _rounded(temperature, 1),
        None if wifi is None else round(wifi),
        None if disk is None else round(disk),
        _rounded(memory, 1),
        None if treats is None else round(treats),
    )


def _rounded(value: float | None, digits: int) -> float | None:
    """A number as it was before it was put into 32 bits."""
    return None if value is None else round(value, digits)
