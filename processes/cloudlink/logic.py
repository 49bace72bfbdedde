"""What the link decides: when to connect, what a refusal means, which events are on their way."""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from contract.frames import CLOSE_AUTH_FAILED, CLOSE_RESTARTING, CLOSE_SUPERSEDED, Error

FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 30.0
REFUSED_RETRY_S = 600.0
SUPERSEDED_RETRY_S = 60.0
STEADY_AFTER_S = 10.0
"""A link that held this long starts its backoff afresh."""
ACCEPTED_AFTER_S = 1.0
"""A refusal comes at once. A relay that says nothing for so long has taken us in."""
MAX_SKEWS = 3
"""So many CLOCK_SKEW refusals in a row are a refusal like any other."""
AUTH_STATUSES = (401, 403)

WINDOW = 32
"""Events that may be on their way to the relay unacknowledged."""
RESEND_AFTER_S = 30.0


def signature(secret: str, device_id: str, timestamp: int) -> str:
    """Hex HMAC-SHA256 over `id:timestamp` (contract)."""
    return hmac.new(secret.encode(), f"{device_id}:{timestamp}".encode(), hashlib.sha256).hexdigest()


class SigningClock:
    """Unix seconds to sign, by the relay's clock once it told it, and never the same second twice."""

    def __init__(self) -> None:
        self._offset_s = 0.0
        self._last = 0

    def on_server_time(self, server_time: float, wall: float) -> None:
        self._offset_s = server_time - wall
        self._last = 0  # what was signed by the wrong clock says nothing about the right one

    def next(self, wall: float) -> int:
        self._last = max(int(wall + self._offset_s), self._last + 1)
        return self._last


@dataclass(frozen=True)
class Closed:
    """How a connection ended.

    Attributes:
        code: the WebSocket close code, if there was one.
        http_status: of a handshake that was refused.
        reason: in words.
    """

    code: int | None = None
    http_status: int | None = None
    reason: str = ""


class Link:
    """When to connect, and how the link stands.

    Attributes:
        state: "off", "connecting", "connected", or why the relay does not take us in.
    """

    def __init__(self, now: float) -> None:
        self.state = "connecting"
        self._retry_at = now
        self._dialled = False
        self._opened_at: float | None = None
        self._failures = 0
        self._skews = 0
        self._skewed = False
        self._refusal: str | None = None

    def due(self, now: float) -> bool:
        """Whether to dial now; then call `on_dial`."""
        return not self._dialled and now >= self._retry_at

    def on_dial(self) -> None:
        self._dialled = True
        self._refusal = None
        self._skewed = False
        self._opened_at = None

    def on_open(self, now: float) -> None:
        self._opened_at = now

    def on_accepted(self) -> None:
        """The relay said something that is no refusal."""
        if self._opened_at is not None and self._refusal is None and not self._skewed:
            self.state = "connected"
            self._skews = 0

    def on_tick(self, now: float) -> None:
        if self._opened_at is not None and now - self._opened_at >= ACCEPTED_AFTER_S:
            self.on_accepted()

    def on_error(self, error: Error) -> float | None:
        """The relay complains. Returns its clock (unix s) if it should be signed by that from now on."""
        if self.state == "connected":
            return None
        if error.code == "CLOCK_SKEW" and error.server_time is not None and self._skews < MAX_SKEWS:
            self._skewed = True
            return error.server_time
        self._refusal = error.message or error.code
        return None

    def on_closed(self, closed: Closed, now: float, jitter: float) -> None:
        """Decide when to dial again.

        Args:
            jitter: random, 0 to 1.
        """
        steady = self._opened_at is not None and now - self._opened_at >= STEADY_AFTER_S
        self._dialled, self._opened_at = False, None
        self.state = "connecting"
        if steady:
            self._failures = 0
        if self._skewed:
            self._skews += 1
            self._retry_at = now
        elif closed.code == CLOSE_SUPERSEDED:
            self.state = "superseded: another robot connected with this DEVICE_ID"
            self._retry_at = now + SUPERSEDED_RETRY_S * (1 + jitter)
        elif self._refusal or closed.code == CLOSE_AUTH_FAILED or closed.http_status in AUTH_STATUSES:
            self.state = f"refused: {self._refusal or closed.reason or 'the relay gave no reason'}"
            self._retry_at = now + REFUSED_RETRY_S
        elif closed.code == CLOSE_RESTARTING:
            self._retry_at = now + 0.1 + 0.9 * jitter
        else:
            backoff_s = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2 ** min(self._failures, 10))
            self._failures += 1
            self._retry_at = now + backoff_s * (0.5 + 0.5 * jitter)


@dataclass(frozen=True)
class StoredEvent:
    """An event in the outbox. `seq` is its place in the order; `body` is JSON of event, data, timestamp and id."""

    seq: int
    id: str
    body: bytes


class OutboxWindow:
    """Which stored events to send next. Each is sent again on every new connection, until it is acknowledged."""

    def __init__(self) -> None:
        self._connected = False
        self._in_flight: OrderedDict[str, float] = OrderedDict()
        self._cursor = 0
        self._more = False
        self._loading = False
        self._round = 0

    def on_connected(self) -> None:
        self._connected = True
        self._rewind()

    def on_disconnected(self) -> None:
        self._connected = False
        self._in_flight.clear()

    def on_stored(self) -> None:
        self._more = True

    def next_load(self) -> tuple[int, int, int] | None:
        """What to read from the store now: (round, after which seq, how many); None: nothing."""
        room = WINDOW - len(self._in_flight)
        if not (self._connected and self._more and not self._loading and room > 0):
            return None
        self._loading, self._more = True, False
        return self._round, self._cursor, room

    def on_loaded(self, round_: int, wanted: int, events: Sequence[StoredEvent], now: float) -> list[StoredEvent]:
        """Note what was read, and return what to send of it."""
        self._loading = False
        if round_ != self._round or not self._connected:
            self._more = True
            return []
        self._more = self._more or len(events) == wanted
        for event in events:
            self._cursor = event.seq
            self._in_flight[event.id] = now
        return list(events)

    def on_load_failed(self) -> None:
        """The store could not be read; it is tried again when something else happens."""
        self._loading = False

    def on_ack(self, ids: Iterable[str]) -> None:
        for id_ in ids:
            self._in_flight.pop(id_, None)

    def on_tick(self, now: float) -> None:
        """Begin again from the oldest when it was not acknowledged for long."""
        oldest = next(iter(self._in_flight.values()), now)
        if now - oldest >= RESEND_AFTER_S:
            self._rewind()

    def _rewind(self) -> None:
        self._round += 1
        self._in_flight.clear()
        self._cursor = 0
        self._more = True
