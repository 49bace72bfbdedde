"""Whatever a file is: a picture, a video, or neither, and then readably so."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from cli.errors import CommandError
from cli.pictures import MAX_SIDE, frames, i420, name_of, open_picture

SIZE = (48, 32)


def halves(left: object = (250, 10, 10), right: object = (10, 10, 250), mode: str = "RGB") -> Image.Image:
    """A picture of two halves."""
    image = Image.new(mode, SIZE, left)  # type: ignore[arg-type]
    image.paste(right, (SIZE[0] // 2, 0, *SIZE))  # type: ignore[arg-type]
    return image


def saved(path: Path, image: Image.Image, kind: str, **options: object) -> Path:
    image.save(path, kind, **options)
    return path


def pixel(file: Path, x: int, y: int) -> list[int]:
    image = open_picture(file)
    assert image is not None
    assert image.mode == "RGB"
    return [int(value) for value in np.asarray(image)[y, x]]


RED_AND_BLUE: dict[str, Callable[[Path], Path]] = {
    "a JPEG without a suffix": lambda path: saved(path, halves(), "JPEG"),
    "a PNG that is named .mp4": lambda path: saved(path.with_suffix(".mp4"), halves(), "PNG"),
    "a palette": lambda path: saved(path, halves().quantize(4), "PNG"),
    "a still GIF": lambda path: saved(path, halves().quantize(4), "GIF"),
    "a WebP": lambda path: saved(path, halves(), "WEBP"),
    "a CMYK JPEG": lambda path: saved(path, halves().convert("CMYK"), "JPEG"),
    "a TIFF": lambda path: saved(path, halves(), "TIFF"),
}


@pytest.mark.parametrize("make", RED_AND_BLUE.values(), ids=RED_AND_BLUE)
def test_a_picture_of_any_kind_is_told_by_its_content(make: Callable[[Path], Path], tmp_path: Path) -> None:
    file = make(tmp_path / "picture")
    assert pixel(file, 4, 4) == pytest.approx([250, 10, 10], abs=40)
    assert pixel(file, 43, 27) == pytest.approx([10, 10, 250], abs=40)


def test_sixteen_bits_of_grey_become_eight(tmp_path: Path) -> None:
    grey = Image.fromarray(np.full((32, 48), 0x8000, np.uint16))
    assert pixel(saved(tmp_path / "grey.png", grey, "PNG"), 5, 5) == pytest.approx([128] * 3, abs=1)


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    file = saved(tmp_path / "clear.png", halves((0, 0, 0, 0), (0, 0, 200, 255), "RGBA"), "PNG")
    assert pixel(file, 4, 4) == pytest.approx([255] * 3)
    assert pixel(file, 43, 4) == pytest.approx([0, 0, 200])


def test_a_telephones_photograph_is_turned_the_right_way_up(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    file = saved(tmp_path / "phone.jpg", halves(), "JPEG", exif=exif, quality=95)
    image = open_picture(file)
    assert image is not None
    assert image.size == (SIZE[1], SIZE[0])
    assert pixel(file, 16, 4) == pytest.approx([250, 10, 10], abs=40)
    assert pixel(file, 16, 43) == pytest.approx([10, 10, 250], abs=40)


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (700, 1), (3, 3)])
def test_the_smallest_have_a_pixel_of_colour_at_least(size: tuple[int, int]) -> None:
    picture = i420(Image.new("RGB", size, "red"))
    assert picture.shape[1] >= 2
    assert picture.shape[0] >= 3


def test_a_large_picture_is_made_smaller(tmp_path: Path) -> None:
    image = open_picture(saved(tmp_path / "large.png", Image.new("1", (12_000, 9_000)), "PNG"))
    assert image is not None
    assert max(image.size) == MAX_SIDE


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    (tmp_path / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )
    with pytest.raises(CommandError, match=r"bomb\.png is too large a picture"):
        open_picture(tmp_path / "bomb.png")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_half_a_picture_is_refused(kind: str, tmp_path: Path) -> None:
    whole = io.BytesIO()
    Image.effect_noise((200, 200), 80).save(whole, kind)
    (tmp_path / "half").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    with pytest.raises(CommandError, match="half is a picture that cannot be read"):
        assert open_picture(tmp_path / "half")


@pytest.mark.parametrize("data", [b"", b"a letter about dogs\n" * 50, bytes(range(256)) * 8])
@pytest.mark.parametrize("name", ["file", "file.jpg", "file.txt", "file.mp4"])
def test_what_is_neither_a_picture_nor_a_video_is_refused(data: bytes, name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(data)
    assert open_picture(file) is None
    with pytest.raises(CommandError, match="is neither a picture nor a video"):
        list(frames(file))


def film(path: Path, count: int = 5, rotation: int = 0) -> Path:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.time_base = Fraction(1, 10)
        for _ in range(count):
            frame = av.VideoFrame.from_ndarray(np.asarray(halves()), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    if rotation:
        turn(path, rotation)
    return path


def turn(path: Path, degrees: int) -> None:
    """Note in the track's header that it is to be shown turned counterclockwise, as telephones do."""
    data = path.read_bytes()
    identity = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    turned = {
        90: struct.pack(">9i", 0, -(1 << 16), 0, 1 << 16, 0, 0, 0, 0, 1 << 30),
        270: struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30),
    }
    place = data.index(identity, data.index(b"tkhd"))
    path.write_bytes(data[:place] + turned[degrees] + data[place + len(identity) :])


def test_a_video_is_read_whatever_its_name_is(tmp_path: Path) -> None:
    file = film(tmp_path / "film.jpg")
    assert open_picture(file) is None
    times = [round(at, 2) for at, _ in frames(file)]
    assert times == [0.0, 0.1, 0.2, 0.3, 0.4]


@pytest.mark.parametrize(("degrees", "red_above"), [(90, False), (270, True)])
def test_a_telephones_film_is_turned_the_right_way_up(degrees: int, red_above: bool, tmp_path: Path) -> None:
    _, frame = next(frames(film(tmp_path / "phone.mp4", rotation=degrees)))
    assert (frame.width, frame.height) == (SIZE[1], SIZE[0])
    above, below = (frame.to_ndarray(format="rgb24").astype(int)[row, 16] for row in (4, 43))
    assert (above[0] > 150, below[2] > 150) == ((True, True) if red_above else (False, False))
    assert (above[2] > 150, below[0] > 150) == ((False, False) if red_above else (True, True))


def test_a_moving_gif_is_a_video(tmp_path: Path) -> None:
    file = tmp_path / "moving.gif"
    halves().save(file, "GIF", save_all=True, append_images=[halves("green", "white")], duration=100)
    assert open_picture(file) is None
    assert len(list(frames(file))) == 2


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "bark.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(CommandError, match="has no video in it"):
        list(frames(tmp_path / "bark.wav"))


def test_a_name_stays_on_one_line() -> None:
    assert name_of(Path("dog at home.jpg")) == "dog at home.jpg"
    assert "\n" not in name_of(Path("two\nlines.jpg"))
    assert "\x1b" not in name_of(Path("\x1b[31mred.jpg"))
