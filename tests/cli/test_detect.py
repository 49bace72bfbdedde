"""`wimz detect` on photographs, on a video made of one, and on what is neither."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from bus import settings
from cli.main import main
from processes.detector.config import DetectorConfig

PHOTOGRAPHS = settings.ROOT / ".cache" / "pictures"

Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def fetched() -> None:
    if not (settings.ROOT / DetectorConfig().model_file).is_file() or not PHOTOGRAPHS.is_dir():
        pytest.fail("the model or the photographs were not fetched: make model, scripts/fetch-test-pictures.sh")


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Two seconds of an empty ground, then three of a dog."""
    with Image.open(PHOTOGRAPHS / "dog.jpg") as image:
        dog = image.convert("RGB").resize((640, 360))
    empty = dog.resize((16, 9)).resize((640, 360))
    path = tmp_path / "dog.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for index in range(50):
            picture = np.asarray(empty if index < 20 else dog)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def test_it_prints_dogs_and_draws_them(tmp_path: Path, capsys: Output) -> None:
    dog, kite = str(PHOTOGRAPHS / "dog.jpg"), str(PHOTOGRAPHS / "kite.jpg")
    assert main(["detect", dog, kite, "--out", str(tmp_path / "out")]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "dog 0." in first
    assert second.endswith("no dog")
    with Image.open(dog) as before, Image.open(tmp_path / "out" / "dog.jpg") as after:
        assert before.size == after.size
        changed = np.abs(np.asarray(before.convert("RGB"), int) - np.asarray(after.convert("RGB"), int)).max(axis=2)
    rows, columns = np.nonzero(changed > 100)
    assert len(rows) > 500
    assert columns.min() / changed.shape[1] == pytest.approx(0.16, abs=0.05)


def test_as_json_there_is_one_line_for_each_picture(capsys: Output) -> None:
    assert main(["detect", "--json", str(PHOTOGRAPHS / "person.jpg"), str(PHOTOGRAPHS / "eagle.jpg")]) == 0
    person, eagle = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert len(person["dogs"]) == 1
    assert eagle["dogs"] == []


def test_the_threshold_counts(capsys: Output) -> None:
    assert main(["detect", "--threshold", "0.95", str(PHOTOGRAPHS / "dog.jpg")]) == 0
    assert "no dog" in capsys.readouterr().out


def test_a_video_is_followed_as_the_robot_does(video: Path, tmp_path: Path, capsys: Output) -> None:
    assert main(["detect", "--json", str(video), "--out", str(tmp_path / "out")]) == 0
    looks = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(not look["dogs"] for look in looks if look["at_s"] < 2.0)
    late = [look for look in looks if look["at_s"] > 3.0]
    assert late
    assert all(len(look["dogs"]) == 1 for look in late)
    assert {look["dogs"][0]["id"] for look in late} == {1}
    with av.open(str(tmp_path / "out" / "dog.mp4")) as drawn:
        assert sum(1 for _ in drawn.decode(video=0)) == 50


def test_what_cannot_be_looked_at_is_named(tmp_path: Path, capsys: Output, video: Path) -> None:
    refusals: dict[str, Callable[[], list[str]]] = {
        "there is no file": lambda: [str(tmp_path / "none.jpg")],
        "neither a picture": lambda: [str(_written(tmp_path / "bad.jpg"))],
        "is a folder": lambda: [str(tmp_path)],
        "is no file with a picture": lambda: ["/dev/null"],
        "would be overwritten": lambda: [str(video), "--out", str(video.parent)],
        "cannot make the folder": lambda: [str(video), "--out", str(video / "out")],
        "make model": lambda: [str(video), "--model", str(tmp_path / "none.tflite")],
    }
    for words, arguments in refusals.items():
        assert main(["detect", *arguments()]) == 1
        assert words in capsys.readouterr().err


def test_one_that_cannot_be_looked_at_does_not_keep_the_others_back(tmp_path: Path, capsys: Output) -> None:
    dog, bad = str(PHOTOGRAPHS / "dog.jpg"), str(tmp_path / "none.jpg")
    assert main(["detect", "--json", bad, dog]) == 1
    told = capsys.readouterr()
    first, second = (json.loads(line) for line in told.out.splitlines())
    assert first["file"] == bad
    assert first["error"]["code"] == "NOT_FOUND"
    assert bad in first["error"]["message"]
    assert len(second["dogs"]) == 1
    assert told.err.count("\n") == 1


def test_copies_of_the_same_name_do_not_overwrite_one_another(tmp_path: Path, capsys: Output) -> None:
    places = [tmp_path / folder / "dog.jpg" for folder in "ab"]
    with Image.open(PHOTOGRAPHS / "dog.jpg") as image:
        for place, width in zip(places, (400, 500), strict=True):
            place.parent.mkdir()
            image.convert("RGB").resize((width, 300)).save(place)
    assert main(["detect", *map(str, places), "--out", str(tmp_path / "out")]) == 0
    widths = []
    for name in ("dog.jpg", "dog-2.jpg"):
        with Image.open(tmp_path / "out" / name) as copy:
            widths.append(copy.width)
    assert widths == [400, 500]


def _written(path: Path) -> Path:
    path.write_bytes(b"nonsense" * 100)
    return path
