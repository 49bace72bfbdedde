from __future__ import annotations

import itertools

import pytest

from processes.webrtc.logic import (
    CONNECT_S,
    PLI_INTERVAL_S,
    RATE_INTERVAL_S,
    SILENT_S,
    KeyFrames,
    Liveness,
    Pacer,
    Rate,
)


def test_a_session_without_a_connection_is_over() -> None:
    liveness = Liveness(100.0)
    assert liveness.over(100.0 + CONNECT_S - 0.1) is None
    assert "connection" in (liveness.over(100.0 + CONNECT_S) or "")
    liveness.on_connected()
    assert liveness.over(1e6) is None


def test_a_viewer_that_pinged_and_is_silent_is_gone() -> None:
    liveness = Liveness(0.0)
    liveness.on_connected()
    liveness.on_message(1.0)
    assert liveness.over(1000.0) is None
    liveness.on_ping(1000.0)
    liveness.on_message(1002.0)
    assert liveness.over(1002.0 + SILENT_S - 0.01) is None
    assert liveness.over(1002.0 + SILENT_S) is not None


def test_lost_pictures_make_a_key_frame_at_most_so_often_but_never_none() -> None:
    key_frames = KeyFrames()
    assert not key_frames.take(0.0)
    key_frames.ask()
    assert key_frames.take(0.0)
    key_frames.ask()
    assert not key_frames.take(PLI_INTERVAL_S - 0.01)
    assert key_frames.take(PLI_INTERVAL_S)
    assert not key_frames.take(100.0)


def test_a_new_viewer_does_not_wait() -> None:
    key_frames = KeyFrames()
    key_frames.ask()
    assert key_frames.take(0.0)
    key_frames.ask(at_once=True)
    key_frames.ask()
    assert key_frames.take(0.01)


@pytest.mark.parametrize(
    ("camera_fps", "fps", "expected"), [(15, 15, 150), (30, 15, 150), (15, 30, 150), (30, 10, 100)]
)
def test_frames_are_left_out_evenly(camera_fps: int, fps: int, expected: int) -> None:
    pacer = Pacer(fps)
    jitter_ns = [0, 3_000_000, -2_000_000, 1_000_000]
    times = [int(i * 1e9 / camera_fps) + jitter_ns[i % 4] + 5_000_000_000 for i in range(10 * camera_fps)]
    taken = [at for at in times if pacer.take(at)]
    assert len(taken) == pytest.approx(expected, abs=2)
    assert max(b - a for a, b in itertools.pairwise(taken)) < 1.5e9 / min(fps, camera_fps)


def test_after_a_pause_frames_do_not_come_in_a_burst() -> None:
    pacer = Pacer(10)
    assert pacer.take(0)
    assert pacer.take(60_000_000_000)
    assert not pacer.take(60_030_000_000)


def test_the_thinnest_line_sets_the_rate_within_bounds() -> None:
    rate = Rate(150_000, 1_500_000)
    assert rate.change(0.0) is None
    rate.on_estimate("a", 9_000_000)
    assert rate.change(0.0) is None
    rate.on_estimate("b", 600_000)
    assert rate.change(0.0) == 600_000
    rate.on_estimate("b", 20_000)
    assert rate.change(RATE_INTERVAL_S - 0.1) is None
    assert rate.change(RATE_INTERVAL_S) == 150_000
    rate.on_gone("b")
    assert rate.change(2 * RATE_INTERVAL_S) == 1_500_000
