"""What finds dogs in one picture: a network on the processor, or the truth of the drawn room."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Protocol

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from bus.frames import Picture, planes
from hardware.drawn_dog import dog_at
from processes.detector import ssd
from processes.detector.found import Found
from processes.detector.regions import WHOLE, Region

LABELS = (
    *("", "Bicycle", "Boot", "Laptop", "Person", "Chair", "Cattle", "Desk", "Cat", "Computer mouse"),
    *("Computer monitor", "Box", "Mug", "Coffee cup", "Stationary bicycle", "Table", "Bottle", "High heels"),
    *("Vehicle", "Footwear", "Dog", "Book", "Camera", "Car"),
)
"""The model's classes, from object_detection_oidv4_labelmap.txt beside it in its package."""
DOG, CAT = LABELS.index("Dog"), LABELS.index("Cat")
LEAST_SCORE = 0.12
"""Below it nothing is looked at any further."""
CAT_FACTOR = 2.0
"""A box that is a cat this much more than a dog is one. Fluffy small dogs look like both, cats hardly like dogs."""
INPUT_SHAPE = (1, ssd.INPUT_PX, ssd.INPUT_PX, 3)


class ModelError(Exception):
    """There is no model that could be used; the message says why, and what to do."""


class Detector(Protocol):
    """Finds dogs. Another model or accelerator takes its place behind this.

    Attributes:
        name: what a Sighting calls it.
        zooms: whether a part of the picture, looked at alone, shows it what is too small in the whole.
    """

    name: Literal["mobilenet", "scene"]
    zooms: bool

    def find(self, picture: Picture, number: int, region: Region = WHOLE) -> list[Found]:
        """The dogs of a picture, best first.

        Args:
            picture: I420; only read, and not kept.
            number: of the frame.
            region: the part of it that is looked at.

        Raises:
            ModelError: it does not work any more.
        """


class SceneDetector:
    """Knows where the dog of the drawn room is, from the frame's number."""

    name: Literal["mobilenet", "scene"] = "scene"
    zooms = False

    def find(self, picture: Picture, number: int, region: Region = WHOLE) -> list[Found]:
        dog = dog_at(number)
        return [Found(dog.bbox, 1.0, dog.behavior)]


class MobilenetDetector:
    """SSD-MobileNetV2 trained on Open Images v4, run by LiteRT.

    The picture is stretched to the network's square, as it was in training (see the graph named in `ssd.py`).

    Args:
        path: of the model.
        threads: that work on one picture. The robot has one for it; tools have the whole machine.

    Raises:
        ModelError: the file is not there, or is not this model.
    """

    name: Literal["mobilenet", "scene"] = "mobilenet"
    zooms = True

    def __init__(self, path: Path, threads: int = 1) -> None:
        if not path.is_file():
            raise ModelError(f"there is no model at {path}; `make model` fetches it")
        # It takes a quarter of a second and 60 MB, which nobody needs who has no model.
        from ai_edge_litert.interpreter import Interpreter

        try:
            self._network: Any = Interpreter(model_content=path.read_bytes(), num_threads=threads)
            self._network.allocate_tensors()
            inputs, outputs = self._network.get_input_details(), self._network.get_output_details()
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(f"{path} cannot be used ({error}); `make model` fetches it anew") from error
        self._anchors = ssd.make_anchors()
        rows = len(self._anchors.y)
        by_shape = {tuple(int(side) for side in output["shape"]): output["index"] for output in outputs}
        boxes, classes = by_shape.get((1, rows, 4)), by_shape.get((1, rows, len(LABELS)))
        if tuple(inputs[0]["shape"]) != INPUT_SHAPE or boxes is None or classes is None:
            raise ModelError(f"{path} is another model than the one `make model` fetches")
        self._input, self._boxes, self._classes = inputs[0]["index"], boxes, classes
        self._reformatter = VideoReformatter()

    def find(self, picture: Picture, number: int, region: Region = WHOLE) -> list[Found]:
        part, shown = cut_out(picture, region)
        self._network.set_tensor(self._input, self._prepared(part))
        try:
            self._network.invoke()
        except RuntimeError as error:
            raise ModelError(f"the model does not run: {error}") from error
        scores = ssd.sigmoid(self._network.get_tensor(self._classes)[0][:, [DOG, CAT]])
        likely = np.flatnonzero(scores.max(axis=1) >= LEAST_SCORE)
        scores = scores[likely]
        edges = ssd.decode(self._network.get_tensor(self._boxes)[0], self._anchors)[likely]
        # Dog and cat suppress each other: of one animal there is one box, the one that is surest of being either.
        found = []
        for index in ssd.suppress(edges, scores.max(axis=1)):
            dog, cat = (float(score) for score in scores[index])
            if dog >= LEAST_SCORE and cat <= dog * CAT_FACTOR:
                found.append(Found(shown.outwards(edges[index]), dog))
        return sorted(found, key=lambda one: -one.score)

    def _prepared(self, picture: Picture) -> NDArray[np.float32]:
        frame = av.VideoFrame.from_numpy_buffer(picture, format="yuv420p")
        side = ssd.INPUT_PX
        rgb = self._reformatter.reformat(frame, side, side, "rgb24", interpolation="BILINEAR").to_ndarray()
        scaled: NDArray[np.float32] = np.multiply(rgb, np.float32(1 / 127.5), dtype=np.float32)
        scaled -= np.float32(1.0)
        return scaled[None]


def cut_out(picture: Picture, region: Region) -> tuple[Picture, Region]:
    """A part of an I420 picture as one of its own, and the region that it really shows (edges on even pixels)."""
    height, width = picture.shape[0] * 2 // 3, picture.shape[1]
    x, y = _even(region.x * width, width - 2), _even(region.y * height, height - 2)
    part_width, part_height = (
        max(2, _even(region.width * width, width - x)),
        max(2, _even(region.height * height, height - y)),
    )
    if (part_width, part_height) == (width, height):
        return picture, WHOLE
    part = np.empty((part_height * 3 // 2, part_width), np.uint8)
    for into, plane, share in zip(planes(part), planes(picture), (1, 2, 2), strict=True):
        rows, columns = into.shape
        into[:] = plane[y // share : y // share + rows, x // share : x // share + columns]
    return part, Region(x / width, y / height, part_width / width, part_height / height)


def _even(value: float, limit: int) -> int:
    return min(round(value / 2) * 2, limit)
