from __future__ import annotations

from typing import Any

import pytest

from bus.errors import SettingsError
from bus.settings import section
from processes.camera.config import CameraConfig


def test_the_drawn_room_is_the_default() -> None:
    config = section({}, "camera", CameraConfig)
    assert (config.source, config.width, config.height, config.fps) == ("synthetic", 1280, 720, 15.0)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"source": "webcam"}, "synthetic"),
        ({"source": "file"}, "path"),
        ({"source": "v4l2"}, "picamera2"),
        ({"width": 641}, "even"),
        ({"fps": 0}, "fps"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_accepted(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        section({"camera": settings}, "camera", CameraConfig)
