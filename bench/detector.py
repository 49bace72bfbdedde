"""The detector: what a look costs, what the process takes at 5 looks a second, and what it finds.

`make bench-detector`; `FRAMES=DIR` a folder of stills with a `labels.csv` (columns file, dogs, behavior), `SECONDS=n`
of running, `JSON=1`, `CHECK=1`. The processes are the robot's own, with the synthetic camera and the network: it finds
no dog there, so that it looks at squares too, which is the dearest that it does.

Stills are looked at in two ways: thoroughly, as `wimz detect` does, and as the robot does: the still stands before the
camera for some seconds, seen through the small stream. So are pictures made of them: their dogs put into their empty
rooms at a tenth to half of the picture's height, `PLACES=n` at each, and the rooms in other lights. There a dog is
found where a box covers it by an IoU of 0.5 or more.
"""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
from PIL import Image

from bench.detector_pasted import Made, cut, empty, pasted
from bench.report import Row, finish
from bus import settings
from bus.frames import Picture
from bus.messages import CameraState, Dog, FrameTick, Sighting
from bus.topics import CAMERA_STATE, CAMERA_TICK, SIGHTING
from bus.zeromq import ZmqBus
from cli.pictures import i420, open_picture
from contract.models import BoundingBox
from hardware.drawn_dog import CYCLE_FRAMES
from processes.camera.driver import Scaler
from processes.camera.scene import Scene
from processes.detector import still
from processes.detector.config import DetectorConfig
from processes.detector.driver import MobilenetDetector
from processes.detector.follow import Follower
from processes.detector.regions import squares
from processes.detector.tracker import iou

CONFIG = DetectorConfig(model="mobilenet")
MODEL = settings.ROOT / CONFIG.model_file
MAX_CPU_PCT = 10.0
MIN_FPS_PCT = 95.0
LOOKS = 100
STANDING_S = 12.0
HEIGHTS = (0.10, 0.12, 0.15, 0.20, 0.30, 0.50)
LEAST_IOU = 0.5
PATIENCE_S = 30.0


def main() -> None:
    seconds = float(os.environ.get("SECONDS", "15"))
    detector = MobilenetDetector(MODEL)
    rows = [*look_rows(detector), *running_rows(seconds)]
    frames = os.environ.get("FRAMES")
    if frames:
        places = int(os.environ.get("PLACES", "10"))
        rows += [*still_rows(detector, Path(frames)), *made_rows(detector, Path(frames), places)]
    finish("Finding dogs", rows)


def look_rows(detector: MobilenetDetector) -> list[Row]:
    """Processor time of one look."""
    main_picture = Scene(1280, 720).draw(CYCLE_FRAMES // 4, 0).copy()
    small = Scaler(320, 180)(main_picture).copy()
    square = squares(16 / 9)[0]
    return [
        look_row("a look at the whole small picture", lambda: detector.find(small, 0)),
        look_row("a look at a square of the main one", lambda: detector.find(main_picture, 0, square)),
    ]


def look_row(what: str, look: Callable[[], object]) -> Row:
    look()
    took, cpu = [], []
    for _ in range(LOOKS):
        began, cpu_began = time.perf_counter(), time.process_time()
        look()
        took.append((time.perf_counter() - began) * 1000)
        cpu.append((time.process_time() - cpu_began) * 1000)
    return Row(
        what, {"p50_ms": statistics.median(took), "p99_ms": statistics.quantiles(took, n=100)[98],
               "cpu_ms": statistics.median(cpu)}
    )  # fmt: skip


def running_rows(seconds: float) -> list[Row]:
    """The processes: the detector's share of a core, and the camera's frame rate without and with it."""
    with robot() as (start, watch):
        start("camera")
        alone = watch.camera_fps(seconds)
        detector = start("detector")
        watch.until(lambda: watch.sightings > 0)
        before, sightings, began = cpu_s(detector), watch.sightings, time.monotonic()
        beside = watch.camera_fps(seconds)
        passed = time.monotonic() - began
        share_pct = 100 * (cpu_s(detector) - before) / passed
        looks_hz = (watch.sightings - sightings) / passed
    kept_pct = 100 * beside / alone
    return [
        Row("processor, the whole process", {"looks_hz": looks_hz, "core_pct": share_pct}, MAX_CPU_PCT,
            share_pct <= MAX_CPU_PCT),
        Row("camera without the detector", {"fps": alone}),
        Row("camera beside the detector", {"fps": beside, "kept_pct": kept_pct}, MIN_FPS_PCT, kept_pct >= MIN_FPS_PCT),
    ]  # fmt: skip


class Watch:
    """What is heard on the bus."""

    def __init__(self, bus: ZmqBus) -> None:
        self.sightings = self.frames = 0
        self.healthy = False
        bus.subscribe(CAMERA_TICK, lambda message: self._on_frame(message.value), every_value=True)
        bus.subscribe(SIGHTING, lambda message: self._on_sighting(message.value), every_value=True)
        bus.subscribe(CAMERA_STATE, lambda message: self._on_camera(message.value))

    def _on_frame(self, tick: FrameTick) -> None:
        self.frames += 1

    def _on_sighting(self, sighting: Sighting) -> None:
        self.sightings += sighting.model is not None

    def _on_camera(self, state: CameraState) -> None:
        self.healthy = state.healthy

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing was heard within {PATIENCE_S:g} s")
            time.sleep(0.01)

    def camera_fps(self, seconds: float) -> float:
        self.until(lambda: self.frames > 0 and self.healthy)
        frames, began = self.frames, time.monotonic()
        time.sleep(seconds)  # what is measured is a rate over time
        return (self.frames - frames) / (time.monotonic() - began)


@contextlib.contextmanager
def robot() -> Iterator[tuple[Callable[[str], subprocess.Popen[bytes]], Watch]]:
    """A data directory of its own, with what starts a process there, and what listens to it."""
    data = Path(tempfile.mkdtemp(prefix="wz-bench-"))
    run_dir = settings.make_run_dir(data)
    config = data / "robot_config.yaml"
    config.write_text("detector: {model: mobilenet}\n")
    bus = ZmqBus("webrtc", run_dir)
    watch = Watch(bus)
    thread = bus.start()
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"processes.{name}", "--config", str(config)]
        environment = os.environ | {"WIMZ_DATA": str(data), "WIMZ_LOG": "WARNING"}
        started.append(subprocess.Popen(command, cwd=settings.ROOT, env=environment, stderr=subprocess.DEVNULL))
        return started[-1]

    try:
        yield start, watch
    finally:
        for process in started:
            process.terminate()
            process.wait(PATIENCE_S)
        bus.stop()
        thread.join()
        shutil.rmtree(data)
        shutil.rmtree(run_dir, ignore_errors=True)


