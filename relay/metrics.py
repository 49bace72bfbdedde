"""Counters and gauges of one worker, as Prometheus text."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from contract.frames import (
    CLOSE_AUTH_FAILED,
    CLOSE_HEARTBEAT_LOST,
    CLOSE_RESTARTING,
    CLOSE_SUPERSEDED,
    CLOSE_TOO_LARGE,
    CLOSE_TOO_SLOW,
)
from relay.wire import (
    CLOSE_ABNORMAL,
    CLOSE_BAD_UTF8,
    CLOSE_GOING_AWAY,
    CLOSE_INTERNAL_ERROR,
    CLOSE_NO_CODE,
    CLOSE_NORMAL,
    CLOSE_PROTOCOL_ERROR,
    CLOSE_TEXT_ONLY,
)

HELP: Mapping[str, tuple[str, str]] = {
    "wimz_relay_connections": ("gauge", "Open WebSocket connections, by kind."),
    "wimz_relay_queued_bytes": ("gauge", "Bytes waiting for sockets that do not take them."),
    "wimz_relay_redis_up": ("gauge", "1 while the channel to the other workers is open."),
    "wimz_relay_fanout_queued": ("gauge", "Envelopes waiting to be published."),
    "wimz_relay_events_queued": ("gauge", "Events waiting to be stored."),
    "wimz_relay_messages_in_total": ("counter", "Messages received, by kind of sender."),
    "wimz_relay_messages_out_total": ("counter", "Messages sent, by kind of receiver."),
    "wimz_relay_dropped_total": ("counter", "Messages dropped, by reason."),
    "wimz_relay_refused_total": ("counter", "Messages and sockets refused, by error code."),
    "wimz_relay_closed_total": ("counter", "Connections that ended, by close code."),
    "wimz_relay_events_stored_total": ("counter", "Events stored."),
    "wimz_relay_events_expired_total": ("counter", "Events deleted because of their age."),
    "wimz_relay_fanout_sent_total": ("counter", "Envelopes published to other workers."),
    "wimz_relay_fanout_received_total": ("counter", "Envelopes received from other workers."),
    "wimz_relay_failures_total": ("counter", "Unexpected errors, by place."),
    "wimz_relay_postgres_up": ("gauge", "1 while the last use of PostgreSQL worked; looked at every two seconds."),
    "wimz_relay_turn_seconds": ("histogram", "From a message's arrival to the write of what became of it."),
    "wimz_relay_lag_seconds": ("histogram", "How late the hub came to what was due, looked at once a second."),
    "wimz_relay_publish_seconds": ("histogram", "From handing a batch to Redis to its answer."),
    "wimz_relay_fanout_age_seconds": ("histogram", "How much later than the fastest batches came from other workers."),
    "wimz_relay_store_seconds": ("histogram", "From an event's batch to its commit."),
    "wimz_relay_admission_seconds": ("histogram", "From a finished handshake to being let in."),
}
BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

Sample = tuple[str, str, float]
"""Name, labels, value."""


class Tally:
    """Counts of all connections of one kind."""

    __slots__ = ("closed", "dropped_motion", "open", "queued_bytes", "received", "sent")

    def __init__(self) -> None:
        self.open = 0
        self.received = 0
        self.sent = 0
        self.queued_bytes = 0
        self.dropped_motion = 0
        self.closed: dict[int, int] = {}

    def closed_with(self, code: int) -> int:
        """How many ended with this close code."""
        return self.closed.get(code, 0)


class Histogram:
    """How often a duration was how long.

    Args:
        buckets_s: upper bounds, seconds, rising.
    """

    __slots__ = ("_bounds_s", "_counts", "_sum_s")

    def __init__(self, buckets_s: Sequence[float] = BUCKETS_S) -> None:
        self._bounds_s = tuple(buckets_s)
        self._counts = [0] * (len(self._bounds_s) + 1)
        self._sum_s = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(self._bounds_s, seconds)] += 1
        self._sum_s += seconds

    def samples(self, name: str) -> list[Sample]:
        """As Prometheus has it: cumulative buckets, sum and count."""
        samples = []
        total = 0
        for bound, count in zip((*self._bounds_s, "+Inf"), self._counts, strict=True):
            total += count
            samples.append((f"{name}_bucket", f'le="{bound}"', float(total)))
        return [*samples, (f"{name}_sum", "", self._sum_s), (f"{name}_count", "", float(total))]


class Metrics:
    """What one worker counts. Names are those of `HELP`."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._gauges: dict[tuple[str, str], Callable[[], float]] = {}
        self._histograms: dict[str, Histogram] = {}

    def count(self, name: str, labels: str = "", by: int = 1) -> None:
        """Add to a counter. `labels` is Prometheus' own form: `reason="stale"`."""
        self._counts[name, labels] += by

    def gauge(self, name: str, read: Callable[[], float], labels: str = "") -> None:
        """Have `read` called at each scrape."""
        self._gauges[name, labels] = read

    def histogram(self, name: str) -> Histogram:
        """The histogram of that name, made when it is first asked for."""
        return self._histograms.setdefault(name, Histogram())

    def value(self, name: str, labels: str = "") -> float:
        gauge = self._gauges.get((name, labels))
        return gauge() if gauge else self._counts[name, labels]

    def samples(self) -> list[Sample]:
        """All values."""
        samples = [(name, labels, float(value)) for (name, labels), value in self._counts.items()]
        samples += [(name, labels, float(read())) for (name, labels), read in self._gauges.items()]
        for name, histogram in self._histograms.items():
            samples += histogram.samples(name)
        return samples


