from __future__ import annotations

from typing import Any

import pytest
import yaml

from bus.errors import SettingsError
from bus.settings import section
from processes.webrtc.config import WebrtcConfig

FROM_THE_CONTRACT = """
webrtc:
  enabled: true
  video:
    width: 1280
    height: 720
    fps: 15
    bitrate_kbps: 1500
    codec: "H264"  # or "VP8"
  audio:
    enabled: false
  max_connections: 2  # Limit concurrent viewers
"""


def test_the_contracts_block_is_accepted_as_it_stands_and_is_the_default() -> None:
    assert section(yaml.safe_load(FROM_THE_CONTRACT), "webrtc", WebrtcConfig) == WebrtcConfig()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"video": {"codec": "AV1"}}, "VP8"),
        ({"video": {"width": 1920, "height": 1080}}, r"1280 x 720"),
        ({"video": {"width": 1279}}, "even"),
        ({"audio": {"enabled": True}}, "audio"),
        ({"max_connections": 0}, "max_connections"),
        ({"bitrate": 5}, "bitrate"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_accepted(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        section({"webrtc": settings}, "webrtc", WebrtcConfig)