def cpu_s(process: subprocess.Popen[bytes]) -> float:
    times = psutil.Process(process.pid).cpu_times()
    return float(times.user + times.system)


def read_labels(folder: Path) -> list[tuple[Path, int, str]]:
    """Each still with how many dogs it shows, and what they do."""
    with (folder / "labels.csv").open(newline="") as file:
        return [(folder / row["file"], int(row["dogs"]), row.get("behavior") or "") for row in csv.DictReader(file)]


def opened(path: Path) -> Image.Image:
    image = open_picture(path)
    if image is None:
        raise SystemExit(f"{path} is no picture")
    return image


def still_rows(detector: MobilenetDetector, folder: Path) -> list[Row]:
    """What is found on labelled stills."""
    labels = read_labels(folder)
    with_dog = [label for label in labels if label[1] > 0]
    empty = [label for label in labels if label[1] == 0]
    pictures = {path: i420(opened(path)) for path, _, _ in labels}
    thorough = {path: len(still.look(detector, pictures[path], 0, CONFIG.threshold)) for path, _, _ in labels}
    live = {path: standing(detector, pictures[path]) for path, _, _ in labels}
    judged = [
        (live[path], behavior) for path, _, behavior in with_dog if behavior and behavior != "mixed" and live[path]
    ]
    right = sum(dogs[0].behavior == behavior for dogs, behavior in judged)
    rows = []
    for way, seen in (("thorough", thorough), ("live", {path: len(dogs) for path, dogs in live.items()})):
        found = sum(seen[path] > 0 for path, _, _ in with_dog)
        alarms = sum(seen[path] > 0 for path, _, _ in empty)
        for path, dogs, _ in labels:
            if (seen[path] > 0) != (dogs > 0):
                print(f"{way}: {path.name} has {dogs} dogs, {seen[path]} were found", file=sys.stderr)
        rows += [
            Row(
                f"stills with a dog, {way}",
                {"of": len(with_dog), "found": found},
                len(with_dog),
                found == len(with_dog),
            ),
            Row(f"stills without one, {way}", {"of": len(empty), "false_alarms": alarms}, 0, alarms == 0),
        ]
    behavior = {"of": float(len(judged)), "right": float(right)}
    return [*rows, Row("behaviours told from a still that stands", behavior)]


def made_rows(detector: MobilenetDetector, folder: Path, places: int) -> list[Row]:
    """What is found on pictures made of labelled stills."""
    labels = read_labels(folder)
    rooms = [opened(path) for path, dogs, _ in labels if dogs == 0]
    dogs = []
    for path, number, _ in labels:
        if number == 1:
            image = opened(path)
            dogs += [cut(image, found.box) for found in still.look(detector, i420(image), 0, CONFIG.threshold)[:1]]
    if not rooms or not dogs:
        raise SystemExit(
            f"{folder}/labels.csv names no still with exactly one dog that is found, or none without a dog"
        )
    rows = []
    for height in HEIGHTS:
        made = list(pasted(dogs, rooms, height, places))
        rows.append(Row(f"pasted, {height:g} of the height", {"of": places, **count(detector, made)}))
    made = list(empty(rooms, 2 * places))
    alarms = count(detector, made)
    alarms_row = {"of": len(made), "false_alarms": alarms["found"], "live_false_alarms": alarms["found_live"]}
    return [*rows, Row("rooms without one, in other lights", alarms_row, 0, not any(alarms.values()))]


def count(detector: MobilenetDetector, made: list[Made]) -> dict[str, float]:
    """In how many the dog was found, thoroughly and live; where there is none: in how many one was seen."""
    thorough = live = 0
    for one in made:
        picture = i420(one.image)
        thorough += is_found(one, [found.box for found in still.look(detector, picture, 0, CONFIG.threshold)])
        live += is_found(one, [dog.box for dog in standing(detector, picture)])
    return {"found": thorough, "found_live": live}


def is_found(made: Made, boxes: Sequence[BoundingBox]) -> bool:
    if made.box is None:
        return bool(boxes)
    return any(iou(box, made.box) >= LEAST_IOU for box in boxes)


def standing(detector: MobilenetDetector, picture: Picture) -> list[Dog]:
    """The dogs that the robot sees in the end, when a still stands before its camera."""
    height, width = picture.shape[0] * 2 // 3, picture.shape[1]
    small = Scaler(320, round(320 * height / width / 2) * 2)(picture).copy()
    follower = Follower(detector, CONFIG, width / height)
    dogs: list[Dog] = []
    for look in range(round(STANDING_S * CONFIG.rate_hz)):
        now = look / CONFIG.rate_hz
        region, found = follower.look(now, small, picture, look)
        dogs = follower.take(now, region, found)
    return dogs


if __name__ == "__main__":
    main()
