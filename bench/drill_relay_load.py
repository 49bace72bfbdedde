"""`make drill-relay-load`: what must not grow, and whom nobody may hold up.

One relay with one worker. Two apps that read nothing are told MB (50) by their robot while PAIRS (100) others are
measured; one reads again half way, the other never does. While those others are measured again, a role is taken away
fifty times. Then CONNECTIONS (10 000) are left alone for MINUTES (1). Under DRAINED (1 000) the relay is asked to end.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import report
from bench.relay import RATE_HZ, Server, Site, figures, load
from bench.relay_crowd import raise_descriptor_limit
from bench.relay_roles import role_changes
from bench.report import Row
from relay.connection import SLOW_LINGER_S

KIND = "ours"
SECONDS = 8.0
MAX_GROWTH_MB = 8.0
"""Of a worker during the flood, more than the 1 MiB that may wait for one socket and what Python keeps."""
MAX_GONE_S = SLOW_LINGER_S
"""A socket is closed early in the flood, and then kept for so long."""
DRAIN_AIM_S = 2.0
ROLE_CHANGES = 50
ROLE_AIM_S = 1.0
MAX_P99_RATIO = 2.0
MAX_P99_MORE_MS = 5.0
"""The flood's own share of the one core that all clients have shows in the others' figures too."""


def flood_rows(site: Site, server: Server, pairs: int, megabytes: float) -> list[Row]:
    common: dict[str, Any] = {"pairs": pairs, "seconds": SECONDS, "rate": RATE_HZ}
    alone = figures(load(site, KIND, "latency", server, server, **common))
    flood = load(site, KIND, "flood", server, server, first=pairs, mb=megabytes, seconds=SECONDS)
    beside = figures(load(site, KIND, "latency", server, server, **common))
    flooded = figures(flood)
    allowed_ms = max(MAX_P99_RATIO * alone["p99_ms"], alone["p99_ms"] + MAX_P99_MORE_MS)
    return [
        Row("others, nobody is flooded", alone),
        Row(
            "others, during the flood: p99_ms",
            beside,
            allowed_ms,
            beside["p99_ms"] <= allowed_ms and not beside["lost"],
        ),
        Row("the flood: who reads again learns it", flooded, 1, flooded["closed_4008"] == 1),
        Row(
            "the flood: memory",
            {"growth_mb": flooded["growth_mb"]},
            MAX_GROWTH_MB,
            flooded["growth_mb"] <= MAX_GROWTH_MB,
        ),
        Row(
            "the flood: socket of who never reads",
            {"gone_s": flooded["gone_s"]},
            MAX_GONE_S,
            flooded["gone_s"] <= MAX_GONE_S,
        ),
    ]


def watch_row(site: Site, server: Server, connections: int, minutes: float) -> Row:
    watched = figures(
        load(site, KIND, "watch", server, server, connections=connections, at_once=64, seconds=60 * minutes)
    )
    grown = watched["growth_mb"]
    return Row(f"{connections} connections for {minutes:g} minutes", watched, MAX_GROWTH_MB, grown <= MAX_GROWTH_MB)


def roles_row(site: Site, server: Server, pairs: int) -> Row:
    """A role is taken away on one server, from a robot on another, which has other work as well."""
    far = Server(site, KIND)
    try:
        busy = load(site, KIND, "latency", server, server, pairs=pairs, seconds=SECONDS, rate=RATE_HZ)
        took_s = role_changes(site, server, far, pairs + 1, ROLE_CHANGES)
        figures(busy)
    finally:
        far.stop()
    worst_s = max(took_s)
    return Row(
        "a role taken away",
        {"p50_ms": 1000 * statistics.median(took_s), "worst_s": worst_s},
        ROLE_AIM_S,
        worst_s <= ROLE_AIM_S,
    )


def drain_row(site: Site, server: Server, connections: int) -> Row:
    """SIGTERM, until its last process has ended."""
    clients = load(site, KIND, "drain", server, server, connections=connections, at_once=64)
    assert figures(clients) == {"ready": True}
    began_s = time.monotonic()
    server.stop()
    ended_s = time.monotonic() - began_s
    drained = {**figures(clients), "ended_s": ended_s}
    met = ended_s <= DRAIN_AIM_S and drained["told_1012"] == drained["connections"]
    return Row(f"SIGTERM under {connections} connections", drained, DRAIN_AIM_S, met)


def main() -> None:
    raise_descriptor_limit()
    pairs, megabytes = int(os.environ.get("PAIRS", "100")), float(os.environ.get("MB", "50"))
    connections, minutes = int(os.environ.get("CONNECTIONS", "10000")), float(os.environ.get("MINUTES", "1"))
    drained = min(connections, int(os.environ.get("DRAINED", "1000")))
    directory = Path(tempfile.mkdtemp(prefix="wz-"))
    directory.chmod(0o711)
    site = Site(directory, max(connections // 2, pairs + 3))
    try:
        server = Server(site, KIND)
        try:
            rows = [
                *flood_rows(site, server, pairs, megabytes),
                roles_row(site, server, pairs),
                watch_row(site, server, connections, minutes),
                drain_row(site, server, drained),
            ]
        finally:
            server.stop()
    finally:
        site.close()
        shutil.rmtree(directory, ignore_errors=True)
    report.finish("The relay under a flood and under many connections", rows)


if __name__ == "__main__":
    main()
