"""Who is still there: links to somebody outside, and the other processes."""

from __future__ import annotations

from collections.abc import Callable

from bus.base import Bus
from bus.codec import Message
from bus.messages import Heartbeat
from bus.topics import HEARTBEATS

IDLE_PERIOD_S = 2.0
DRIVING_PERIOD_S = 0.25
DRIVING_FOR_S = 3.0
"""A ping is due this often; the shorter period holds for this long after the last motion command."""
MAX_SILENCE_S = 0.5
"""Motion is not carried out while a ping has been unanswered for longer (contract)."""
DEAD_AFTER_S = 12.0
"""A robot's dead link is known within 20 s (contract): this, a ping's period, and time to spare."""


class LinkPing:
    """Pings of one link, one at a time. All times are CLOCK_MONOTONIC in s."""

    def __init__(self, now: float) -> None:
        self._sent_at = now
        self._unanswered_since: float | None = None
        self._driving_until = now

    def on_motion(self, now: float) -> None:
        """Motion came in by this link: from now on a stall must be noticed quickly."""
        self._driving_until = now + DRIVING_FOR_S

    def due(self, now: float) -> bool:
        """Whether to send a ping now; then call `on_sent`."""
        period_s = DRIVING_PERIOD_S if now < self._driving_until else IDLE_PERIOD_S
        return self._unanswered_since is None and now - self._sent_at >= period_s

    def on_sent(self, now: float) -> None:
        self._sent_at = self._unanswered_since = now

    def on_pong(self) -> None:
        self._unanswered_since = None

    def fresh(self, now: float) -> bool:
        """Whether what arrives now was sent just now, as far as pings can tell."""
        return self._silence_s(now) <= MAX_SILENCE_S

    def dead(self, now: float) -> bool:
        return self._silence_s(now) > DEAD_AFTER_S

    def _silence_s(self, now: float) -> float:
        return 0.0 if self._unanswered_since is None else now - self._unanswered_since


def on_restart(bus: Bus, process: str, call: Callable[[], None]) -> None:
    """Call whenever `process` has been started anew: what it knew of anybody is gone."""
    known: str | None = None

    def heard(message: Message[Heartbeat]) -> None:
        nonlocal known
        if known is not None and message.sender != known:
            call()
        known = message.sender

    bus.subscribe(HEARTBEATS[process], heard)
