"""One encode for all viewers of a codec: a thread that takes pictures out of the ring while anybody watches."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bus.frames import FrameError, FrameReader
from processes.webrtc.codec import MIN_BITRATE_BPS, CodecError, open_codec
from processes.webrtc.config import VideoConfig
from processes.webrtc.logic import KeyFrames, Pacer, Rate
from processes.webrtc.track import PacketTrack

log = logging.getLogger(__name__)

LOOK_S = 0.5
"""Without a tick, the ring is looked at this often: the bus may be down while the camera is not."""


class VideoEncoder:
    """The encoder of one codec and its viewers. Every method but `tick` belongs to the event loop's thread.

    Args:
        post: calls on the event loop, from any thread.
    """

    def __init__(
        self,
        codec: str,
        config: VideoConfig,
        run_dir: Path,
        post: Callable[[Callable[[], None]], None],
        counters: Counter[str],
    ) -> None:
        self.codec = codec
        self._config, self._run_dir, self._post, self._counters = config, run_dir, post, counters
        self._viewers: list[PacketTrack] = []
        self._steering = _Steering(config)
        self._worker: _Worker | None = None

    @property
    def running(self) -> bool:
        return self._worker is not None

    def add(self, viewer: PacketTrack) -> None:
        """A new viewer: the very next picture is a key frame."""
        self._viewers.append(viewer)
        self._steering.ask_key_frame(at_once=True)
        if self._worker is None:
            self._worker = _Worker(self.codec, self._config, self._run_dir, self._steering, self._from_worker)

    def remove(self, viewer: PacketTrack) -> None:
        """Idempotent. The thread ends with its last viewer."""
        if viewer not in self._viewers:
            return
        self._viewers.remove(viewer)
        self._steering.on_gone(viewer)
        self._counters["webrtc.packets_dropped"] += viewer.dropped
        if not self._viewers and self._worker is not None:
            self._worker.stop()
            self._worker = None

    def ask_key_frame(self) -> None:
        """A viewer lost something (PLI, FIR)."""
        self._counters["webrtc.key_frames_asked"] += 1
        self._steering.ask_key_frame()

    def on_estimate(self, viewer: PacketTrack, bps: int) -> None:
        """A viewer's estimate of its line (REMB)."""
        if viewer in self._viewers:
            self._steering.on_estimate(viewer, bps)

    def tick(self) -> None:
        """A frame is in the ring. From any thread."""
        worker = self._worker
        if worker is not None:
            worker.wake.set()

    def _from_worker(self, worker: _Worker, packets: list[Any], counter: str | None) -> None:
        """In the worker's thread: hand over to the loop."""
        self._post(lambda: self._deliver(worker, packets, counter))

    def _deliver(self, worker: _Worker, packets: list[Any], counter: str | None) -> None:
        if counter is not None:
            self._counters[counter] += 1
        if worker is not self._worker:
            return
        for packet in packets:
            self._counters[f"webrtc.{self.codec}_frames"] += 1
            self._counters["webrtc.key_frames"] += packet.is_keyframe
            kept_up = [viewer.push(packet) for viewer in self._viewers]
            if not all(kept_up):
                self._steering.ask_key_frame()


class _Steering:
    """What the loop tells the thread: key frames and rate, under one lock."""

    def __init__(self, config: VideoConfig) -> None:
        self._lock = threading.Lock()
        self._key_frames = KeyFrames()
        self._rate = Rate(MIN_BITRATE_BPS, config.bitrate_kbps * 1000)

    def ask_key_frame(self, *, at_once: bool = False) -> None:
        with self._lock:
            self._key_frames.ask(at_once=at_once)

    def on_estimate(self, viewer: PacketTrack, bps: int) -> None:
        with self._lock:
            self._rate.on_estimate(viewer, bps)

    def on_gone(self, viewer: PacketTrack) -> None:
        with self._lock:
            self._rate.on_gone(viewer)

    def take(self, now: float) -> tuple[bool, int | None]:
        """Whether the next picture is a key frame, and a new rate, if there is one."""
        with self._lock:
            return self._key_frames.take(now), self._rate.change(now)


class _Worker:
    """The thread, its codec and its reader of the ring; made for the first viewer, stopped with the last."""

    def __init__(
        self,
        codec: str,
        config: VideoConfig,
        run_dir: Path,
        steering: _Steering,
        hand_over: Callable[[_Worker, list[Any], str | None], None],
    ) -> None:
        self.wake = threading.Event()
        self._codec = open_codec(codec, config)
        self._reader = FrameReader(run_dir, "main")
        self._pacer = Pacer(config.fps)
        self._steering = steering
        self._hand_over = hand_over
        self._number = self._pts = 0
        self._complained = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"encode-{codec}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Does not wait: what the thread still hands over is thrown away."""
        self._stopping.set()
        self.wake.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.wake.wait(LOOK_S)
            self.wake.clear()
            try:
                self._encode_latest()
            except (FrameError, CodecError) as error:
                self._failed(str(error))
            except Exception as error:
                # The thread goes on: without it, viewers would look at a still picture for ever.
                log.exception("encoding failed")
                self._failed(str(error))

    def _failed(self, reason: str) -> None:
        self._steering.ask_key_frame(at_once=True)
        self._hand_over(self, [], "webrtc.encode_errors")
        if reason != self._complained:  # once, not 15 times a second
            self._complained = reason
            log.error("%s", reason)

    def _encode_latest(self) -> None:
        frame = self._reader.latest(newer_than=self._number)
        if frame is None:
            return
        self._number = frame.number
        if not self._pacer.take(frame.capture_ns):
            return
        key_frame, bitrate_bps = self._steering.take(time.monotonic())
        if bitrate_bps is not None:
            self._codec.set_bitrate(bitrate_bps)
        # 90 kHz from capture time; strictly growing, as codecs insist.
        self._pts = max(self._pts + 1, frame.capture_ns * 9 // 100_000)
        packets = self._codec.encode(frame.picture, self._pts, key_frame=key_frame)
        if frame.still_valid():
            self._hand_over(self, packets, None)
        else:  # the camera came round while we read: half a picture, and all after it would refer to it
            self._steering.ask_key_frame(at_once=True)
            self._hand_over(self, [], "webrtc.torn_frames")
