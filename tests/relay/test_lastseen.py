"""Sightings are gathered, and survive a database that is away."""

from __future__ import annotations

import pytest

from contract.errors import ContractError
from relay.lastseen import BATCH, LastSeen, Sighting


class FakeStore:
    def __init__(self) -> None:
        self.batches: list[list[Sighting]] = []
        self.away = False

    def devices_seen(self, sightings: list[Sighting]) -> None:
        if self.away:
            raise ContractError("UNAVAILABLE", "away")
        self.batches.append(sightings)


def test_one_write_for_many_and_one_entry_for_each_robot() -> None:
    store = FakeStore()
    seen = LastSeen(store)
    seen.note("r1", "1.0", None)
    seen.note("r2")
    seen.note("r1", None, "10.0.0.7")
    seen.write()
    assert store.batches == [[Sighting("r1", "1.0", "10.0.0.7"), Sighting("r2")]]
    seen.write()
    assert len(store.batches) == 1


def test_what_cannot_be_written_is_kept_and_newer_news_win() -> None:
    store = FakeStore()
    seen = LastSeen(store)
    store.away = True
    seen.note("r1", "1.0")
    with pytest.raises(ContractError):
        seen.write()
    seen.note("r1", "1.1")
    store.away = False
    seen.write()
    assert store.batches == [[Sighting("r1", "1.1")]]


def test_very_many_go_in_several_batches() -> None:
    store = FakeStore()
    seen = LastSeen(store)
    for number in range(BATCH + 1):
        seen.note(f"r{number}")
    seen.write()
    assert [len(batch) for batch in store.batches] == [BATCH, 1]
    assert len(seen) == 0
