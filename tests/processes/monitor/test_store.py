from __future__ import annotations

from pathlib import Path

import pytest

from processes.monitor.logic import Record
from processes.monitor.store import Store

RECORDS = {"camera": Record(restarts=7, holds=2, held_until=1234.5), "motion": Record(restarts=1)}


def test_the_next_monitor_reads_what_the_last_one_kept(tmp_path: Path) -> None:
    path = tmp_path / "monitor.json"
    assert Store(path, 10).load() == {}
    Store(path, 10).save(RECORDS)
    assert Store(path, 10).load() == RECORDS
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_kept_is_void_with_its_supervisord(tmp_path: Path) -> None:
    Store(tmp_path / "monitor.json", 10).save(RECORDS)
    assert Store(tmp_path / "monitor.json", 11).load() == {}


def test_nothing_is_written_when_nothing_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "monitor.json"
    store = Store(path, 10)
    store.save(RECORDS)
    path.unlink()
    store.save(dict(RECORDS))
    assert not path.exists()


def test_a_broken_file_is_reported_and_no_reason_to_fail(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "monitor.json"
    path.write_text('{"supervisord_pid": 10, "records": {"camera": 3}}')
    assert Store(path, 10).load() == {}
    assert "monitor.json cannot be read" in caplog.text


def test_a_directory_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        Store(tmp_path / "gone" / "monitor.json", 10).save(RECORDS)
