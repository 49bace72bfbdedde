from __future__ import annotations

import hashlib
import hmac
from itertools import pairwise

import pytest

from contract.frames import Error
from processes.cloudlink.logic import (
    RESEND_AFTER_S,
    WINDOW,
    Closed,
    Link,
    OutboxWindow,
    SigningClock,
    StoredEvent,
    signature,
)


def test_the_signature_is_what_the_contract_says() -> None:
    expected = hmac.new(b"secret", b"wimz_1:1763790000", hashlib.sha256).hexdigest()
    assert signature("secret", "wimz_1", 1763790000) == expected


def test_no_second_is_signed_twice() -> None:
    clock = SigningClock()
    signed = [clock.next(1000.2), clock.next(1000.4), clock.next(1000.9), clock.next(1005.0), clock.next(1001.0)]
    assert signed == [1000, 1001, 1002, 1005, 1006]


def test_after_a_clock_skew_the_relays_time_is_signed() -> None:
    clock = SigningClock()
    clock.next(5000.0)
    clock.on_server_time(1000.0, 5001.0)
    assert clock.next(5001.5) == 1000
    assert clock.next(5011.0) == 1010


def dialled() -> Link:
    link = Link(0.0)
    assert link.due(0.0)
    link.on_dial()
    return link


def retry_s(link: Link, closed: Closed, now: float, jitter: float = 1.0) -> float:
    link.on_closed(closed, now, jitter)
    wait_s = 0.0
    while not link.due(now + wait_s):
        wait_s += 0.05
    link.on_dial()
    return round(wait_s, 2)


def test_a_link_is_connected_when_the_relay_speaks_or_keeps_quiet_for_a_second() -> None:
    link = dialled()
    assert not link.due(100.0)
    link.on_open(1.0)
    link.on_tick(1.5)
    assert link.state == "connecting"
    link.on_accepted()
    assert link.state == "connected"
    quiet = dialled()
    quiet.on_open(1.0)
    quiet.on_tick(2.0)
    assert quiet.state == "connected"


def test_losses_back_off_to_half_a_minute_with_jitter() -> None:
    link = dialled()
    waits = [retry_s(link, Closed(reason="no route"), 10.0) for _ in range(9)]
    assert waits == pytest.approx([0.5, 1, 2, 4, 8, 16, 30, 30, 30], abs=0.06)
    assert retry_s(link, Closed(), 10.0, jitter=0.0) == pytest.approx(15.0, abs=0.06)


def test_a_link_that_held_begins_its_backoff_afresh() -> None:
    link = dialled()
    for _ in range(5):
        retry_s(link, Closed(), 10.0)
    link.on_open(20.0)
    assert retry_s(link, Closed(), 40.0) == pytest.approx(0.5, abs=0.06)


def test_a_relay_that_restarts_is_dialled_at_once_but_not_by_all_in_the_same_moment() -> None:
    link = dialled()
    link.on_open(0.0)
    assert retry_s(link, Closed(code=1012), 10.0, jitter=0.0) == pytest.approx(0.1, abs=0.06)
    assert retry_s(link, Closed(code=1012), 10.0, jitter=1.0) == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize(
    ("error", "closed", "reason"),
    [
        (Error(code="AUTH_FAILED", message="Unknown device."), Closed(code=4001), "refused: Unknown device."),
        (None, Closed(code=4001, reason="go away"), "refused: go away"),
        (None, Closed(http_status=401, reason="the relay answered HTTP 401"), "refused: the relay answered HTTP 401"),
    ],
)
def test_a_refusal_is_shown_and_retried_every_ten_minutes(error: Error | None, closed: Closed, reason: str) -> None:
    link = dialled()
    link.on_open(1.0)
    if error is not None:
        assert link.on_error(error) is None
    link.on_tick(1.5)
    assert link.state == "connecting"
    link.on_closed(closed, 5.0, 0.5)
    assert link.state == reason
    assert not link.due(604.0)
    assert link.due(605.0)


