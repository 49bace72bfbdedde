"""What can go wrong with a sound."""

from __future__ import annotations


class OutputError(Exception):
    """Nothing can be played: there is no sound card, or it does not take anything."""


class SoundError(Exception):
    """This file cannot be played. The message completes "`name` …"."""
