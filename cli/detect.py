"""`wimz detect`: find dogs in pictures and videos, print them, and draw them."""

from __future__ import annotations

import argparse
import json
import os
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bus import settings
from bus.messages import Dog
from cli.errors import CommandError
from cli.pictures import frames, i420, main_of, name_of, open_picture, small_of
from contract.models import BoundingBox
from processes.detector import still
from processes.detector.config import THRESHOLD, DetectorConfig
from processes.detector.driver import MobilenetDetector, ModelError
from processes.detector.follow import Follower

DRAWN_AS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""What a drawn copy of a picture keeps its name with; of other pictures it is a PNG."""
LINE = (64, 255, 96)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `wimz detect`."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a picture or a video")
    parser.add_argument("--out", type=Path, metavar="DIR", help="put copies there with what was found drawn in")
    parser.add_argument(
        "--json", action="store_true", help="one line of JSON for each picture, and each look at a video"
    )
    parser.add_argument("--threshold", type=_score, default=THRESHOLD, help="the least score (default: %(default)s)")
    parser.add_argument("--model", type=Path, help="the model's file (default: the one that `make model` fetches)")


def run(arguments: argparse.Namespace) -> int:
    """Look at every file. Pictures are looked at thoroughly, videos as the robot does, with tracks and behaviours.

    A file that cannot be looked at is named, and the others are looked at all the same; then the status is 1.
    """
    config = DetectorConfig(threshold=arguments.threshold)
    path = arguments.model if arguments.model else settings.ROOT / config.model_file
    copies = Copies(arguments.out) if arguments.out else None
    failures = 0
    try:
        detector = MobilenetDetector(path, threads=len(os.sched_getaffinity(0)))
        for file in arguments.files:
            try:
                _look_at(detector, config, file, copies, as_json=arguments.json)
            except CommandError as error:
                failures += 1
                _tell_failure(file, error, as_json=arguments.json)
    except ModelError as error:
        raise CommandError(f"{error}.") from error
    return 1 if failures else 0


def _tell_failure(file: Path, error: CommandError, *, as_json: bool) -> None:
    if as_json:
        code = "INVALID_PARAMETER" if file.exists() else "NOT_FOUND"
        print(json.dumps({"file": str(file), "error": {"code": code, "message": str(error)}}))
    print(f"wimz detect: {error}", file=sys.stderr)


def _look_at(
    detector: MobilenetDetector, config: DetectorConfig, file: Path, copies: Copies | None, *, as_json: bool
) -> None:
    if file.is_dir():
        raise CommandError(f"{name_of(file)} is a folder: name the files in it, as in {name_of(file)}/*.jpg")
    if not file.exists():
        raise CommandError(f"there is no file {name_of(file)}")
    if not file.is_file():
        raise CommandError(f"{name_of(file)} is no file with a picture or a video in it, but a device or the like")
    image = open_picture(file)
    if image is None:
        _look_at_video(detector, config, file, copies, as_json=as_json)
    else:
        _look_at_picture(detector, config, file, image, copies, as_json=as_json)


class Copies:
    """Where the drawn copies go.

    Raises:
        CommandError: the folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CommandError(f"cannot make the folder {name_of(folder)}: {error.strerror}") from error
        self._folder = folder
        self._taken: set[Path] = set()

    def place(self, file: Path, suffix: str) -> Path:
        """Where a file's copy goes: under its name, with a number where another of this run has that.

        Raises:
            CommandError: it is the file itself.
        """
        place, number = self._folder / f"{file.stem}{suffix}", 2
        while place in self._taken:
            place, number = self._folder / f"{file.stem}-{number}{suffix}", number + 1
        if place.resolve() == file.resolve():
            raise CommandError(f"{name_of(file)} would be overwritten: choose another --out")
        self._taken.add(place)
        return place


def _look_at_picture(
    detector: MobilenetDetector,
    config: DetectorConfig,
    file: Path,
    image: Image.Image,
    copies: Copies | None,
    *,
    as_json: bool,
) -> None:
    suffix = file.suffix if file.suffix.lower() in DRAWN_AS else ".png"
    out = copies.place(file, suffix) if copies is not None else None
    found = still.look(detector, i420(image), 0, config.threshold)
    dogs = [{"box": _rounded(one.box), "score": round(one.score, 3)} for one in found]
    if as_json:
        print(json.dumps({"file": str(file), "dogs": dogs}))
    else:
        words = "; ".join(f"dog {one.score:.2f} at {_words(one.box)}" for one in found) or "no dog"
        print(f"{name_of(file)}: {words}")
    if out is not None:
        for one in found:
            _draw(image, one.box, f"dog {one.score:.2f}")
        try:
            image.save(out)
        except OSError as error:
            raise _cannot_write(out, error) from error


