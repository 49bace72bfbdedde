"""The ring of frames: nobody ever takes half a picture for a whole one, whoever dies."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bus import frames
from bus.frames import SLOTS, FrameError, FrameReader, FrameWriter, Picture, blank, planes
from bus.settings import ROOT

WIDTH, HEIGHT = 64, 48

AT_FULL_SPEED = """
import sys
from pathlib import Path
from bus.frames import FrameWriter, blank
writer, picture = FrameWriter(Path(sys.argv[1]), "main", 640, 480), blank(640, 480)
print("ready", flush=True)
while True:
    picture[:] = writer.next_number % 251
    writer.write(picture, 1)
"""

STOPS_IN_MID_WRITE = """
import sys, time
from pathlib import Path
from bus.frames import FrameWriter, blank
writer = FrameWriter(Path(sys.argv[1]), "main", 64, 48)
picture = blank(64, 48)
picture[:] = 7
writer.write(picture, 1)
with writer.slot(2) as place:
    place[:30] = 99
    print("in the middle", flush=True)
    time.sleep(60)
"""


def plain(value: int, width: int = WIDTH, height: int = HEIGHT) -> Picture:
    picture = blank(width, height)
    picture[:] = value
    return picture


def child(program: str, run_dir: Path) -> subprocess.Popen[str]:
    """Start a writer in another process, and wait for its first line."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(run_dir)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_a_frame_is_read_where_it_lies(tmp_path: Path) -> None:
    writer, reader = FrameWriter(tmp_path, "main", WIDTH, HEIGHT), FrameReader(tmp_path, "main")
    written = writer.write(plain(5), 1234)
    frame = reader.latest()
    assert frame is not None
    assert (frame.number, frame.epoch, frame.capture_ns) == (written.number, written.epoch, 1234)
    assert (frame.width, frame.height) == (WIDTH, HEIGHT)
    assert not frame.picture.flags.owndata
    assert not frame.picture.flags.writeable
    assert (frame.picture == 5).all()
    assert frame.still_valid()


def test_planes_share_the_picture(tmp_path: Path) -> None:
    picture = blank(WIDTH, HEIGHT)
    y, u, v = planes(picture)
    assert (y.shape, u.shape, v.shape) == ((48, 64), (24, 32), (24, 32))
    y[:], u[:], v[:] = 1, 2, 3
    assert [int(value) for value in picture.reshape(-1)[[0, 64 * 48, -1]]] == [1, 2, 3]


def test_only_newer_frames_are_told_apart(tmp_path: Path) -> None:
    writer, reader = FrameWriter(tmp_path, "main", WIDTH, HEIGHT), FrameReader(tmp_path, "main")
    assert reader.latest() is None
    first = writer.write(plain(1), 1)
    assert reader.latest(newer_than=first.number) is None
    second = writer.write(plain(2), 2)
    assert second.number == first.number + 1
    newer = reader.latest(newer_than=first.number)
    assert newer is not None
    assert newer.number == second.number


def test_several_readers_see_the_same(tmp_path: Path) -> None:
    readers = [FrameReader(tmp_path, "main") for _ in range(3)]
    written = FrameWriter(tmp_path, "main", WIDTH, HEIGHT).write(plain(9), 1)
    found = [reader.latest() for reader in readers]
    assert [frame.number for frame in found if frame] == [written.number] * 3


def test_a_reader_that_was_lapped_knows(tmp_path: Path) -> None:
    writer, reader = FrameWriter(tmp_path, "main", WIDTH, HEIGHT), FrameReader(tmp_path, "main")
    writer.write(plain(1), 1)
    frame = reader.latest()
    assert frame is not None
    for value in range(SLOTS - 1):
        writer.write(plain(value), 1)
    assert frame.still_valid()
    with writer.slot(1):
        assert not frame.still_valid()
    assert not frame.still_valid()
    assert frame.copy() is None


def test_a_frame_that_failed_to_be_drawn_is_not_published(tmp_path: Path) -> None:
    writer, reader = FrameWriter(tmp_path, "main", WIDTH, HEIGHT), FrameReader(tmp_path, "main")
    good = writer.write(plain(1), 1)
    with pytest.raises(ValueError):
        writer.write(np.zeros((10, 10), np.uint8), 2)
    frame = reader.latest()
    assert frame is not None
    assert frame.number == good.number
    assert writer.write(plain(3), 3).number == good.number + 1


def test_no_torn_frame_is_taken_for_whole_while_the_writer_runs_at_full_speed(tmp_path: Path) -> None:
    process = child(AT_FULL_SPEED, tmp_path)
    try:
        reader, whole, torn, number = FrameReader(tmp_path, "main"), 0, 0, 0
        deadline = time.monotonic() + 30
        while (whole < 300 or torn < 3) and time.monotonic() < deadline:
            frame = reader.latest(newer_than=number)
            if frame is None:
                continue
            number = frame.number
            if number % 4 == 0:
                time.sleep(0.002)  # a slow reader: the writer comes round meanwhile
            picture = frame.copy()
            if picture is None:
                torn += 1
            else:
                whole += 1
                assert (picture == number % 251).all()
        assert whole >= 300
        assert torn >= 3
    finally:
        kill(process)


