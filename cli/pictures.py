"""Pictures and videos out of files, as the robot's camera would show them. What a file is, its content says."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from PIL import Image, ImageOps, UnidentifiedImageError

from bus.frames import Picture
from cli.errors import CommandError

MAX_SIDE = 4096
"""Larger pictures are made smaller: a dog of a tenth of the height is still larger than the network's input."""
SMALL_WIDTH = 320
NO_VIDEO = frozenset({"tty"})
"""What FFmpeg calls text, which it would draw letter by letter."""
SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N", "I")


def i420(image: Image.Image) -> Picture:
    """A picture as the camera's ring has it; its sides become even."""
    frame = av.VideoFrame.from_ndarray(np.asarray(image.convert("RGB")), format="rgb24")
    return main_of(frame)


def main_of(frame: Any) -> Picture:
    """A frame as the robot's main stream shows it: I420, with even sides."""
    return _i420(frame, frame.width // 2 * 2, frame.height // 2 * 2)


def small_of(frame: Any) -> Picture:
    """What the robot's small stream shows of a frame: 320 pixels wide."""
    return _i420(frame, SMALL_WIDTH, round(SMALL_WIDTH * frame.height / frame.width / 2) * 2)


def _i420(frame: Any, width: int, height: int) -> Picture:
    shaped = frame.reformat(max(2, width), max(2, height), "yuv420p", interpolation="AREA")
    picture: Picture = shaped.to_ndarray()
    return picture


def open_picture(file: Path) -> Image.Image | None:
    """A picture the right way up, in RGB, at most MAX_SIDE wide and high; None: the file is none, or one that moves.

    Raises:
        CommandError: it is a picture, but a broken one or too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # beyond twice as much it is an error
            with Image.open(file) as opened:
                if opened.format == "GIF" and getattr(opened, "is_animated", False):
                    return None
                opened.draft("RGB", (MAX_SIDE, MAX_SIDE))
                return _in_rgb(opened)
    except UnidentifiedImageError:
        return None
    except Image.DecompressionBombError as error:
        raise CommandError(f"{name_of(file)} is too large a picture: {error}") from error
    except (OSError, ValueError, SyntaxError) as error:  # Pillow's plugins raise all three for what is broken
        raise CommandError(f"{name_of(file)} is a picture that cannot be read: {error}") from error


def _in_rgb(opened: Image.Image) -> Image.Image:
    image = ImageOps.exif_transpose(opened)
    if image.mode in SIXTEEN_BITS:
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    return image


def frames(file: Path) -> Iterator[tuple[float, Any]]:
    """The frames of a video, the right way up, each with its time in s.

    Raises:
        CommandError: it is none, has none, or ends in the middle of one.
    """
    try:
        with av.open(str(file)) as container:
            if container.format.name in NO_VIDEO:
                raise CommandError(f"{name_of(file)} is neither a picture nor a video, but text")
            if not container.streams.video:
                raise CommandError(f"{name_of(file)} has no video in it")
            stream = container.streams.video[0]
            rate = float(stream.average_rate or 25)
            for index, frame in enumerate(container.decode(stream)):
                yield (index / rate if frame.time is None else float(frame.time)), _upright(frame)
    except (FFmpegError, OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or error
        raise CommandError(f"{name_of(file)} is neither a picture nor a video that can be read: {words}") from error


def _upright(frame: Any) -> Any:
    """As the file says that it is to be shown: telephones film sideways, and note by how much."""
    turns = round(frame.rotation / 90) % 4
    if not turns:
        return frame
    turned = av.VideoFrame.from_ndarray(
        np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns)), "rgb24"
    )
    turned.pts, turned.time_base = frame.pts, frame.time_base
    return turned


def name_of(file: Path) -> str:
    """A file's name for people, on one line whatever it is."""
    name = str(file)
    return name if name.isprintable() else repr(name)
