"""The camera on the bus: keeps the source going, fills both rings, tells of every frame."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path

from bus.base import Bus
from bus.bell import Bell
from bus.events import utc_now
from bus.frames import FrameWriter
from bus.messages import CameraState, Fault, FrameTick
from bus.runner import Context
from bus.topics import CAMERA_STATE, CAMERA_TICK, FAULTS
from processes.camera.config import CameraConfig
from processes.camera.driver import Capture, FrameSource, Scaler, open_source
from processes.camera.feeder import feeder_for
from processes.camera.logic import SourceKeeper, Step

log = logging.getLogger(__name__)

TICK_S = 0.1
STATE_S = 0.5
STUCK_S = 5.0
"""A driver that was told to stop and has not returned after this long never will: only a new process helps."""
RATE_WINDOW_S = 2.0
EXIT_STUCK = 70


class CameraService:
    """Wires a source to the rings `main` and `small`.

    Args:
        give_up: ends the process, when the driver hangs for good.
    """

    def __init__(
        self, bus: Bus, config: CameraConfig, source: FrameSource, run_dir: Path, give_up: Callable[[], None]
    ) -> None:
        self._bus, self._config, self._give_up = bus, config, give_up
        self._main = FrameWriter(run_dir, "main", config.width, config.height)
        self._small = FrameWriter(run_dir, "small", config.small_width, config.small_height)
        self._bell = Bell(run_dir)
        self._scale = Scaler(config.small_width, config.small_height)
        self._keeper = SourceKeeper(bus.now())
        self._feeder = feeder_for(bus, source, config.fps, self)
        self._times: deque[float] = deque(maxlen=max(2, round(config.fps * RATE_WINDOW_S)))
        self._fault: str | None = None
        self._stopped_at: float | None = None
        bus.every(TICK_S, self._tick)
        bus.every(STATE_S, self._publish_state)
        bus.call_soon(self._tick)

    def close(self) -> None:
        self._feeder.stop()

    # -- what the feeder brings -------------------------------------------------------------------

    def next_number(self) -> int:
        return self._main.next_number

    def on_opened(self) -> None:
        log.info("the %s source is open", self._config.source)
        self._keeper.on_opened(self._bus.now())

    def on_capture(self, capture: Capture) -> None:
        now = self._bus.now()
        small = self._scale(capture.main) if capture.small is None else capture.small
        self._small.write(small, capture.capture_ns)
        written = self._main.write(capture.main, capture.capture_ns)
        self._bell.ring()
        self._bus.publish(CAMERA_TICK, FrameTick(written.number, written.slot, written.epoch, written.capture_ns))
        self._bus.counters["camera.frames"] += 1
        self._times.append(now)
        self._keeper.on_frame(now)
        self._tell_fault(now)

    def on_failed(self, reason: str) -> None:
        self._bus.counters["camera.source_failures"] += 1
        log.warning("the %s source failed: %s", self._config.source, reason)
        self._stopped_at = self._bus.now()
        self._keeper.on_failed(self._stopped_at, reason)

    # -- the loop ---------------------------------------------------------------------------------

    def _tick(self) -> None:
        now = self._bus.now()
        if self._wait_for_stopped(now):
            step = self._keeper.on_tick(now)
            if step is Step.OPEN:
                self._feeder.start()
            elif step is Step.CLOSE:
                self._bus.counters["camera.source_failures"] += 1
                log.warning("the %s source is silent and is started again", self._config.source)
                self._feeder.stop()
                self._stopped_at = now
        self._tell_fault(now)

    def _wait_for_stopped(self, now: float) -> bool:
        """Whether the source may be opened; ends the process when it hangs in its driver."""
        if self._stopped_at is None:
            return True
        if not self._feeder.stuck():
            self._stopped_at = None
            return True
        if now - self._stopped_at > STUCK_S:
            log.error("the %s driver hangs; this process ends and is started again", self._config.source)
            self._give_up()
        return False

    def _tell_fault(self, now: float) -> None:
        """Once per change."""
        fault = self._keeper.fault(now)
        if (fault is None) == (self._fault is None):
            return
        text = f"The camera gives no pictures: {fault}." if fault else "The camera gives pictures again."
        self._bus.publish(FAULTS["camera"], Fault("CAMERA_FAULT", text, "error", active=fault is not None))
        self._fault = fault

    def _publish_state(self) -> None:
        now = self._bus.now()
        config = self._config
        state = CameraState(config.source, config.width, config.height, self._fps(now), self._keeper.fault(now) is None)
        self._bus.publish(CAMERA_STATE, state)

    def _fps(self, now: float) -> float:
        """Frames a second over the last moments; 0 when none came in them."""
        while self._times and now - self._times[0] > RATE_WINDOW_S:
            self._times.popleft()
        if len(self._times) < 2:
            return 0.0
        return round((len(self._times) - 1) / max(1e-3, self._times[-1] - self._times[0]), 2)


def build(context: Context) -> None:
    config = context.section("camera", CameraConfig)
    source = open_source(config, utc_now)
    # A thread that hangs in a driver cannot be ended; os._exit does not wait for it.
    service = CameraService(context.bus, config, source, context.run_dir, lambda: os._exit(EXIT_STUCK))
    context.on_stop(service.close)
