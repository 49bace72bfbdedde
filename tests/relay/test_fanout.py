"""The parts between workers that need no server: ages, batches, the event log, the counters' fall-back, metrics."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gevent
import pytest

from contract.errors import ContractError
from relay import eventlog
from relay.eventlog import EventLog
from relay.fanout import AgeFilter, Envelope, Fanout
from relay.limits import Limit, Limits
from relay.metrics import Metrics, render
from relay.presence import Claim, connect
from relay.store import EventRow, NewEvent

NOWHERE = "redis://127.0.0.1:1"


def test_age_is_what_a_batch_took_longer_than_the_fastest_whatever_the_clocks_say() -> None:
    ages = AgeFilter()
    assert ages.age_s("a", sent_s=1000.0, now=5.0) == 0.0
    assert ages.age_s("a", sent_s=1001.0, now=6.5) == 0.5
    assert ages.age_s("a", sent_s=1002.0, now=6.9) == 0.0, "a faster one is the new measure"
    assert ages.age_s("a", sent_s=1003.0, now=7.95) == pytest.approx(0.05)
    assert ages.age_s("b", sent_s=0.0, now=8.0) == 0.0


def test_claims_survive_their_text() -> None:
    claim = Claim("w", 7, 1234)
    assert Claim.decode(claim.encode()) == claim


def test_nothing_waits_for_redis() -> None:
    lost: list[tuple[str, list[Envelope], bool]] = []
    fanout = Fanout(NOWHERE, "me", Metrics(), lambda e, age: None, lambda *args: lost.append(args), lambda: None)
    envelope = Envelope("command", "r1", "s", b"{}", name="treat")
    fanout.send("other", envelope)
    assert lost == [("other", [envelope], False)]


class FakeStore:
    """Stores as told."""

    def __init__(self) -> None:
        self.batches: list[list[NewEvent]] = []
        self.away = 0
        self.poison: str | None = None

    def add_events(self, events: list[NewEvent]) -> list[tuple[int, EventRow | None]]:
        if self.away:
            self.away -= 1
            raise ContractError("UNAVAILABLE", "away")
        if any(event.id == self.poison for event in events):
            raise ContractError("INVALID_PARAMETER", "poison")
        self.batches.append(list(events))
        return [(i, EventRow(i, e.id, e.device_id, e.event, e.data, e.happened)) for i, e in enumerate(events)]


def _event(number: int) -> NewEvent:
    return NewEvent("r1", f"e{number}", "treat", {}, "now")


def _until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        gevent.sleep(0.005)


def _log(store: FakeStore, metrics: Metrics) -> tuple[EventLog[str], list[str]]:
    told: list[str] = []
    return EventLog(store, lambda mark, event, row: told.append(event.id), metrics), told


def test_events_that_wait_together_are_stored_together() -> None:
    store = FakeStore()
    log, told = _log(store, Metrics())
    for number in range(3):
        log.add("mark", _event(number))
    log.start()
    _until(lambda: len(told) == 3)
    log.stop()
    assert [len(batch) for batch in store.batches] == [3]


def test_events_are_told_only_once_they_are_stored_and_survive_a_database_that_is_away() -> None:
    store = FakeStore()
    store.away = 2
    log, told = _log(store, Metrics())
    log.start()
    log.add("mark", _event(1))
    gevent.sleep(0.02)
    assert told == []
    _until(lambda: told == ["e1"])
    log.stop()


def test_one_event_that_cannot_be_stored_does_not_keep_the_others() -> None:
    store = FakeStore()
    store.poison = "e2"
    metrics = Metrics()
    log, told = _log(store, metrics)
    for number in range(5):
        log.add("mark", _event(number))
    log.start()
    _until(lambda: len(told) == 4)
    log.stop()
    assert sorted(told) == ["e0", "e1", "e3", "e4"]
    assert metrics.value("wimz_relay_dropped_total", 'reason="event_refused"') == 1


def test_the_log_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eventlog, "MAX_QUEUED", 3)
    metrics = Metrics()
    log, _ = _log(FakeStore(), metrics)
    for number in range(5):
        log.add("mark", _event(number))
    assert metrics.value("wimz_relay_events_queued") == 3
    assert metrics.value("wimz_relay_dropped_total", 'reason="events_full"') == 2


def test_attempts_are_limited_per_subject_until_forgiven(redis_url: str) -> None:
    limits = Limits(connect(redis_url))
    limit = Limit("test", 2, 60)
    for _ in range(2):
        limits.take(limit, "a")
    with pytest.raises(ContractError) as refused:
        limits.take(limit, "a")
    assert refused.value.retry_after_s == pytest.approx(60, abs=10)
    limits.take(limit, "b")
    limits.forgive(limit, "a")
    limits.take(limit, "a")


def test_attempts_that_cannot_be_counted_are_refused() -> None:
    limits = Limits(connect(NOWHERE))
    with pytest.raises(ContractError, match="UNAVAILABLE"):
        limits.take(Limit("test", 2, 60), "a")
    limits.give_back(Limit("test", 2, 60), "a")


@pytest.mark.parametrize("url", ["real", NOWHERE])
def test_signatures_are_remembered_with_and_without_redis(redis_url: str, url: str) -> None:
    limits = Limits(connect(redis_url if url == "real" else url))
    assert limits.first_seen_ages_s(["signature", "other"], 60) == {"signature": 0.0, "other": 0.0}
    assert 0.0 <= limits.first_seen_ages_s(["signature"], 60)["signature"] < 10


def test_metrics_are_prometheus_text() -> None:
    metrics = Metrics()
    metrics.count("wimz_relay_dropped_total", 'reason="stale"', 2)
    metrics.gauge("wimz_relay_redis_up", lambda: 1.0)
    text = render({"w1": metrics.samples(), "w2": metrics.samples()})
    assert "# TYPE wimz_relay_dropped_total counter\n" in text
    assert 'wimz_relay_dropped_total{worker="w2",reason="stale"} 2\n' in text
    assert 'wimz_relay_redis_up{worker="w1"} 1\n' in text


def test_a_histogram_is_cumulative_as_prometheus_has_it() -> None:
    metrics = Metrics()
    for seconds in (0.0004, 0.003, 0.003, 9.0):
        metrics.histogram("wimz_relay_turn_seconds").observe(seconds)
    text = render({"w": metrics.samples()})
    assert "# TYPE wimz_relay_turn_seconds histogram\n" in text
    assert 'wimz_relay_turn_seconds_bucket{worker="w",le="0.0005"} 1\n' in text
    assert 'wimz_relay_turn_seconds_bucket{worker="w",le="0.005"} 3\n' in text
    assert 'wimz_relay_turn_seconds_bucket{worker="w",le="+Inf"} 4\n' in text
    assert 'wimz_relay_turn_seconds_count{worker="w"} 4\n' in text
