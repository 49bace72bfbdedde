from __future__ import annotations

from bus.timers import ScheduledCall, Timers


def run(timers: Timers, now: float) -> list[float]:
    """Call what is due, and return when each of it was."""
    times = []
    while (scheduled := timers.pop_due(now)) is not None:
        due, call = scheduled
        call()
        times.append(due)
    return times


def test_calls_come_in_their_order() -> None:
    timers, called = Timers(), list[str]()
    for at, name in ((3.0, "c"), (1.0, "a"), (1.0, "b")):
        timers.push(at, ScheduledCall(lambda name=name: called.append(name), None))  # type: ignore[misc]
    assert timers.next_at() == 1.0
    assert run(timers, 0.9) == []
    assert run(timers, 3.0) == [1.0, 1.0, 3.0]
    assert called == ["a", "b", "c"]
    assert timers.next_at() is None


def test_a_periodic_call_keeps_its_beat_and_catches_up_once() -> None:
    timers = Timers()
    timers.push(1.0, ScheduledCall(lambda: None, 0.5))
    assert run(timers, 1.2) == [1.0]
    assert timers.next_at() == 1.5
    assert run(timers, 10.2) == [1.5]
    assert timers.next_at() == 10.7


def test_a_cancelled_call_is_not_made_not_even_by_itself() -> None:
    timers = Timers()
    timer = ScheduledCall(lambda: timer.cancel(), 1.0)
    timers.push(1.0, timer)
    assert run(timers, 5.0) == [1.0]
    assert timers.next_at() is None
