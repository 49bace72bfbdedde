"""The ring of frames: nobody ever takes half a picture for a whole one, whoever dies."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import hypothesis
import numpy as np
import psutil
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bus import frames
from bus.frames import SLOTS, Frame, FrameError, FrameReader, FrameWriter, Picture, blank, planes
from bus.settings import ROOT

WIDTH, HEIGHT = 64, 48

FULL = 251
"""Every pixel of the frame `number` is `number % FULL`: whoever has two values before him has two pictures."""

AT_FULL_SPEED = """
import sys
from pathlib import Path
from types import FrameType
from bus.frames import FrameWriter, blank
width, height = int(sys.argv[2]), int(sys.argv[3])
writer, picture = FrameWriter(Path(sys.argv[1]), "main", width, height), blank(width, height)
print("ready", flush=True)
while True:
    picture[:] = writer.next_number % 251
    writer.write(picture, 1)
"""

# Forks one writer after the other, each in its turn in another size or the same; a line from outside asks for the next.
WRITERS_TO_BE_KILLED = """
import itertools, os, signal, sys
from pathlib import Path
from types import FrameType
from bus.frames import FrameWriter
from bus.runner import die_with_parent
die_with_parent(signal.SIGKILL)
nursery = os.getpid()
for size in itertools.cycle(((640, 480), (640, 480), (640, 480), (320, 240))):
    if (pid := os.fork()) == 0:
        die_with_parent(signal.SIGKILL, nursery)
        writer = FrameWriter(Path(sys.argv[1]), "main", *size)
        for count in itertools.count():
            with writer.slot(1) as place:
                place[:] = writer.next_number % 251
            if count == 3:
                print(os.getpid(), flush=True)
    os.waitpid(pid, 0)
    print("dead", flush=True)
    sys.stdin.readline()
"""

# Looks at frames where they lie, with a pause in the middle that is sometimes too long, until it has seen enough.
READER = """
import json, sys, time
from pathlib import Path
from types import FrameType
from bus.frames import FrameReader
run_dir, goals = Path(sys.argv[1]), json.loads(sys.argv[2])
seen = dict(looked=0, whole=0, lapped=0, torn=0, handed_out_torn=0, backward=0, epoch=0, sizes=0)
reader, number, sizes = FrameReader(run_dir, "main"), 0, set()
while not seen["handed_out_torn"] and any(seen[what] < least for what, least in goals.items()):
    frame = reader.latest(newer_than=number)
    if frame is None:
        time.sleep(0.0002)
        continue
    seen["looked"] += 1
    seen["backward"] += frame.number < number
    number, value, half = frame.number, frame.number % 251, frame.height // 2
    right = bool((frame.picture[:half] == value).all())
    time.sleep((0, 0, 0.0002, 0.001)[seen["looked"] % 4])
    right = bool((frame.picture[half:] == value).all()) and right
    valid = frame.still_valid()
    seen["whole" if valid else "lapped"] += 1
    seen["torn"] += not right
    seen["handed_out_torn"] += valid and not right
    seen["epoch"] = frame.epoch
    sizes.add(frame.picture.shape)
    seen["sizes"] = len(sizes)
print(json.dumps(seen), flush=True)
"""

# Keeps a copy of the newest frame, a hundred thousand times; says when it is warm, and when it is done.
COLLECTOR = """
import sys, time
from pathlib import Path
from types import FrameType
from bus.frames import FrameReader
reader, number, held = FrameReader(Path(sys.argv[1]), "main"), 0, 0
while held < 105_000:
    frame = reader.latest(newer_than=number)
    if frame is None:
        time.sleep(0)  # the writer may need this very core
    elif (picture := frame.copy()) is not None:
        assert picture[0, 0] == picture[-1, -1] == frame.number % 251
        number, held = frame.number, held + 1
        if held in (5_000, 105_000):
            print(held, flush=True)
            sys.stdin.readline()
