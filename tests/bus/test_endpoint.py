"""Requests and complaints are bounded, and what is under way is never forgotten."""

from __future__ import annotations

import logging
from collections import Counter
from concurrent.futures import Future
from typing import Any

import pytest

from bus import codec
from bus.codec import Request
from bus.endpoint import LOG_INTERVAL_NS, MAX_ASKERS, MAX_LOGGED_SENDERS, REMEMBERED_DEEDS, Complaints, Desk, Reader
from bus.messages import RobotEvent
from bus.topics import COMMAND_TOPICS, EVENTS
from contract.commands import Dispensed, Nothing

TREAT = COMMAND_TOPICS["treat"]
FAR_NS = 10**18


class Server:
    """A dispenser's desk, and what it was asked to do."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self.deeds: list[Future[Any]] = []
        self.answers: list[codec.Reply] = []
        self._desk = Desk("dispenser", self.counters, Complaints(self.counters))
        self._desk.serve(TREAT, self._give)

    def _give(self, request: Request[Any]) -> Future[Any]:
        self.deeds.append(Future())
        return self.deeds[-1]

    def ask(self, id_: str, nonce: int = 1) -> None:
        raw = codec.encode_request(Request(TREAT, Nothing(), "lan#1", nonce, id_, 0, FAR_NS, None))
        self._desk.handle(raw, 1, lambda answer: self.answers.append(codec.decode_reply(answer)), lambda call: call())


def test_a_deed_under_way_is_not_forgotten_for_any_number_of_others() -> None:
    server = Server()
    server.ask("first")
    for number in range(REMEMBERED_DEEDS + 10):
        server.ask(f"other {number}")
        server.deeds[-1].set_result(Dispensed(1, True))
    server.ask("first")
    assert len(server.deeds) == 1 + REMEMBERED_DEEDS + 10
    server.deeds[0].set_result(Dispensed(5, True))
    assert len([answer for answer in server.answers if answer.error is None]) == len(server.deeds) + 1


def test_with_too_many_under_way_the_next_is_refused_and_not_done() -> None:
    server = Server()
    for number in range(REMEMBERED_DEEDS):
        server.ask(str(number))
    server.ask("one more")
    assert len(server.deeds) == REMEMBERED_DEEDS
    assert server.counters["bus.too_many_deeds"] == 1
    assert server.answers[-1].error is not None
    assert server.answers[-1].error.code == "UNAVAILABLE"


def test_only_so_many_may_wait_for_one_deed() -> None:
    server = Server()
    for nonce in range(MAX_ASKERS + 5):
        server.ask("same", nonce)
    assert len(server.deeds) == 1
    assert [answer.nonce for answer in server.answers] == list(range(MAX_ASKERS, MAX_ASKERS + 5))
    server.deeds[0].set_result(Dispensed(5, True))
    assert len(server.answers) == MAX_ASKERS + 5


def test_a_sender_is_named_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    counters: Counter[str] = Counter()
    complaints = Complaints(counters)
    with caplog.at_level(logging.WARNING):
        for now_ns, reason in ((0, "one"), (1, "two"), (LOG_INTERVAL_NS, "three")):
            complaints.drop("bus.malformed", "motion", reason, now_ns)
    assert [record.getMessage().split(": ")[2].split(" ")[0] for record in caplog.records] == ["one", "three"]
    assert counters["bus.malformed"] == 3


def test_no_number_of_senders_floods_the_log(caplog: pytest.LogCaptureFixture) -> None:
    complaints = Complaints(Counter())
    with caplog.at_level(logging.WARNING):
        for number in range(10 * MAX_LOGGED_SENDERS):
            complaints.drop("bus.malformed", f"sender {number}\n" + "x" * 10_000, "no", number)
    assert len(caplog.records) == MAX_LOGGED_SENDERS
    assert all(len(record.getMessage()) < 500 and "\n" not in record.getMessage() for record in caplog.records)


def test_a_handler_that_fails_again_and_again_is_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    counters: Counter[str] = Counter()
    complaints = Complaints(counters)

    def fail(now_ns: int) -> None:
        try:
            raise ZeroDivisionError("a bug")
        except ZeroDivisionError as error:
            complaints.failed("a handler", error, now_ns)

    for now_ns in (0, 1, LOG_INTERVAL_NS - 1, LOG_INTERVAL_NS):
        fail(now_ns)
    assert len(caplog.records) == 2
    assert all(record.exc_info for record in caplog.records)
    assert counters["bus.handler_errors"] == 4


def test_what_was_missed_is_counted_up_to_what_can_be_told() -> None:
    event, counters = EVENTS["motion"], Counter[str]()
    reader = Reader(event, lambda message: None, counters, Complaints(counters))
    for number in range(4):
        for seq in (1, codec.MAX_COUNT):
            reader.take(codec.encode_publication(event, RobotEvent("x", {}, "id", ""), f"motion#{number}", seq, 1), 1)
    assert counters["bus.missed"] == codec.MAX_COUNT
