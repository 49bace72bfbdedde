"""Settings of audio."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from contract.units import VolumePct

AlsaDevice = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_][\x20-\x7e]*$(?!\n)")]


class AudioConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The section `audio`."""

    output: Literal["auto", "alsa", "simulated"] = "auto"
    """alsa: the sound card. simulated: a speaker that takes its time and is silent. auto: simulated where the machine
    is (section `simulator`), else alsa."""
    device: AlsaDevice = "default"
    """ALSA's name of the sound card, as in `aplay -L`."""
    folder: str = "sounds"
    """Where the sounds are: absolute, or from the checkout."""
    start_volume: VolumePct = 70
    """The volume at the very first start; from then on it is kept."""