def test_a_superseded_robot_says_so_and_does_not_fight() -> None:
    link = dialled()
    link.on_open(1.0)
    link.on_closed(Closed(code=4003), 5.0, 0.0)
    assert link.state.startswith("superseded")
    assert not link.due(64.0)
    assert link.due(65.0)


SKEW = Error(code="CLOCK_SKEW", message="Your clock is off.", server_time=1000.0)


def test_a_wrong_clock_is_put_right_and_dialled_at_once() -> None:
    link = dialled()
    link.on_open(1.0)
    assert link.on_error(SKEW) == 1000.0
    link.on_closed(Closed(code=4001), 1.1, 0.5)
    assert link.due(1.1)


def test_a_clock_that_cannot_be_put_right_is_a_refusal() -> None:
    link = dialled()
    for _ in range(3):
        assert link.on_error(SKEW) == 1000.0
        link.on_closed(Closed(code=4001), 1.0, 0.5)
        link.on_dial()
    assert link.on_error(SKEW) is None
    link.on_closed(Closed(code=4001), 1.0, 0.5)
    assert link.state == "refused: Your clock is off."


def stored(first: int, last: int) -> list[StoredEvent]:
    return [StoredEvent(seq, f"e{seq}", b"{}") for seq in range(first, last + 1)]


class Room:
    """An outbox window over a list."""

    def __init__(self, events: int) -> None:
        self.window = OutboxWindow()
        self.events = stored(1, events)
        self.sent: list[str] = []

    def pump(self, now: float = 0.0) -> None:
        while (load := self.window.next_load()) is not None:
            round_, after, wanted = load
            rows = [event for event in self.events if event.seq > after][:wanted]
            self.sent += [event.id for event in self.window.on_loaded(round_, wanted, rows, now)]

    def ack(self, *ids: str) -> None:
        self.events = [event for event in self.events if event.id not in ids]
        self.window.on_ack(ids)


def test_nothing_is_sent_without_a_link() -> None:
    room = Room(3)
    room.window.on_stored()
    room.pump()
    assert room.sent == []


def test_events_go_out_in_order_and_no_more_than_the_window_unacknowledged() -> None:
    room = Room(100)
    room.window.on_connected()
    room.pump()
    assert room.sent == [f"e{number}" for number in range(1, WINDOW + 1)]
    while len(room.sent) < 100:
        room.ack(*room.sent)
        room.pump()
    assert room.sent == [f"e{number}" for number in range(1, 101)]
    assert all(int(a[1:]) < int(b[1:]) for a, b in pairwise(room.sent))


def test_what_was_not_acknowledged_is_sent_again_on_the_next_link() -> None:
    room = Room(4)
    room.window.on_connected()
    room.pump()
    room.ack("e1", "e3")
    room.window.on_disconnected()
    room.window.on_connected()
    room.pump()
    assert room.sent == ["e1", "e2", "e3", "e4", "e2", "e4"]


def test_an_event_the_relay_forgot_is_sent_again_after_a_while() -> None:
    room = Room(2)
    room.window.on_connected()
    room.pump(0.0)
    room.ack("e1")
    room.window.on_tick(RESEND_AFTER_S - 1)
    room.pump(RESEND_AFTER_S - 1)
    assert room.sent == ["e1", "e2"]
    room.window.on_tick(RESEND_AFTER_S)
    room.pump(RESEND_AFTER_S)
    assert room.sent == ["e1", "e2", "e2"]


def test_what_was_read_for_an_older_link_is_not_sent_on_the_new_one_twice() -> None:
    room = Room(2)
    room.window.on_connected()
    load = room.window.next_load()
    assert load is not None
    room.window.on_disconnected()
    room.window.on_connected()
    assert room.window.on_loaded(load[0], load[2], room.events, 0.0) == []
    room.pump()
    assert room.sent == ["e1", "e2"]
