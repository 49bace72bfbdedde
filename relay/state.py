"""How a worker is: what `/ready` and `/metrics` say."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec
import redis

from contract.errors import ContractError
from relay.metrics import render

if TYPE_CHECKING:
    from relay.node import Node

log = logging.getLogger(__name__)
METRICS_TTL_S = 10


def checks(node: Node) -> dict[str, str]:
    """What `/ready` says: "ok" or what is wrong. Blocks."""
    checks = {"postgres": "ok", "redis": "ok" if node.fanout.up else "the channel between workers is down"}
    try:
        node.store.ping()
    except ContractError as error:
        checks["postgres"] = error.message
    try:
        node.redis.ping()
    except redis.RedisError:
        checks["redis"] = "cannot be reached"
    if node.draining:
        checks["worker"] = "is about to end"
    return checks


def metrics_text(node: Node) -> str:
    """The metrics of all workers of this instance, as far as Redis can be reached. Blocks."""
    workers: dict[str, list[tuple[str, str, float]]] = {}
    try:
        keys = list(node.redis.scan_iter(match=metrics_key(node.settings.instance, "*"), count=500))
        for key, value in zip(keys, node.redis.mget(keys) if keys else [], strict=True):
            if value is not None:
                name = key.decode().rpartition(":")[2]
                workers[name] = msgspec.json.decode(value, type=list[tuple[str, str, float]])
    except redis.RedisError as error:
        log.warning("metrics of this worker only: %s", error)
    workers[node.worker] = node.metrics.samples()
    return render(workers)


def metrics_key(instance: str, worker: str) -> str:
    """Where a worker leaves its metrics for the others of its instance."""
    return f"wimz:metrics:{instance}:{worker}"
