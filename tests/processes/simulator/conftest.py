from __future__ import annotations

from collections.abc import Iterator

import pytest

from hardware.pins import Factory, close_factory, pin_factory
from processes.simulator.local import LocalSimulator


@pytest.fixture
def simulated() -> Iterator[LocalSimulator]:
    with LocalSimulator() as simulated:
        yield simulated


@pytest.fixture
def factory(simulated: LocalSimulator) -> Iterator[Factory]:
    factory = pin_factory(simulated.pins)
    yield factory
    close_factory(factory)
