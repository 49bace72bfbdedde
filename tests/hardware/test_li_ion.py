from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.li_ion import EMPTY_V, FULL_V, charge_at_pct, charge_pct, pct_at_charge, rest_v


def test_the_curve_is_the_papers_at_its_ends_and_in_the_middle() -> None:
    assert rest_v(0.0) == pytest.approx(2.654)
    assert rest_v(0.5) == pytest.approx(3.8034, abs=1e-4)
    assert rest_v(1.0) == pytest.approx(FULL_V, abs=1e-4)


def test_beyond_its_ends_a_battery_is_full_or_empty() -> None:
    assert charge_pct(4.2) == pytest.approx(100)
    assert charge_pct(FULL_V) == pytest.approx(100)
    assert charge_pct(EMPTY_V) == pytest.approx(0, abs=1e-6)
    assert charge_pct(0.0) == 0.0


@given(st.floats(0, 100))
def test_a_charge_is_found_again_in_its_voltage(pct: float) -> None:
    assert charge_pct(rest_v(charge_at_pct(pct))) == pytest.approx(pct, abs=0.01)
    assert pct_at_charge(charge_at_pct(pct)) == pytest.approx(pct, abs=1e-6)


@given(st.floats(2.5, 4.3), st.floats(2.5, 4.3))
def test_more_voltage_is_never_less_charge(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert charge_pct(low) <= charge_pct(high)
