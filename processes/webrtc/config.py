"""Settings of video to viewers: the contract's `webrtc` block, verbatim."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

MAX_MACROBLOCKS = 3600
"""Largest picture of H.264 level 3.1 (ITU-T H.264 table A-1), which `profile-level-id=42e01f` promises: 1280 x 720."""

SidePx = Annotated[int, Meta(ge=64, le=1920, description="pixels, even")]


class VideoConfig(Struct, frozen=True, forbid_unknown_fields=True):
    width: SidePx = 1280
    height: SidePx = 720
    fps: Annotated[float, Meta(ge=1.0, le=30.0)] = 15.0
    """At most what the camera gives; frames above it are left out."""
    bitrate_kbps: Annotated[int, Meta(ge=150, le=20_000)] = 1500
    """At most; a viewer whose line is thin gets less (REMB)."""
    codec: Literal["H264", "VP8"] = "H264"
    """Offered first. The other one is offered too, for viewers that cannot do it."""

    def __post_init__(self) -> None:
        if self.width % 2 or self.height % 2:
            raise ValueError("The sides of the video are even numbers of pixels, since colour has half the resolution")
        if -(-self.width // 16) * -(-self.height // 16) > MAX_MACROBLOCKS:
            raise ValueError("The video may have 1280 x 720 pixels or as many in another shape (H.264 level 3.1)")


class AudioConfig(Struct, frozen=True, forbid_unknown_fields=True):
    enabled: bool = False

    def __post_init__(self) -> None:
        if self.enabled:
            raise ValueError("Sound is not sent to viewers; set webrtc.audio.enabled to false")


class WebrtcConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The section `webrtc`."""

    enabled: bool = True
    """False: every request to watch is answered with UNAVAILABLE."""
    video: VideoConfig = VideoConfig()
    audio: AudioConfig = AudioConfig()
    max_connections: Annotated[int, Meta(ge=1, le=16)] = 2
    """Viewers at the same time; one more gets VIEWER_LIMIT."""