def _cannot_write(out: Path, error: OSError) -> CommandError:
    return CommandError(f"cannot write {name_of(out)}: {error.strerror or error}")


def _look_at_video(
    detector: MobilenetDetector, config: DetectorConfig, file: Path, copies: Copies | None, *, as_json: bool
) -> None:
    out = copies.place(file, ".mp4") if copies is not None else None
    follower: Follower | None = None
    writer: _Writer | None = None
    dogs: list[Dog] = []
    said, due = "", float("-inf")
    try:
        for number, (at, frame) in enumerate(frames(file)):
            follower = follower or Follower(detector, config, frame.width / frame.height)
            if at >= due:
                due = max(due + 1 / config.rate_hz, at)
                region, found = follower.look(at, small_of(frame), main_of(frame), number)
                dogs = follower.take(at, region, found)
                said = _tell_look(file, at, dogs, said, as_json=as_json)
            if out is not None:
                writer = writer or _Writer(out, frame)
                writer.write(frame, dogs)
    finally:
        if writer is not None:
            writer.close()
    if follower is None:
        raise CommandError(f"{name_of(file)} has no picture that can be decoded")


def _tell_look(file: Path, at: float, dogs: list[Dog], said: str, *, as_json: bool) -> str:
    """Print what one look has shown: as JSON always, for people when it changes. Returns what was said last."""
    if as_json:
        rows = [
            {"id": dog.id, "box": _rounded(dog.box), "score": round(dog.score, 3), "behavior": dog.behavior,
             "confidence": round(dog.confidence, 3)}
            for dog in dogs
        ]  # fmt: skip
        print(json.dumps({"file": str(file), "at_s": round(at, 3), "dogs": rows}))
        return said
    words = ", ".join(f"dog {dog.id} {dog.behavior}" for dog in sorted(dogs, key=lambda dog: dog.id)) or "no dog"
    if words != said:
        print(f"{name_of(file)} {at:8.2f} s: {words}")
    return words


class _Writer:
    """Writes frames with boxes drawn in, each for as long as it is shown in the original."""

    def __init__(self, path: Path, first: Any) -> None:
        try:
            self._container: Any = av.open(str(path), "w")
        except OSError as error:  # FFmpeg's are, too
            raise _cannot_write(path, error) from error
        self._stream = self._container.add_stream("libx264", rate=30, options={"preset": "veryfast"})
        self._stream.width, self._stream.height = first.width // 2 * 2, first.height // 2 * 2
        self._stream.pix_fmt = "yuv420p"
        self._time_base = first.time_base or Fraction(1, 25)
        self._stream.codec_context.time_base = self._time_base
        self._count = 0

    def write(self, frame: Any, dogs: list[Dog]) -> None:
        image = frame.to_image()
        for dog in dogs:
            _draw(image, dog.box, f"{dog.id} {dog.behavior} {dog.score:.2f}")
        drawn = av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")
        drawn.pts = frame.pts if frame.pts is not None else self._count
        drawn.time_base = self._time_base
        self._count += 1
        self._container.mux(self._stream.encode(drawn))

    def close(self) -> None:
        self._container.mux(self._stream.encode(None))
        self._container.close()


def _draw(image: Image.Image, box: BoundingBox, text: str) -> None:
    draw = ImageDraw.Draw(image)
    width, height = image.size
    left, top = box[0] * width, box[1] * height
    line = max(1, height // 240)
    draw.rectangle((left, top, left + box[2] * width, top + box[3] * height), outline=LINE, width=line)
    font = ImageFont.load_default(max(10, height / 30))
    place = (left + 2 * line, max(0.0, top - height / 24))
    draw.text(place, text, fill=LINE, font=font, stroke_width=line, stroke_fill=(0, 0, 0))


def _rounded(box: BoundingBox) -> list[float]:
    return [round(side, 4) for side in box]


def _words(box: BoundingBox) -> str:
    x, y, width, height = (round(100 * side) for side in box)
    return f"{x} %, {y} % ({width} % wide, {height} % high)"


def _score(text: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = -1.0
    if not 0.1 <= score <= 0.95:
        raise argparse.ArgumentTypeError(f"{text!r} is no threshold. Accepted: 0.1 to 0.95")
    return score
