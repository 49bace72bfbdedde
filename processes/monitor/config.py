"""Settings of monitor."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

WaitS = Annotated[float, Meta(ge=1.0, le=600.0)]
TemperatureC = Annotated[float, Meta(ge=30.0, le=120.0)]


class MonitorConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The section `monitor`."""

    restart_hung: bool = True
    """Ask supervisord to restart a process that runs but does not beat."""
    hung_after_s: WaitS = 3.0
    """Heartbeats come at 2 Hz; one this old means that the loop behind it hangs."""
    grace_s: WaitS = 15.0
    """How long a new process may take to its first heartbeat (imports on a Pi take seconds)."""
    restart_backoff_s: WaitS = 10.0
    """The least time between two restarts of one process; it doubles each time, up to 5 minutes."""
    overheat_c: TemperatureC = 80.0
    """OVERHEAT is told from here on, and is over 5 °C below. A Pi slows itself down at 80 °C."""
