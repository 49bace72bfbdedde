"""Questions that are asked at the same time."""

from __future__ import annotations

from collections.abc import Mapping

import gevent
import pytest
import redis
from gevent.event import Event

from contract.errors import ContractError
from relay.gather import Gather


class Source:
    """Answers when it is let, and remembers what it was asked in one go.

    Attributes:
        fails: raised for a batch that holds the key.
    """

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.values: dict[str, int] = {}
        self.fails: dict[str, BaseException] = {}
        self.open = Event()
        self.open.set()

    def fetch(self, keys: list[str]) -> Mapping[str, int]:
        self.batches.append(keys)
        values = dict(self.values)
        self.open.wait()
        for key in keys:
            if key in self.fails:
                raise self.fails[key]
        return {key: values[key] for key in keys if key in values}


@pytest.fixture
def source() -> Source:
    return Source()


def ask(gather: Gather[str, int], *keys: str) -> list[gevent.Greenlet[[str], int | None]]:
    asking = [gevent.spawn(gather.get, key) for key in keys]
    gevent.sleep(0)
    gevent.sleep(0)
    return asking


def test_who_asks_while_others_are_answered_shares_the_next_round_trip(source: Source) -> None:
    gather = Gather(source.fetch)
    source.values = {"a": 1, "b": 2, "c": 3}
    source.open.clear()
    asking = ask(gather, "a") + ask(gather, "b", "c", "b", "unknown")
    source.open.set()
    assert [one.get(timeout=5) for one in asking] == [1, 2, 3, 2, None]
    assert source.batches == [["a"], ["b", "c", "unknown"]]


def test_what_is_answered_was_read_after_it_was_asked_for(source: Source) -> None:
    gather = Gather(source.fetch)
    source.values = {"a": 1}
    source.open.clear()
    before = ask(gather, "a")
    source.values["a"] = 2
    after = ask(gather, "a")
    source.open.set()
    assert before[0].get(timeout=5) == 1
    assert after[0].get(timeout=5) == 2
    assert gather.get("a") == 2, "nothing is remembered"


def test_no_round_trip_is_too_large(source: Source) -> None:
    gather = Gather(source.fetch, together=2)
    source.values = dict.fromkeys("abcde", 1)
    assert gather.get_all("abcdef") == source.values
    assert [len(batch) for batch in source.batches] == [2, 2, 2]


def test_a_question_that_cannot_be_put_spoils_no_other(source: Source) -> None:
    gather = Gather(source.fetch)
    source.values = {"first": 0, "a": 1, "c": 3}
    source.fails = {"b": UnicodeEncodeError("utf-8", "b", 0, 1, "surrogates")}
    source.open.clear()
    asking = ask(gather, "first") + ask(gather, "a", "b", "c")
    source.open.set()
    assert [asking[1].get(timeout=5), asking[3].get(timeout=5)] == [1, 3]
    with pytest.raises(UnicodeEncodeError):
        asking[2].get(timeout=5)
    assert gather.get("a") == 1


@pytest.mark.parametrize("error", [redis.ConnectionError("away"), ContractError("UNAVAILABLE", "away")])
def test_a_server_that_is_away_is_asked_once_for_all(source: Source, error: Exception) -> None:
    gather = Gather(source.fetch)
    source.fails = {"a": error}
    source.open.clear()
    asking = ask(gather, "first") + ask(gather, "a", "b", "c")
    source.open.set()
    for one in asking[1:]:
        with pytest.raises(type(error)):
            one.get(timeout=5)
    assert len(source.batches) == 2


def test_a_round_trip_whose_time_is_over_leaves_nobody_waiting(source: Source) -> None:
    """gevent's Timeout is no Exception."""
    gather = Gather(source.fetch)
    source.values = {"b": 2}
    source.fails = {"a": gevent.Timeout(1)}
    with gevent.Timeout(5), pytest.raises(gevent.Timeout):
        gather.get("a")
    with gevent.Timeout(5):
        assert gather.get("b") == 2
