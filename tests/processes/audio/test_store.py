"""The volume outlives its process."""

from __future__ import annotations

from pathlib import Path

import pytest

from processes.audio.store import VolumeStore


@pytest.mark.parametrize("volume", [0, 1, 55, 100])
def test_what_was_written_is_read_by_the_next_one(tmp_path: Path, volume: int) -> None:
    VolumeStore(tmp_path / "volume", 70).write(volume)
    assert VolumeStore(tmp_path / "volume", 70).read() == volume


@pytest.mark.parametrize("content", [b"", b"101", b"-1", b"loud", b"\xff", b"9" * 10_000, "٣".encode()])
def test_a_damaged_file_gives_the_first_volume(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "volume").write_bytes(content)
    assert VolumeStore(tmp_path / "volume", 70).read() == 70


def test_a_write_that_was_cut_off_leaves_the_old_volume(tmp_path: Path) -> None:
    store = VolumeStore(tmp_path / "volume", 70)
    store.write(20)
    (tmp_path / "volume.new").write_bytes(b"9")
    assert store.read() == 20
    store.write(30)
    assert store.read() == 30


def test_a_disk_that_does_not_take_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        VolumeStore(tmp_path / "gone" / "volume", 70).write(5)
