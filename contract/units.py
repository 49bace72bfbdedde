"""The quantities of the contract, each with its range and unit. Structs use these names, never bare numbers."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

Speed = Annotated[float, Meta(ge=-1.0, le=1.0, description="fraction of full speed, forward is positive")]
PanDeg = Annotated[float, Meta(ge=-90.0, le=90.0, description="degrees, right is positive")]
TiltDeg = Annotated[float, Meta(ge=-45.0, le=45.0, description="degrees, up is positive")]
ColorByte = Annotated[int, Meta(ge=0, le=255, description="colour component")]
VolumePct = Annotated[int, Meta(ge=0, le=100, description="percent")]
Percent = Annotated[float, Meta(ge=0.0, le=100.0, description="percent")]
Fraction = Annotated[float, Meta(ge=0.0, le=1.0, description="0 to 1")]
Count = Annotated[int, Meta(ge=0, le=1_000_000, description="count")]
Sequence = Annotated[int, Meta(ge=0, le=2**53, description="cursor in a robot's history")]
UptimeS = Annotated[int, Meta(ge=0, le=2**53, description="seconds since the start")]
Seconds = Annotated[float, Meta(ge=0.0, le=1e9, description="seconds")]
PageLimit = Annotated[int, Meta(ge=1, le=200, description="how many at most")]
TtlS = Annotated[int, Meta(ge=1, le=86_400, description="seconds")]
SessionTimeMs = Annotated[float, Meta(ge=0.0, le=1e15, description="the sender's own monotonic milliseconds")]

# In the patterns: `$` also matches before a last newline, which `(?!\n)` refuses (`\Z` is unknown to JSON Schema).
AudioFile = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=128,
        pattern=r"^[^/\\\x00-\x1f\x7f.][^/\\\x00-\x1f\x7f]*$(?!\n)",
        description="a bare file name",
    ),
]
Name = Annotated[str, Meta(min_length=1, max_length=64, description="a name")]
Identifier = Annotated[
    str, Meta(min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+$(?!\n)", description="an identifier")
]
RequestId = Identifier | Annotated[int, Meta(ge=0, le=2**53)]
"""A sender's own id of a command: text or a whole number; the result carries it as it was given."""

DeviceId = Annotated[
    str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$(?!\n)", description="a device id")
]
Email = Annotated[
    str,
    Meta(min_length=3, max_length=254, pattern=r"^[^@\s\x00]+@[^@\s\x00]+$(?!\n)", description="an e-mail address"),
]
NewPassword = Annotated[str, Meta(min_length=8, max_length=256, description="at least 8 characters")]
Password = Annotated[str, Meta(min_length=1, max_length=256, description="a password")]
PairingCode = Annotated[
    str, Meta(min_length=6, max_length=16, pattern=r"^[A-Za-z0-9-]+$(?!\n)", description="the code the robot shows")
]
ShareCode = Annotated[
    str,
    Meta(
        min_length=6, max_length=16, pattern=r"^[A-Za-z0-9-]+$(?!\n)", description="the code a robot's owner gave you"
    ),
]
Token = Annotated[str, Meta(min_length=1, max_length=4096, description="a token")]
Sdp = Annotated[str, Meta(min_length=1, max_length=60_000, description="a session description")]
CandidateLine = Annotated[str, Meta(max_length=2048, description="an ICE candidate; empty: no more follow")]
Text = Annotated[str, Meta(max_length=1024, description="text")]
Timestamp = Annotated[str, Meta(max_length=40, description="ISO-8601 UTC")]
LooseTimestamp = str | float | None
"""Robots in the field stamp with ISO-8601, with unix seconds or with integer milliseconds, or not at all."""

LedPattern = Literal[
    "breathing",
    "rainbow",
    "celebration",
    "searching",
    "alert",
    "idle",
    "pulse",
    "solid",
    "chase",
    "fire",
    "warning",
    "attention",
    "off",
]
Mode = Literal["idle", "guardian", "training", "manual", "docking"]
ModeName = Literal["idle", "guardian", "training", "manual", "docking", "silent_guardian", "coach", "mission"]
MODE_ALIASES: dict[str, Mode] = {"silent_guardian": "guardian", "coach": "training", "mission": "training"}
PlayState = Literal["stopped", "playing", "paused"]
Behavior = Literal["absent", "approaching", "standing", "sitting", "lying", "moving", "resting"]
Severity = Literal["info", "warning", "error", "critical"]
AlertKind = Literal["presence", "activity"]
SnapshotName = Annotated[str, Meta(max_length=64, description="the name of a picture that guardian kept")]
Role = Literal["owner", "driver", "viewer"]
SharedRole = Literal["driver", "viewer"]
"""What an owner may make of others: a viewer watches and stops, a driver does all but rename, share and unpair."""
