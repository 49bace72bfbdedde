"""What waits for a socket, without a socket."""

from __future__ import annotations

from relay.backlog import MAX_QUEUED_BYTES, MAX_QUEUED_MESSAGES, MOTION_MAX_AGE_S, Backlog


def frames(backlog: Backlog) -> bytes:
    return backlog.next_chunk()


def test_what_is_half_written_goes_on_whatever_comes_after_it() -> None:
    backlog = Backlog([(b"motor1", "m"), (b"text", None)], 3, 0.0)
    assert backlog.add(b"motor2", "m", False, 0.1)
    assert backlog.add(b"stop", None, True, 0.2)
    assert frames(backlog) == b"or1stoptext"
    assert backlog.dropped == 1
    assert backlog.size == len(b"or1stoptext")


def test_of_each_motion_only_the_latest_waits() -> None:
    backlog = Backlog([(b"first", None)], 0, 0.0)
    for number in range(9):
        assert backlog.add(b"m%d" % number, "motor", False, 0.0)
        assert backlog.add(b"s%d" % number, "servo", False, 0.0)
    assert frames(backlog) == b"firstm8s8"


def test_late_motion_is_dropped_and_nothing_else() -> None:
    backlog = Backlog([(b"text", None), (b"motor", "m")], 0, 0.0)
    backlog.drop_late(MOTION_MAX_AGE_S)
    assert frames(backlog) == b"textmotor"
    backlog.drop_late(MOTION_MAX_AGE_S + 0.01)
    assert frames(backlog) == b"text"
    assert (backlog.size, backlog.dropped) == (4, 1)


def test_it_is_bounded_by_count_and_by_size() -> None:
    backlog = Backlog([(b"x", None)] * MAX_QUEUED_MESSAGES, 0, 0.0)
    assert not backlog.add(b"x", None, False, 0.0)
    large = Backlog([(b"x" * MAX_QUEUED_BYTES, None)], 0, 0.0)
    assert not large.add(b"x", None, False, 0.0)
    large.give_up()
    assert len(large) == 1