def test_readers_stay_when_the_writer_is_started_again(tmp_path: Path) -> None:
    reader = FrameReader(tmp_path, "main")
    before = FrameWriter(tmp_path, "main", WIDTH, HEIGHT).write(plain(1), 1)
    old = reader.latest()
    writer = FrameWriter(tmp_path, "main", WIDTH, HEIGHT)
    kept = reader.latest()
    assert old is not None
    assert kept is not None
    assert kept.number == before.number
    after = writer.write(plain(2), 2)
    new = reader.latest(newer_than=before.number)
    assert new is not None
    assert (new.number, new.epoch) == (before.number + 1, before.epoch + 1) == (after.number, after.epoch)
    assert old.still_valid()


def test_a_writer_killed_in_mid_write_leaves_no_half_picture(tmp_path: Path) -> None:
    process = child(STOPS_IN_MID_WRITE, tmp_path)
    reader = FrameReader(tmp_path, "main")
    kill(process)
    last = reader.latest()
    assert last is not None
    assert (last.picture == 7).all()
    writer = FrameWriter(tmp_path, "main", WIDTH, HEIGHT)
    for value in range(1, 2 * SLOTS):
        number = writer.write(plain(value), value).number
        frame = reader.latest()
        assert frame is not None
        assert frame.number == number == last.number + value
        assert (frame.picture == value).all()
        assert frame.still_valid()


def test_another_size_reaches_readers_by_itself(tmp_path: Path) -> None:
    reader = FrameReader(tmp_path, "main")
    small = FrameWriter(tmp_path, "main", WIDTH, HEIGHT).write(plain(1), 1)
    old = reader.latest()
    writer = FrameWriter(tmp_path, "main", 2 * WIDTH, 2 * HEIGHT)
    assert reader.latest(newer_than=small.number) is None
    large = writer.write(plain(2, 2 * WIDTH, 2 * HEIGHT), 2)
    frame = reader.latest(newer_than=small.number)
    assert frame is not None
    assert (frame.width, frame.height) == (2 * WIDTH, 2 * HEIGHT)
    assert (frame.number, frame.epoch) == (small.number + 1, small.epoch + 1) == (large.number, large.epoch)
    assert old is not None
    assert (old.picture == 1).all()  # who still looks at the old file is not pulled the ground from under
    assert [path.name for path in tmp_path.iterdir()] == ["frames.main"]


def test_a_replaced_file_is_found_even_when_the_old_one_was_not_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "STALE_S", 0.0)
    reader = FrameReader(tmp_path, "main")
    FrameWriter(tmp_path, "main", WIDTH, HEIGHT).write(plain(1), 1)
    assert reader.latest() is not None
    (tmp_path / "frames.main").unlink()
    FrameWriter(tmp_path, "main", WIDTH, HEIGHT).write(plain(2), 2)
    values = [frame.picture[0, 0] for _ in range(2) if (frame := reader.latest())]
    assert values[-1] == 2


def test_a_stale_ring_can_be_told(tmp_path: Path) -> None:
    writer, reader = FrameWriter(tmp_path, "main", WIDTH, HEIGHT), FrameReader(tmp_path, "main")
    assert reader.age_s(0) == float("inf")
    writer.write(plain(1), 2_000_000_000)
    assert reader.age_s(5_500_000_000) == pytest.approx(3.5)


@pytest.mark.parametrize("content", [b"", b"short", b"\0" * 100_000], ids=["empty", "short", "zeros"])
def test_what_is_no_ring_is_refused_by_readers_and_replaced_by_the_writer(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "frames.main"
    path.write_bytes(content)
    reader = FrameReader(tmp_path, "main")
    with pytest.raises(FrameError, match=r"frames\.main"):
        reader.latest()
    written = FrameWriter(tmp_path, "main", WIDTH, HEIGHT).write(plain(3), 1)
    frame = reader.latest()
    assert frame is not None
    assert frame.number == written.number


def test_a_ring_of_the_wrong_length_is_not_mapped(tmp_path: Path) -> None:
    FrameWriter(tmp_path, "main", WIDTH, HEIGHT).write(plain(1), 1)
    path = tmp_path / "frames.main"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FrameError, match="64 x 48"):
        FrameReader(tmp_path, "main").latest()


@pytest.mark.parametrize("size", [(0, 48), (63, 48), (64, 47), (64, 100_000)])
def test_impossible_sizes_are_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    with pytest.raises(FrameError, match="even"):
        FrameWriter(tmp_path, "main", *size)