def render(workers: Mapping[str, Sequence[Sample]]) -> str:
    """Prometheus text of several workers' samples, each with its `worker` label."""
    lines = []
    for name, (kind, text) in HELP.items():
        names = {f"{name}_bucket", f"{name}_sum", f"{name}_count"} if kind == "histogram" else {name}
        rows = [
            f'{sample_name}{{worker="{worker}"{"," if labels else ""}{labels}}} {value:.12g}'
            for worker, samples in sorted(workers.items())
            for sample_name, labels, value in samples
            if sample_name in names
        ]
        if rows:
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}", *rows]
    return "\n".join(lines) + "\n"


CLOSE_CODES = (
    CLOSE_NORMAL,
    CLOSE_GOING_AWAY,
    CLOSE_PROTOCOL_ERROR,
    CLOSE_TEXT_ONLY,
    CLOSE_NO_CODE,
    CLOSE_ABNORMAL,
    CLOSE_BAD_UTF8,
    CLOSE_TOO_LARGE,
    CLOSE_INTERNAL_ERROR,
    CLOSE_RESTARTING,
    CLOSE_AUTH_FAILED,
    CLOSE_HEARTBEAT_LOST,
    CLOSE_SUPERSEDED,
    CLOSE_TOO_SLOW,
)
"""Counted apart in the metrics."""


def show_tally(metrics: Metrics, kind: str, tally: Tally) -> None:
    """Show a worker's counts of one kind of connection."""
    label = f'kind="{kind}"'
    metrics.gauge("wimz_relay_connections", lambda: tally.open, label)
    metrics.gauge("wimz_relay_queued_bytes", lambda: tally.queued_bytes, label)
    metrics.gauge("wimz_relay_messages_in_total", lambda: tally.received, label)
    metrics.gauge("wimz_relay_messages_out_total", lambda: tally.sent, label)
    metrics.gauge("wimz_relay_dropped_total", lambda: tally.dropped_motion, f'reason="late_motion",{label}')
    for code in CLOSE_CODES:
        closed = partial(tally.closed_with, code)
        metrics.gauge("wimz_relay_closed_total", closed, f'code="{code}",{label}')