"""

KILLED_BEFORE_THE_RING_HAS_ITS_NAME = """
import os, signal, sys
from pathlib import Path
from types import FrameType
from bus.frames import FrameWriter
os.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
print("ready", flush=True)
FrameWriter(Path(sys.argv[1]), "main", 64, 48)
"""

STOPS_IN_MID_WRITE = """
import sys, time
from pathlib import Path
from types import FrameType
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


def start(program: str, run_dir: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a program in another process."""
    command = [sys.executable, "-c", program, str(run_dir), *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def line(process: subprocess.Popen[str]) -> str:
    """The next line that it prints."""
    assert process.stdout is not None
    text = process.stdout.readline()
    assert text, "it ended without another line"
    return text.strip()


def go_on(process: subprocess.Popen[str]) -> None:
    """What waits for a line gets one."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def seen_by(reader: subprocess.Popen[str]) -> dict[str, int]:
    """What a READER has seen in the end."""
    seen: dict[str, int] = json.loads(line(reader))
    return seen


def slots_in_the_middle_of_a_write(run_dir: Path) -> int:
    """How many slots of the ring have an odd sequence."""
    words = np.fromfile(run_dir / "frames.main", np.uint64, 512)
    return int((words[frames._FIRST_SLOT :: frames._SLOT_WORDS][:SLOTS] % 2).sum())


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    """What is put in here is killed in the end."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        kill(process)


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
    with pytest.raises(FrameError, match="shape"):
        writer.write(np.zeros((1, WIDTH), np.uint8), 2)
    frame = reader.latest()
    assert frame is not None
    assert frame.number == good.number
    assert writer.write(plain(3), 3).number == good.number + 1


def test_no_torn_frame_is_handed_out_by_a_writer_at_full_speed_to_slow_readers(
    tmp_path: Path, processes: list[subprocess.Popen[str]]
) -> None:
    writer = start(AT_FULL_SPEED, tmp_path, "640", "480")
    processes.append(writer)
    assert line(writer) == "ready"
    # They go on until they have met half pictures often enough: otherwise nothing was shown.
    readers = [start(READER, tmp_path, json.dumps({"whole": 300, "lapped": 50, "torn": 20})) for _ in range(3)]
    processes += readers
    for seen in map(seen_by, readers):
        assert seen["handed_out_torn"] == 0
        assert seen["backward"] == 0


def test_no_torn_frame_is_handed_out_when_writers_are_killed_in_mid_write_and_change_the_size(
    tmp_path: Path, processes: list[subprocess.Popen[str]]
) -> None:
    kills, chance = 100, random.Random(7)
    nursery, reader = start(WRITERS_TO_BE_KILLED, tmp_path), FrameReader(tmp_path, "main")
    readers = [start(READER, tmp_path, json.dumps({"epoch": kills, "sizes": 2, "whole": 100})) for _ in range(2)]
    processes += [nursery, *readers]
    newest = in_mid_write = 0
    for _ in range(kills):
        pid = int(line(nursery))
        enough = newest + chance.randrange(3, 40)
        while (frame := reader.latest()) is None or frame.number < enough:
            pass
        os.kill(pid, signal.SIGKILL)
        assert line(nursery) == "dead"
        in_mid_write += slots_in_the_middle_of_a_write(tmp_path)
        last = reader.latest()
        assert last is not None
        assert (last.picture == last.number % FULL).all()
        assert last.number >= newest
        newest = last.number
        go_on(nursery)
    for seen in map(seen_by, readers):
        assert seen["handed_out_torn"] == 0
        assert seen["backward"] == 0
    assert in_mid_write >= kills // 4


def test_after_100_000_frames_writer_and_reader_have_not_grown(
    tmp_path: Path, processes: list[subprocess.Popen[str]]
) -> None:
    writer = start(AT_FULL_SPEED, tmp_path, "320", "180")
    processes.append(writer)
    assert line(writer) == "ready"
    collector = start(COLLECTOR, tmp_path)
    processes.append(collector)
    both = [psutil.Process(writer.pid), psutil.Process(collector.pid)]
    assert line(collector) == "5000"
    before = [(process.memory_info().rss, process.num_fds()) for process in both]
    go_on(collector)
    assert line(collector) == "105000"
    for process, (rss, descriptors) in zip(both, before, strict=True):
        assert process.memory_info().rss <= 1.05 * rss
        assert process.num_fds() <= descriptors


def test_writers_that_come_and_go_leave_nothing_open_in_a_reader(tmp_path: Path) -> None:
    reader, me = FrameReader(tmp_path, "main"), psutil.Process()
    descriptors = me.num_fds()
    for value in range(200):
        width = WIDTH * (1 + value % 2)
        FrameWriter(tmp_path, "main", width, HEIGHT).write(plain(value, width), 1)
        frame = reader.latest()
        assert frame is not None
        assert (frame.picture == value).all()
    assert me.num_fds() <= descriptors + 1  # that of the ring it has mapped
    mapped = [text for text in Path("/proc/self/maps").read_text().splitlines() if str(tmp_path) in text]
    assert len(mapped) == 1


def test_readers_stay_when_the_writer_is_started_again(tmp_path: Path) -> None:
    reader = FrameReader(tmp_path, "main")
    before = FrameWriter(tmp_path, "main", WIDTH, HEIGHT).write(plain(1), 1)
    old = reader.latest()
    writer = FrameWriter(tmp_path, "main", WIDTH, HEIGHT)
    kept = reader.latest()
    assert old is not None
    assert kept is not None
    assert (kept.number, kept.epoch) == (before.number, before.epoch)
    after = writer.write(plain(2), 2)
    new = reader.latest(newer_than=before.number)
    assert new is not None
    assert (new.number, new.epoch) == (before.number + 1, before.epoch + 1) == (after.number, after.epoch)
    assert old.still_valid()


def test_a_writer_killed_in_mid_write_leaves_no_half_picture(tmp_path: Path) -> None:
    process, reader = start(STOPS_IN_MID_WRITE, tmp_path), FrameReader(tmp_path, "main")
    assert line(process) == "in the middle"
    kill(process)
    assert slots_in_the_middle_of_a_write(tmp_path) == 1
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


def test_a_write_that_the_garbage_collector_ends_in_the_middle_of_another_holds_nobody_up(tmp_path: Path) -> None:
    lines: list[int] = []
    left = [FrameWriter(tmp_path, "small", WIDTH, HEIGHT).slot(1)]
    left[0].__enter__()
    writer = FrameWriter(tmp_path, "main", WIDTH, HEIGHT)

    def collect(frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code is frames._fence.__code__ and event == "line":
            lines.append(frame.f_lineno)
            if len(lines) == 3:  # it holds its lock
                left.clear()
        return collect

    before = sys.gettrace()
    sys.settrace(collect)
    try:
        writer.write(plain(5, WIDTH), 1)
    finally:
        sys.settrace(before)
    assert not left
    latest = FrameReader(tmp_path, "main").latest()
    assert latest is not None
    assert latest.picture[0, 0] == 5


def test_a_frame_that_a_killed_writer_had_finished_but_not_announced_keeps_its_number(tmp_path: Path) -> None:
    writer = FrameWriter(tmp_path, "main", WIDTH, HEIGHT)
    writer.write(plain(1), 1)
    unannounced = writer.write(plain(2), 2).number
    np.memmap(tmp_path / "frames.main", np.uint64, "r+")[frames._LATEST] = unannounced - 1  # it was killed before this
    successor, reader = FrameWriter(tmp_path, "main", WIDTH, HEIGHT), FrameReader(tmp_path, "main")
    frame = reader.latest()
    assert frame is not None
    assert (frame.number, frame.picture[0, 0]) == (unannounced, 2)
    assert successor.next_number == unannounced + 1


def test_a_ring_that_was_lost_and_begun_anew_is_newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "STALE_S", 0.0)
    writer, reader = FrameWriter(tmp_path, "main", WIDTH, HEIGHT), FrameReader(tmp_path, "main")
    last = [writer.write(plain(value), 1).number for value in range(5)][-1]
    assert reader.latest() is not None
    (tmp_path / "frames.main").unlink()
    first = FrameWriter(tmp_path, "main", WIDTH, HEIGHT).write(plain(9), 1).number
    assert first < last
    found = [frame.picture[0, 0] for _ in range(2) if (frame := reader.latest(newer_than=last))]
    assert found[-1:] == [9]


def test_what_a_writer_left_that_was_killed_while_it_made_a_ring_is_removed_by_the_next(tmp_path: Path) -> None:
    for there_is_a_ring in (False, True):
        process = start(KILLED_BEFORE_THE_RING_HAS_ITS_NAME, tmp_path)
        assert line(process) == "ready"
        assert process.wait(60) == -signal.SIGKILL
        process.communicate()
        assert len(list(tmp_path.iterdir())) == 1 + there_is_a_ring
        FrameWriter(tmp_path, "main", 2 * WIDTH, HEIGHT)
        assert [path.name for path in tmp_path.iterdir()] == ["frames.main"]


def test_where_there_is_no_room_for_a_ring_the_writer_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(FrameError, match=r"11\.1 MB"):
            FrameWriter(tmp_path, "main", 1280, 720)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


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


class RingInAnyOrder(RuleBasedStateMachine):
    """Writers come, fail, change the size and are cut off in mid-write; a reader holds frames all along."""

    def __init__(self) -> None:
        super().__init__()
        self.run_dir = Path(tempfile.mkdtemp(prefix="wz-"))
        self.width, self.writer = WIDTH, FrameWriter(self.run_dir, "main", WIDTH, HEIGHT)
        self.reader = FrameReader(self.run_dir, "main")
        self.values: dict[int, int] = {}
        self.newest: int | None = None  # of the ring as it is
        self.held: list[Frame] = []
        self.first = 1  # the first number that may lie in the ring as it is
        self.overwritten: set[int] = set()  # numbers in whose place a write was begun
        self.cut_off: list[Any] = []  # kept, so that they never come to their end

    def begin(self) -> None:
        before = self.writer.next_number - SLOTS
        if before >= self.first:
            self.overwritten.add(before)

    @rule(value=st.integers(0, 255))
    def write(self, value: int) -> None:
        self.begin()
        number = self.writer.write(plain(value, self.width), 1).number
        assert number not in self.values
        self.values[number], self.newest = value, number

    @rule()
    def hold(self) -> None:
        frame = self.reader.latest()
        assert (frame.number if frame else None) == self.newest
        if frame is not None:
            self.held.append(frame)

    @rule()
    def fail_to_draw(self) -> None:
        self.begin()
        with pytest.raises(FrameError):
            self.writer.write(plain(7, 2), 1)

    @rule(change_size=st.booleans())
    def die_in_mid_write(self, change_size: bool) -> None:
        self.begin()
        write = self.writer.slot(1)
        write.__enter__()[: HEIGHT // 2] = 9
        self.cut_off.append(write)
        self.start_again(change_size)

    @rule(change_size=st.booleans())
    def start_again(self, change_size: bool) -> None:
        if change_size:
            self.width, self.newest = 3 * WIDTH - self.width, None
        self.writer = FrameWriter(self.run_dir, "main", self.width, HEIGHT)
        if change_size:
            self.first = self.writer.next_number

    @invariant()
    def held_frames_are_whole_or_known_not_to_be(self) -> None:
        for frame in self.held:
            valid = frame.still_valid()
            assert valid == (frame.number not in self.overwritten)
            assert not valid or (frame.picture == self.values[frame.number]).all()

    def teardown(self) -> None:
        shutil.rmtree(self.run_dir)


TestRingInAnyOrder = RingInAnyOrder.TestCase
TestRingInAnyOrder.settings = hypothesis.settings(max_examples=60, stateful_step_count=40, deadline=None)
