"""Settings of monitor."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

HungAfterS = Annotated[float, Meta(ge=1.0, le=600.0)]
GraceS = Annotated[float, Meta(ge=1.0, le=600.0)]
TemperatureC = Annotated[float, Meta(ge=30.0, le=120.0)]
BatteryPct = Annotated[float, Meta(ge=1.0, le=90.0)]


class MonitorConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The section `monitor`."""

    restart_hung: bool = True
    """Have a process that runs but does not beat killed and started again, monitor too. False: for a debugger."""
    hung_after_s: HungAfterS = 2.0
    """Heartbeats come at 2 Hz; silence for so long means that the loop behind them hangs. With the kill and the new
    start it makes less than 3 s."""
    grace_s: GraceS = 15.0
    """How long a new process may take to its first heartbeat (imports on a Pi take seconds). It doubles each time
    that this was not enough, up to 5 minutes."""
    low_battery_pct: BatteryPct = 20.0
    """LOW_BATTERY is told from here down, and is over 5 % above."""
    critical_battery_pct: BatteryPct = 5.0
    """BATTERY_CRITICAL is told from here down, and the motors stay off until it is 5 % more. So they do when the
    voltage gives way to 3 V a cell under load, whatever the charge."""
    low_disk_mib: Annotated[int, Meta(ge=1, le=1_000_000)] = 200
    """DISK_FULL is told when less is free, and is over at twice as much."""
    overheat_c: TemperatureC = 80.0
    """OVERHEAT is told from here on, and is over 5 °C below. A Pi slows itself down at 80 °C."""

    def __post_init__(self) -> None:
        if self.critical_battery_pct >= self.low_battery_pct:
            raise ValueError(
                f"critical_battery_pct is {self.critical_battery_pct:g}, low_battery_pct {self.low_battery_pct:g}: "
                "critical_battery_pct must be the smaller"
            )
