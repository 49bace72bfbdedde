"""What the battery's voltage tells of its charge, and whether it is charged. Pure: `now` is CLOCK_MONOTONIC in seconds.

Voltage tells the charge of a battery at rest. Under load it gives way, and comes back within minutes; so while the
motors turn, what they take away is added again by the unit's `sag_v`, the charge shown may only fall, and it rises
only when the battery has rested. That the voltage comes back is no charging: it never comes back to more than it was
at rest before. A charger lifts it above that, and keeps it there.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from dataclasses import dataclass

from hardware.config import BatteryConfig
from hardware.li_ion import EMPTY_V, charge_pct

MEDIAN_OF = 9
"""Readings; single ones that are far off change nothing."""
SMOOTHING_S = 20.0
STALE_S = 10.0
"""A voltage older than this is none."""
RESTED_S = 60.0
"""Most of the sag is gone after this long without load."""

SETTLED_S = 300.0
SETTLED_V = 0.01
"""A voltage that rises by less than this in this time at rest is the one the battery rests at."""
SAMPLE_EVERY_S = 30.0

RISE_V = 0.3
"""A charger lifts the battery by more than this above where it rested. Lights and computer, switched off, do less."""
RISE_FOR_S = 120.0
DROP_V = 0.15
"""Without the charger it falls by so much from its highest."""
DROP_FOR_S = 20.0

CUT_OFF_FOR_S = 5.0
"""Under load, the battery has to be this empty for so long: its own protection is about to switch the robot off."""


@dataclass(frozen=True)
class Reading:
    """What is known of the battery now; None: not known.

    Attributes:
        volts: as measured, smoothed.
        pct: charge, 0–100. While it is charged it reads some per cent high, as the voltage does.
        charging: there is evidence of a charger.
        cut_off: it has given way to `EMPTY_V` a cell.
    """

    volts: float | None = None
    pct: float | None = None
    charging: bool | None = None
    cut_off: bool = False


class Gauge:
    """From voltages to a `Reading`."""

    def __init__(self, config: BatteryConfig) -> None:
        self._config = config
        self._recent: deque[tuple[float, float]] = deque(maxlen=MEDIAN_OF)  # as measured, and without the sag
        self._read_at = float("-inf")
        self._volts = 0.0
        self._rest_volts = 0.0
        self._pct: float | None = None
        self._loaded_at = float("-inf")
        self._charger = Charger()
        self._empty_since: float | None = None

    def on_voltage(self, volts: float, load: float, now: float) -> None:
        """The battery has so much now.

        Args:
            volts: between its poles.
            load: mean duty of the motors, 0–1.
        """
        if now - self._read_at > STALE_S:
            self._recent.clear()
            self._pct = None
        if load > 0:
            self._loaded_at = now
        self._recent.append((volts, volts + self._config.sag_v * load))
        measured = statistics.median(volts for volts, _ in self._recent)
        without_sag = statistics.median(volts for _, volts in self._recent)
        if len(self._recent) == 1:
            self._volts, self._rest_volts = measured, without_sag
            self._charger.on_gap(without_sag + self._config.sag_v)
        else:
            share = 1 - math.exp(-(now - self._read_at) / SMOOTHING_S)
            self._volts += (measured - self._volts) * share
            self._rest_volts += (without_sag - self._rest_volts) * share
        self._read_at = now
        self._charger.on_voltage(self._rest_volts, load > 0, now)
        self._show(now)
        if measured > EMPTY_V * self._config.cells:
            self._empty_since = None
        elif self._empty_since is None:
            self._empty_since = now

    def reading(self, now: float) -> Reading:
        """What is known now. Nothing until the median has its readings."""
        if now - self._read_at > STALE_S or len(self._recent) < MEDIAN_OF:
            return Reading()
        cut_off = self._empty_since is not None and now - self._empty_since >= CUT_OFF_FOR_S
        return Reading(self._volts, self._pct, self._charger.charging, cut_off)

    def _show(self, now: float) -> None:
        if len(self._recent) < MEDIAN_OF:
            return
        pct = charge_pct(self._rest_volts / self._config.cells)
        rested = now - self._loaded_at >= RESTED_S
        if self._pct is None or pct < self._pct or rested or self._charger.charging:
            self._pct = pct


class Charger:
    """Whether a charger is plugged in."""

    def __init__(self) -> None:
        self.charging = False
        self._ceiling_v = float("inf")  # more than the battery can have at rest without a charger
        self._samples: deque[tuple[float, float]] = deque(maxlen=round(SETTLED_S / SAMPLE_EVERY_S) + 1)
        self._peak_v = 0.0
        self._since: float | None = None

    def on_gap(self, ceiling_v: float) -> None:
        """Nothing was known for a while, or ever."""
        self.charging, self._ceiling_v, self._since = False, ceiling_v, None
        self._samples.clear()

    def on_voltage(self, volts: float, loaded: bool, now: float) -> None:
        """The battery has so much now, smoothed, and without the sag of the motors' load."""
        if loaded:
            self._samples.clear()
            self._since = None
            if self.charging:  # somebody drives it away
                self._end()
        elif self.charging:
            self._peak_v = max(self._peak_v, volts)
            if self._lasts(volts < self._peak_v - DROP_V, DROP_FOR_S, now):
                self._end()
        elif self._lasts(volts > self._ceiling_v + RISE_V, RISE_FOR_S, now):
            self.charging, self._peak_v, self._since = True, volts, None
        else:
            self._settle(volts, now)

    def _lasts(self, what: bool, for_s: float, now: float) -> bool:
        if not what:
            self._since = None
            return False
        if self._since is None:
            self._since = now
        return now - self._since >= for_s

    def _end(self) -> None:
        self.charging, self._ceiling_v, self._since = False, self._peak_v, None
        self._samples.clear()

    def _settle(self, volts: float, now: float) -> None:
        """A battery that no longer rises shows where it rests."""
        if self._samples and now - self._samples[-1][0] < SAMPLE_EVERY_S:
            return
        self._samples.append((now, volts))
        began, before_v = self._samples[0]
        if now - began >= SETTLED_S and volts <= before_v + SETTLED_V:
            self._ceiling_v = min(self._ceiling_v, volts)
