"""Settings of the camera."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

SidePx = Annotated[int, Meta(ge=64, le=4096, description="pixels, even")]

NO_V4L2 = (
    "source: v4l2 is not possible, because the PyAV wheels this program uses are built without video4linux input. "
    "On a Raspberry Pi use picamera2, which drives USB cameras as well; elsewhere use file or synthetic."
)


class CameraConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The section `camera`."""

    source: Literal["synthetic", "file", "picamera2", "v4l2"] = "synthetic"
    path: str | None = None
    """Of the video, for `file`: absolute, or from the checkout. Any video that FFmpeg can read; it is looped."""
    width: SidePx = 1280
    height: SidePx = 720
    fps: Annotated[float, Meta(ge=1.0, le=60.0)] = 15.0
    small_width: SidePx = 320
    """Size of the second stream, for whoever looks for dogs."""
    small_height: SidePx = 180

    def __post_init__(self) -> None:
        if any(side % 2 for side in (self.width, self.height, self.small_width, self.small_height)):
            raise ValueError("The sides of a picture are even numbers of pixels, since colour has half the resolution")
        if self.source == "file" and not self.path:
            raise ValueError("source: file needs the path of a video, as in `path: /home/pi/dog.mp4`")
        if self.source == "v4l2":
            raise ValueError(NO_V4L2)
