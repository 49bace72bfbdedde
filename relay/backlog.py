"""What waits for a socket that takes no more: bounded, of motion only the latest. Pure: no socket, no clock."""

from __future__ import annotations

MAX_QUEUED_MESSAGES = 256
MAX_QUEUED_BYTES = 1_048_576
WRITE_BYTES = 65_536
MOTION_MAX_AGE_S = 0.5
"""Motion that waited longer is not sent any more (contract: never carried out late)."""

Waiting = tuple[bytes, str | None, float]
"""A frame, the key of what it replaces (None: nothing), and since when it waits (monotonic seconds)."""


class Backlog:
    """The frames that a connection has not written.

    Args:
        frames: with their keys, in order.
        sent: how many bytes of them are written already.
        now: monotonic seconds.

    Attributes:
        size: bytes.
        dropped: motion that was replaced or became too old.
    """

    __slots__ = ("_frames", "dropped", "size")

    def __init__(self, frames: list[tuple[bytes, str | None]], sent: int, now: float) -> None:
        self._frames: list[Waiting] = [(frame, key, now) for frame, key in frames]
        self.size = sum(len(frame) for frame, _ in frames)
        self.dropped = 0
        self.written(sent)

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, frame: bytes, key: str | None, urgent: bool, now: float) -> bool:
        """Queue a frame; False: there is no room.

        Args:
            frame: whole.
            key: motion: replaces what waits with the same key.
            urgent: a stop: goes before all that waits, and removes motion that waits.
            now: monotonic seconds.
        """
        if urgent:
            self._keep([waiting for waiting in self._frames if not waiting[1]])
        elif key:
            self._keep([waiting for waiting in self._frames if waiting[1] != key])
        if len(self._frames) >= MAX_QUEUED_MESSAGES or self.size + len(frame) > MAX_QUEUED_BYTES:
            return False
        # The first may be half written.
        self._frames.insert(1 if urgent and self._frames else len(self._frames), (frame, key, now))
        self.size += len(frame)
        return True

    def next_chunk(self) -> bytes:
        """What to write now."""
        size = 0
        parts = []
        for frame, _, _ in self._frames:
            parts.append(frame)
            size += len(frame)
            if size >= WRITE_BYTES:
                break
        return b"".join(parts)

    def written(self, sent: int) -> None:
        """So many bytes have gone. A frame that has begun is no motion any more: it has to go on."""
        self.size -= sent
        done = 0
        for frame, _, _ in self._frames:
            if sent < len(frame):
                break
            sent -= len(frame)
            done += 1
        del self._frames[:done]
        if sent:
            frame, _, since_s = self._frames[0]
            self._frames[0] = frame[sent:], None, since_s

    def drop_late(self, now: float) -> None:
        """Remove motion that has waited for too long."""
        too_old = now - MOTION_MAX_AGE_S
        if any(key and since_s < too_old for _, key, since_s in self._frames):
            self._keep([waiting for waiting in self._frames if not waiting[1] or waiting[2] >= too_old])

    def give_up(self) -> None:
        """Keep only the first, which may be half written."""
        self._frames = self._frames[:1]
        self.size = sum(len(frame) for frame, _, _ in self._frames)

    def _keep(self, kept: list[Waiting]) -> None:
        self.dropped += len(self._frames) - len(kept)
        self.size -= sum(len(frame) for frame, _, _ in self._frames) - sum(len(frame) for frame, _, _ in kept)
        self._frames = kept
