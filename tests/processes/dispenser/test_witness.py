"""The witness's smaller parts; what it is for is tried in tests/integration/test_treats.py."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from bus.errors import BusError
from hardware.config import CarouselConfig, HardwareConfig, PinsConfig
from hardware.errors import HardwareError
from processes.dispenser import witness
from processes.dispenser.driver import outlives_its_process
from processes.dispenser.limits import Moment
from processes.dispenser.store import TreatStore
from processes.dispenser.witness import Witness, lock_count, store_path

AT = "2026-01-31T12:00:00.000Z"


def test_only_one_may_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witness, "LOCK_PATIENCE_S", 0.05)
    with lock_count(tmp_path), pytest.raises(BusError, match="another dispenser"):
        lock_count(tmp_path)
    lock_count(tmp_path).close()


def test_it_counts_what_the_dispenser_had_not_counted_yet(tmp_path: Path) -> None:
    store = TreatStore(store_path(tmp_path), 10, same_treat_ms=60)
    deed = store.begin("id", "treat", AT)
    store.count(deed, 1_000_000, Moment("boot", 5.0, 1769860800.0))
    witness.settle(store, [1_000_000, 1_500_000], saw_all=True)
    assert store.remaining == 8
    unfinished = store.unfinished()
    assert unfinished is not None
    assert unfinished.drops == 2


def test_it_counts_nothing_when_the_deed_was_finished(tmp_path: Path) -> None:
    store = TreatStore(store_path(tmp_path), 10, same_treat_ms=60)
    store.finish(store.begin("id", "treat", AT), confirmed=True)
    witness.settle(store, [1_000_000], saw_all=True)
    assert store.remaining == 10


@pytest.mark.parametrize(("saw_all", "known"), [(True, False), (False, True)])
def test_a_deed_by_which_nothing_fell_is_struck_out_only_where_all_was_seen(
    tmp_path: Path, saw_all: bool, known: bool
) -> None:
    store = TreatStore(store_path(tmp_path), 10, same_treat_ms=60)
    store.begin("id", "treat", AT)
    witness.settle(store, [], saw_all=saw_all)
    assert (store.find("id") is not None) is known


def test_a_witness_that_cannot_reach_the_pins_does_not_start(tmp_path: Path) -> None:
    with socket.socket() as taken, lock_count(tmp_path) as lock:
        taken.bind(("127.0.0.1", 0))  # bound and not listened on: nobody answers there
        config = {"pins": {"port": taken.getsockname()[1]}, "camera": {"password": "secret"}}
        with pytest.raises(HardwareError, match="did not start"):
            Witness(config, tmp_path, lock)
    lock_count(tmp_path).close()


@pytest.mark.parametrize(
    ("pins", "carousel", "outlives"),
    [
        (PinsConfig(factory="pigpio"), CarouselConfig(), True),
        (PinsConfig(factory="lgpio"), CarouselConfig(), False),
        (PinsConfig(factory="lgpio"), CarouselConfig(driver="pca9685", channel=2), True),
    ],
)
def test_a_carousel_that_outlives_its_process_has_a_witness(
    pins: PinsConfig, carousel: CarouselConfig, outlives: bool
) -> None:
    assert outlives_its_process(HardwareConfig(pins=pins, carousel=carousel)) is outlives
