from __future__ import annotations

from bus.liveness import DEAD_AFTER_S, LinkPing


def test_an_idle_link_is_pinged_now_and_then_and_one_that_drives_often() -> None:
    ping = LinkPing(0.0)
    assert not ping.due(1.9)
    assert ping.due(2.0)
    ping.on_motion(0.0)
    assert ping.due(0.25)


def test_pings_go_on_after_the_last_motion_so_that_a_stall_is_seen() -> None:
    ping = LinkPing(0.0)
    ping.on_motion(0.0)
    assert ping.due(2.9)
    ping.on_sent(2.9)
    ping.on_pong()
    assert not ping.due(3.5)


def test_one_ping_waits_at_a_time() -> None:
    ping = LinkPing(0.0)
    ping.on_sent(2.0)
    assert not ping.due(100.0)
    ping.on_pong()
    assert ping.due(100.0)


def test_a_link_is_fresh_until_a_ping_is_unanswered_for_half_a_second() -> None:
    ping = LinkPing(0.0)
    assert ping.fresh(100.0)
    ping.on_sent(100.0)
    assert ping.fresh(100.5)
    assert not ping.fresh(100.6)
    ping.on_pong()
    assert ping.fresh(100.7)


def test_a_link_that_stays_silent_is_dead_within_twenty_seconds() -> None:
    ping = LinkPing(0.0)
    ping.on_sent(2.0)
    assert not ping.dead(2.0 + DEAD_AFTER_S)
    assert ping.dead(2.1 + DEAD_AFTER_S)
    assert 2.1 + DEAD_AFTER_S < 20
