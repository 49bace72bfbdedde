"""The battery: what its voltage does with what is drawn from it.

Every cell is the model of Chen and Rincón-Mora (IEEE Transactions on Energy Conversion 21(2), 2006, equations 2 to 6,
measured on cells of 850 mAh): a voltage that goes with the charge, a resistance, and two RC pairs in series, of about
half a minute and of four minutes. So the voltage gives way at once under load, goes on sinking, and takes minutes to
come back. A larger cell is so many of those side by side.
"""

from __future__ import annotations

import math

from hardware.li_ion import charge_at_pct, pct_at_charge, rest_v
from processes.simulator.config import SimulatorConfig

MODEL_AH = 0.85
STEP_S = 1.0
"""What depends on the charge is taken for constant for so long."""
CHARGED_TO_V = 4.2
"""A charger holds this much a cell once it is reached."""


class Battery:
    """A pack of `cells` in series, which has rested, with a charger that can be plugged in.

    Attributes:
        charging: whether the charger is plugged in.
        amps: what is drawn from it; negative while it is charged.
    """

    def __init__(self, cells: int, world: SimulatorConfig) -> None:
        self.charging = False
        self.amps = 0.0
        self._cells = cells
        self._world = world
        self._parallel = world.battery_ah / MODEL_AH
        self._charge = 1.0
        self._short_v = self._long_v = 0.0  # over the RC pairs, of one cell
        self.set_pct(world.battery_pct)

    @property
    def pct(self) -> float:
        """What is really in it."""
        return pct_at_charge(self._charge)

    @property
    def volts(self) -> float:
        """Between its poles."""
        cell_v = rest_v(self._charge) - self._short_v - self._long_v - self.amps * self._series_ohm
        return max(self._cells * cell_v, 0.0)

    def set_pct(self, pct: float) -> None:
        """It has so much charge from now on, and has rested."""
        self._charge = charge_at_pct(pct)
        self._short_v = self._long_v = 0.0

    def advance(self, load_amps: float, elapsed_s: float) -> None:
        """Let time pass with this much drawn by the robot."""
        while elapsed_s > 0:
            step_s = min(elapsed_s, STEP_S)
            self._step(load_amps, step_s)
            elapsed_s -= step_s

    def _step(self, load_amps: float, step_s: float) -> None:
        self.amps = load_amps - self._charger_amps(load_amps)
        self._short_v = self._settle(self._short_v, self._short_pair(), step_s)
        self._long_v = self._settle(self._long_v, self._long_pair(), step_s)
        drawn = self.amps * step_s / 3600 / self._world.battery_ah
        self._charge = min(max(self._charge - drawn, 0.0), 1.0)

    def _charger_amps(self, load_amps: float) -> float:
        """What the charger gives: a constant current, and less once the cells are at their voltage."""
        if not self.charging:
            return 0.0
        if self._charge >= 1.0:  # it has switched off, and feeds the robot alone
            return min(self._world.charger_amps, load_amps)
        headroom_v = CHARGED_TO_V - rest_v(self._charge) + self._short_v + self._long_v
        return min(self._world.charger_amps, max(0.0, load_amps + headroom_v / self._series_ohm))

    def _settle(self, volts: float, pair: tuple[float, float], step_s: float) -> float:
        ohm, farad = pair
        end_v = self.amps * ohm
        return end_v + (volts - end_v) * math.exp(-step_s / (ohm * farad))

    @property
    def _series_ohm(self) -> float:
        return (0.1562 * math.exp(-24.37 * self._charge) + 0.07446) / self._parallel

    def _short_pair(self) -> tuple[float, float]:
        ohm = (0.3208 * math.exp(-29.14 * self._charge) + 0.04669) / self._parallel
        return ohm, (703.6 - 752.9 * math.exp(-13.51 * max(self._charge, 0.02))) * self._parallel

    def _long_pair(self) -> tuple[float, float]:
        ohm = (6.603 * math.exp(-155.2 * self._charge) + 0.04984) / self._parallel
        return ohm, (4475.0 - 6056.0 * math.exp(-27.12 * max(self._charge, 0.02))) * self._parallel
