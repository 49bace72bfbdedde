"""Counters that all workers share: attempts within a window, and when something was first seen.

They live in Redis. While it cannot be reached each worker counts for itself, so a limit is then per worker: weaker,
never off.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis

from contract.errors import ContractError

log = logging.getLogger(__name__)
LOCAL_KEYS = 20_000


@dataclass(frozen=True)
class Limit:
    """At most `attempts` in `window_s`."""

    name: str
    attempts: int
    window_s: int


LOGIN_PER_ACCOUNT = Limit("login-account", 10, 300)
LOGIN_PER_ADDRESS = Limit("login-address", 60, 300)
REGISTER_PER_ADDRESS = Limit("register-address", 100, 3600)
PAIR_PER_ACCOUNT = Limit("pair-account", 10, 600)
PAIR_PER_ADDRESS = Limit("pair-address", 60, 600)


class Limits:
    """The shared counters.

    Args:
        client: Redis.
        clock: monotonic seconds, for the local fall-back.
    """

    def __init__(self, client: redis.Redis, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._local: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def check(self, limit: Limit, subject: str) -> None:
        """Raises ContractError RATE_LIMITED when `subject` has no attempt left."""
        key = _key(limit.name, subject)
        try:
            pipeline = self._client.pipeline(transaction=False)
            pipeline.get(key)
            pipeline.pttl(key)
            used, left_ms = pipeline.execute()
            count, left_s = int(used or 0), max(int(left_ms), 0) / 1000
        except redis.RedisError as error:
            count, left_s = self._local_count(key, error)
        if count >= limit.attempts:
            raise ContractError(
                "RATE_LIMITED", f"Too many attempts. Try again in {left_s:.0f} s.", retry_after_s=left_s
            )

    def spend(self, limit: Limit, subject: str) -> None:
        """Count one attempt."""
        key = _key(limit.name, subject)
        try:
            pipeline = self._client.pipeline(transaction=True)
            pipeline.incr(key)
            pipeline.expire(key, limit.window_s, nx=True)
            pipeline.execute()
        except redis.RedisError as error:
            count, left_s = self._local_count(key, error)
            self._remember(key, self._clock() + (left_s or limit.window_s), count + 1)

    def forgive(self, limit: Limit, subject: str) -> None:
        """Forget the attempts of `subject`."""
        key = _key(limit.name, subject)
        self._local.pop(key, None)
        try:
            self._client.delete(key)
        except redis.RedisError as error:
            log.warning("limits: %s", error)

    def first_seen_age_s(self, name: str, ttl_s: int) -> float:
        """How long ago `name` was first seen, 0 when it is new; remembered for `ttl_s`."""
        key = _key("seen", name)
        try:
            pipeline = self._client.pipeline(transaction=True)
            pipeline.set(key, 1, nx=True, ex=ttl_s)
            pipeline.pttl(key)
            fresh, left_ms = pipeline.execute()
            return 0.0 if fresh else max(0.0, ttl_s - int(left_ms) / 1000)
        except redis.RedisError as error:
            count, left_s = self._local_count(key, error)
            if count:
                return ttl_s - left_s
            self._remember(key, self._clock() + ttl_s, 1)
            return 0.0

    def _local_count(self, key: str, error: Any) -> tuple[int, float]:
        log.warning("limits are per worker for now: %s", error)
        ends, count = self._local.get(key, (0.0, 0))
        left_s = ends - self._clock()
        return (count, left_s) if left_s > 0 else (0, 0.0)

    def _remember(self, key: str, ends: float, count: int) -> None:
        self._local[key] = (ends, count)
        self._local.move_to_end(key)
        while len(self._local) > LOCAL_KEYS:
            self._local.popitem(last=False)


def _key(name: str, subject: str) -> str:
    return f"wimz:limit:{name}:{hashlib.sha256(subject.encode()).hexdigest()[:32]}"
