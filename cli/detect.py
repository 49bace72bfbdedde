"""`wimz detect`: find dogs in pictures and videos, print them, and draw them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from bus import settings
from bus.frames import Picture
from bus.messages import Dog
from cli.errors import CommandError
from contract.models import BoundingBox
from processes.detector import still
from processes.detector.config import THRESHOLD, DetectorConfig
from processes.detector.driver import MobilenetDetector, ModelError
from processes.detector.follow import Follower

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
SMALL_WIDTH = 320
MAX_SIDE = 4096
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
    """Look at every file. Pictures are looked at thoroughly, videos as the robot does, with tracks and behaviours."""
    config = DetectorConfig(threshold=arguments.threshold)
    path = arguments.model if arguments.model else settings.ROOT / config.model_file
    try:
        detector = MobilenetDetector(path)
        for file in arguments.files:
            if not file.is_file():
                raise CommandError(f"there is no file {file}")
            out = _place(arguments.out, file)
            if file.suffix.lower() in PICTURES:
                _look_at_picture(detector, config, file, out, as_json=arguments.json)
            else:
                _look_at_video(detector, config, file, out, as_json=arguments.json)
    except ModelError as error:
        raise CommandError(f"{error}.") from error
    return 0


def i420(image: Image.Image) -> Picture:
    """A picture as the camera's ring has it; its sides become even."""
    frame = av.VideoFrame.from_ndarray(np.asarray(image.convert("RGB")), format="rgb24")
    return _i420(frame, frame.width // 2 * 2, frame.height // 2 * 2)


def _i420(frame: Any, width: int, height: int) -> Picture:
    shaped = frame.reformat(max(2, width), max(2, height), "yuv420p", interpolation="AREA")
    picture: Picture = shaped.to_ndarray()
    return picture


def small_of(frame: Any) -> Picture:
    """What the robot's small stream shows of a frame: 320 pixels wide."""
    return _i420(frame, SMALL_WIDTH, round(SMALL_WIDTH * frame.height / frame.width / 2) * 2)


def open_picture(file: Path) -> Image.Image:
    """Raises CommandError when it is none."""
    try:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise CommandError(f"{file} is no picture that can be read: {error}") from error
    if max(image.size) > MAX_SIDE:
        image.thumbnail((MAX_SIDE, MAX_SIDE))
    return image


def _look_at_picture(
    detector: MobilenetDetector, config: DetectorConfig, file: Path, out: Path | None, *, as_json: bool
) -> None:
    image = open_picture(file)
    found = still.look(detector, i420(image), 0, config.threshold)
    dogs = [{"box": _rounded(one.box), "score": round(one.score, 3)} for one in found]
    if as_json:
        print(json.dumps({"file": str(file), "dogs": dogs}))
    else:
        print(f"{file}: " + ("; ".join(f"dog {one.score:.2f} at {_words(one.box)}" for one in found) or "no dog"))
    if out is not None:
        for one in found:
            _draw(image, one.box, f"dog {one.score:.2f}")
        image.save(out)


def _look_at_video(
    detector: MobilenetDetector, config: DetectorConfig, file: Path, out: Path | None, *, as_json: bool
) -> None:
    follower: Follower | None = None
    writer: _Writer | None = None
    dogs: list[Dog] = []
    said, due = "", float("-inf")
    try:
        for number, (at, frame) in enumerate(_frames(file)):
            follower = follower or Follower(detector, config, frame.width / frame.height)
            if at >= due:
                due = max(due + 1 / config.rate_hz, at)
                main = _i420(frame, frame.width // 2 * 2, frame.height // 2 * 2)
                region, found = follower.look(at, small_of(frame), main, number)
                dogs = follower.take(at, region, found)
                said = _tell_look(file, at, dogs, said, as_json=as_json)
            if out is not None:
                writer = writer or _Writer(out, frame)
                writer.write(frame, dogs)
    finally:
        if writer is not None:
            writer.close()
    if follower is None:
        raise CommandError(f"{file} has no picture that can be decoded")


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
        print(f"{file} {at:8.2f} s: {words}")
    return words


def _frames(file: Path) -> Iterator[tuple[float, Any]]:
    """The frames of a video with their time in s. Raises CommandError."""
    try:
        with av.open(str(file)) as container:
            if not container.streams.video:
                raise CommandError(f"{file} has no video in it")
            stream = container.streams.video[0]
            rate = float(stream.average_rate or 25)
            for index, frame in enumerate(container.decode(stream)):
                yield (index / rate if frame.time is None else float(frame.time)), frame
    except (FFmpegError, OSError) as error:
        raise CommandError(f"{file} is neither a picture ({', '.join(PICTURES)}) nor a video: {error}") from error


class _Writer:
    """Writes frames with boxes drawn in, each for as long as it is shown in the original."""

    def __init__(self, path: Path, first: Any) -> None:
        self._container: Any = av.open(str(path), "w")
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


def _place(out: Path | None, file: Path) -> Path | None:
    """Where a file's drawn copy goes."""
    if out is None:
        return None
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"cannot make {out}: {error.strerror}") from error
    place = out / (file.name if file.suffix.lower() in PICTURES else f"{file.stem}.mp4")
    if place.resolve() == file.resolve():
        raise CommandError(f"{place} would be overwritten: choose another --out")
    return place


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
