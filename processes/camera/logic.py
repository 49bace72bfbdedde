"""When to open the camera's source, when to give it up, and when that is a fault. No IO."""

from __future__ import annotations

from enum import Enum

SILENT_S = 2.0
"""A source without a frame for so long is closed and opened again; so long without a picture is also a fault."""
OPENING_S = 15.0
"""libcamera takes up to a few seconds to start; a source that needs longer than this hangs."""
FIRST_BACKOFF_S, MAX_BACKOFF_S = 0.25, 8.0
SETTLED_S = 10.0
"""After so long with frames, the next failure is a new one: the backoff starts again."""


class Step(Enum):
    """What the service has to do now."""

    OPEN = "open"
    CLOSE = "close"


class _State(Enum):
    WAITING = "waiting"
    OPENING = "opening"
    RUNNING = "running"


class SourceKeeper:
    """Keeps one source going: restarts it by itself, with backoff, when it fails or falls silent.

    Args:
        now: monotonic, seconds, as everywhere here.
    """

    def __init__(self, now: float) -> None:
        self._state = _State.WAITING
        self._due = now
        self._backoff_s = FIRST_BACKOFF_S
        self._picture_at = now
        self._since = now
        self._reason = "no frame has come yet"

    def on_tick(self, now: float) -> Step | None:
        """Call it several times a second."""
        if self._state is _State.WAITING and now >= self._due:
            self._state, self._due = _State.OPENING, now + OPENING_S
            return Step.OPEN
        if self._state is not _State.WAITING and now >= self._due:
            self.on_failed(now, "it does not start" if self._state is _State.OPENING else "no frames come any more")
            return Step.CLOSE
        return None

    def on_opened(self, now: float) -> None:
        if self._state is _State.OPENING:
            self._state, self._due, self._since = _State.RUNNING, now + SILENT_S, now

    def on_frame(self, now: float) -> None:
        self._picture_at = now
        if self._state is _State.RUNNING:
            self._due = now + SILENT_S
            if now - self._since >= SETTLED_S:
                self._backoff_s = FIRST_BACKOFF_S

    def on_failed(self, now: float, reason: str) -> None:
        """The source is closed, or has to be: it is opened again after the backoff."""
        if self._state is not _State.WAITING:
            self._state, self._due = _State.WAITING, now + self._backoff_s
            self._backoff_s = min(self._backoff_s * 2, MAX_BACKOFF_S)
        self._reason = reason

    def fault(self, now: float) -> str | None:
        """Why there is no picture, once that has lasted; None while there is one."""
        return self._reason if now - self._picture_at > SILENT_S else None
