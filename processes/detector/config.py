"""Settings of the detector."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Score = Annotated[float, Meta(ge=0.1, le=0.95, description="0.1 to 0.95")]

THRESHOLD = 0.3


class DetectorConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The section `detector`."""

    model: Literal["auto", "mobilenet", "scene"] = "auto"
    """mobilenet: the network that `make model` fetches. scene: the truth of the drawn room, with the synthetic camera
    only. auto: scene with the synthetic camera, else mobilenet."""
    model_file: str = "models/ssd_mobilenetv2_oidv4_fp16.tflite"
    """Absolute, or from the checkout."""
    rate_hz: Annotated[float, Meta(ge=1.0, le=10.0)] = 5.0
    """Looks a second, as long as `cpu_limit_pct` allows them."""
    cpu_limit_pct: Annotated[float, Meta(ge=2.0, le=100.0)] = 10.0
    """Of one core, for the whole process. A slower machine looks less often instead of taking more."""
    threshold: Score = THRESHOLD
    """The least score that begins a dog. One that is followed already is kept with a third less."""
    forget_s: Annotated[float, Meta(ge=0.3, le=10.0)] = 1.5
    """A dog that was not seen for so long is gone."""

    def __post_init__(self) -> None:
        if not self.model_file.strip():
            raise ValueError(
                "model_file is the path of a .tflite file, as in `models/ssd_mobilenetv2_oidv4_fp16.tflite`"
            )
