"""Counters and gauges of one worker, as Prometheus text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

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
}


class Metrics:
    """What one worker counts. Names are those of `HELP`."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._gauges: dict[tuple[str, str], Callable[[], float]] = {}

    def count(self, name: str, labels: str = "", by: int = 1) -> None:
        """Add to a counter. `labels` is Prometheus' own form: `reason="stale"`."""
        self._counts[name, labels] += by

    def gauge(self, name: str, read: Callable[[], float], labels: str = "") -> None:
        """Have `read` called at each scrape."""
        self._gauges[name, labels] = read

    def value(self, name: str, labels: str = "") -> float:
        gauge = self._gauges.get((name, labels))
        return gauge() if gauge else self._counts[name, labels]

    def samples(self) -> list[tuple[str, str, float]]:
        """All values: name, labels, value."""
        counted = [(name, labels, float(value)) for (name, labels), value in self._counts.items()]
        return counted + [(name, labels, float(read())) for (name, labels), read in self._gauges.items()]


def render(workers: Mapping[str, list[tuple[str, str, float]]]) -> str:
    """Prometheus text of several workers' samples, each with its `worker` label."""
    lines = []
    for name, (kind, text) in HELP.items():
        rows = [
            f'{name}{{worker="{worker}"{"," if labels else ""}{labels}}} {value:g}'
            for worker, samples in sorted(workers.items())
            for sample_name, labels, value in samples
            if sample_name == name
        ]
        if rows:
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}", *rows]
    return "\n".join(lines) + "\n"
