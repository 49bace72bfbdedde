from __future__ import annotations

import pytest

from processes.simulator.gpio import GpioBank
from processes.simulator.logic import Edge
from processes.simulator.notifications import REPORT, SLOTS, Notifications, tick_us

A, B = 1 << 7, 1 << 17


@pytest.fixture
def bank() -> GpioBank:
    return GpioBank()


@pytest.fixture
def notifications(bank: GpioBank) -> Notifications[str]:
    return Notifications(bank)


def open_handle(notifications: Notifications[str], client: str, bits: int) -> int:
    handle = notifications.open(client)
    assert handle is not None
    notifications.begin(handle, bits, 0.0)
    return handle


def sent(notifications: Notifications[str], edges: list[Edge], now: float) -> list[tuple[str, tuple[int, ...]]]:
    return [(client, REPORT.unpack(report)) for client, report in notifications.reports(edges, now)]


def test_a_watcher_is_told_at_once_where_the_lines_stand(bank: GpioBank, notifications: Notifications[str]) -> None:
    handle = notifications.open("ann")

    reports = notifications.begin(handle or 0, A, 2.5)

    assert reports is not None
    assert [(client, REPORT.unpack(report)) for client, report in reports] == [("ann", (0, 0, 2_500_000, bank.levels))]


def test_each_watcher_hears_of_its_own_lines(bank: GpioBank, notifications: Notifications[str]) -> None:
    open_handle(notifications, "ann", A)
    open_handle(notifications, "bob", A | B)
    start = bank.levels

    reports = sent(notifications, [Edge(1.0, start | B), Edge(2.0, (start | B) & ~A)], 2.0)

    assert reports == [
        ("bob", (1, 0, 1_000_000, start | B)),
        ("ann", (1, 0, 2_000_000, (start | B) & ~A)),
        ("bob", (2, 0, 2_000_000, (start | B) & ~A)),
    ]


def test_a_paused_and_a_closed_handle_hear_nothing(bank: GpioBank, notifications: Notifications[str]) -> None:
    paused = open_handle(notifications, "ann", A)
    closed = open_handle(notifications, "bob", A)
    assert notifications.begin(paused, 0, 0.0) == []
    assert notifications.close(closed)

    assert sent(notifications, [Edge(1.0, bank.levels & ~A)], 1.0) == []
    assert not notifications.close(closed)
    assert notifications.begin(closed, A, 1.0) is None


def test_handles_are_limited_and_come_free_with_their_client(notifications: Notifications[str]) -> None:
    for _ in range(SLOTS):
        open_handle(notifications, "ann", A)
    assert notifications.open("bob") is None
    assert notifications.listeners() == {"ann"}

    notifications.forget("ann")

    assert notifications.open("bob") == 0
    assert notifications.listeners() == {"bob"}


def test_a_filtered_line_is_reported_once_it_has_been_steady(bank: GpioBank, notifications: Notifications[str]) -> None:
    open_handle(notifications, "ann", A | B)
    bank.set_glitch_filter(7, 5_000)
    high, low = bank.levels, bank.levels & ~A

    assert sent(notifications, [Edge(1.0, low)], 1.001) == []
    assert notifications.next_event_s() == pytest.approx(1.005)
    assert [report[2:] for _, report in sent(notifications, [], 1.006)] == [(1_005_000, low)]
    assert notifications.next_event_s() is None
    assert [report[2:] for _, report in sent(notifications, [Edge(2.0, high)], 3.0)] == [(2_005_000, high)]


def test_a_glitch_is_not_reported_while_other_lines_are(bank: GpioBank, notifications: Notifications[str]) -> None:
    open_handle(notifications, "ann", A | B)
    bank.set_glitch_filter(7, 5_000)
    high, low = bank.levels, bank.levels & ~A

    glitch = [Edge(1.0, low), Edge(1.001, low | B), Edge(1.002, high | B)]

    assert [report[2:] for _, report in sent(notifications, glitch, 2.0)] == [(1_001_000, high | B)]


def test_the_sequence_number_and_the_tick_wrap() -> None:
    bank = GpioBank()
    notifications: Notifications[str] = Notifications(bank)
    open_handle(notifications, "ann", B)
    for n in range(1, 65_536):
        list(notifications.reports([Edge(0.0, B * (n % 2))], 0.0))

    last = sent(notifications, [Edge(4295.0, 0)], 4295.0)

    assert last == [("ann", (0, 0, 4_295_000_000 - (1 << 32), 0))]
    assert tick_us(4294.967296) == 0
