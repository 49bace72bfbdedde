"""How the voltage of a lithium-ion cell at rest goes with its charge.

The curve is equation 2 of Chen and Rincón-Mora, "Accurate Electrical Battery Model Capable of Predicting Runtime and
I-V Performance", IEEE Transactions on Energy Conversion 21(2), 2006. It holds for a cell that has rested; cells of
different makes differ by some per cent in the middle, where the curve is flat.
"""

from __future__ import annotations

import math

FULL_V = 4.1029
"""What a cell rests at when it is full; it is charged to 4.2 V, and gives way a little when the charger is gone."""
EMPTY_V = 3.0
"""What counts as empty: further down, a cell takes damage."""

_STEPS = 40


def rest_v(charge: float) -> float:
    """The voltage of a rested cell.

    Args:
        charge: 0–1 of what the cell can hold.
    """
    return -1.031 * math.exp(-35 * charge) + 3.685 + 0.2156 * charge - 0.1178 * charge**2 + 0.3201 * charge**3


def charge_pct(cell_v: float) -> float:
    """The charge of a rested cell, 0 at `EMPTY_V` or less, 100 at `FULL_V` or more."""
    return 100 * min(max((_charge(cell_v) - _EMPTY) / (1 - _EMPTY), 0.0), 1.0)


def charge_at_pct(pct: float) -> float:
    """The inverse of `charge_pct`, as `rest_v` wants it: 0–1 of what the cell can hold."""
    return _EMPTY + pct / 100 * (1 - _EMPTY)


def pct_at_charge(charge: float) -> float:
    """The inverse of `charge_at_pct`, 0–100."""
    return 100 * min(max((charge - _EMPTY) / (1 - _EMPTY), 0.0), 1.0)


def _charge(cell_v: float) -> float:
    """0–1, by bisection: the curve rises everywhere."""
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if rest_v(middle) < cell_v:
            low = middle
        else:
            high = middle
    return (low + high) / 2


_EMPTY = _charge(EMPTY_V)
