"""Photographs and the network, which `make test` fetches, and a detector that obeys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from PIL import Image

from bus import settings
from bus.frames import Picture
from processes.detector.config import DetectorConfig
from processes.detector.driver import MobilenetDetector
from processes.detector.found import Found
from processes.detector.regions import WHOLE, Region

MODEL = settings.ROOT / DetectorConfig().model_file
PICTURES = (settings.ROOT / ".cache" / "pictures", Path("/usr/share/darknet/data"))


class Told:
    """A detector that sees what it is told. `found` may be a function of the region that is looked at."""

    name: Literal["mobilenet", "scene"] = "mobilenet"

    def __init__(self, *, zooms: bool = False) -> None:
        self.zooms = zooms
        self.found: list[Found] | Callable[[Region], list[Found]] = []
        self.looks: list[Region] = []
        self.error: Exception | None = None
        self.while_looking: Callable[[], None] = lambda: None

    def find(self, picture: Picture, number: int, region: Region = WHOLE) -> list[Found]:
        self.looks.append(region)
        self.while_looking()
        if self.error is not None:
            raise self.error
        return self.found(region) if callable(self.found) else self.found


@pytest.fixture(scope="session")
def network() -> MobilenetDetector:
    if not MODEL.is_file():
        pytest.fail("the model was not fetched: make model")
    return MobilenetDetector(MODEL)


@pytest.fixture(scope="session")
def photograph() -> Callable[[str], Image.Image]:
    """Opens one of the photographs by its name."""
    folder = next((folder for folder in PICTURES if folder.is_dir()), None)
    if folder is None:
        pytest.fail("the photographs were not fetched: scripts/fetch-test-pictures.sh")

    def open_it(name: str) -> Image.Image:
        with Image.open(folder / f"{name}.jpg") as image:
            return image.convert("RGB")

    return open_it
