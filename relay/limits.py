"""Counters that all workers share: attempts within a window, and when something was first seen.

They live in Redis and expire there. While it cannot be reached no attempts are possible (UNAVAILABLE): the guesses
at each worker would add up. Signatures of robots are then remembered by each worker for itself, so that robots get in.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
PASSWORD_PER_ACCOUNT = Limit("password-account", 10, 300)
PAIR_PER_ACCOUNT = Limit("pair-account", 10, 600)
PAIR_PER_ADDRESS = Limit("pair-address", 60, 600)
SHARE_PER_ACCOUNT = Limit("share-account", 60, 3600)

_GIVE_BACK = """
local count = tonumber(redis.call('get', KEYS[1]) or '0')
if count > 0 then return redis.call('decr', KEYS[1]) end
return 0
"""


class Limits:
    """The shared counters.

    Args:
        client: Redis.
        clock: monotonic seconds, for the local fall-back.
    """

    def __init__(self, client: redis.Redis, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._give_back = client.register_script(_GIVE_BACK)
        self._local: OrderedDict[str, float] = OrderedDict()

    def take(self, limit: Limit, subject: str) -> None:
        """Count one attempt, before what is attempted: many at once are counted as well as one by one.

        Raises:
            ContractError: RATE_LIMITED when `subject` has no attempt left; UNAVAILABLE while Redis is away.
        """
        key = _key(limit.name, subject)
        try:
            pipeline = self._client.pipeline(transaction=True)
            pipeline.incr(key)
            pipeline.expire(key, limit.window_s, nx=True)
            pipeline.pttl(key)
            count, _, left_ms = pipeline.execute()
        except redis.RedisError as error:
            raise _cannot_count(error) from error
        if count > limit.attempts:
            left_s = max(int(left_ms), 0) / 1000
            raise ContractError(
                "RATE_LIMITED", f"Too many attempts. Try again in {left_s:.0f} s.", retry_after_s=left_s
            )

    def give_back(self, limit: Limit, subject: str) -> None:
        """The attempt was a good one: it does not count."""
        try:
            self._give_back(keys=[_key(limit.name, subject)])
        except redis.RedisError as error:
            log.warning("limits: an attempt stays counted: %s", error)

    def forgive(self, limit: Limit, subject: str) -> None:
        """Forget the attempts of `subject`."""
        try:
            self._client.delete(_key(limit.name, subject))
        except redis.RedisError as error:
            log.warning("limits: attempts stay counted: %s", error)

    def first_seen_ages_s(self, names: Sequence[str], ttl_s: int) -> dict[str, float]:
        """How long ago each name was first seen, 0 when it is new; remembered for `ttl_s`."""
        keys = [_key("seen", name) for name in names]
        pipeline = self._client.pipeline(transaction=True)
        for key in keys:
            pipeline.set(key, 1, nx=True, ex=ttl_s)
            pipeline.pttl(key)
        try:
            found = pipeline.execute()
        except redis.RedisError as error:
            log.warning("signatures are remembered per worker for now: %s", error)
            return {name: self._local_age_s(key, ttl_s) for name, key in zip(names, keys, strict=True)}
        return {
            name: 0.0 if fresh else max(0.0, ttl_s - int(left_ms) / 1000)
            for name, fresh, left_ms in zip(names, found[::2], found[1::2], strict=True)
        }

    def _local_age_s(self, key: str, ttl_s: int) -> float:
        now = self._clock()
        ends = self._local.get(key, now)
        if ends > now:
            return ttl_s - (ends - now)
        self._local[key] = now + ttl_s
        self._local.move_to_end(key)
        while len(self._local) > LOCAL_KEYS:
            self._local.popitem(last=False)
        return 0.0


def _cannot_count(error: redis.RedisError) -> ContractError:
    log.warning("limits: Redis cannot be reached: %s", error)
    return ContractError("UNAVAILABLE", "Attempts cannot be counted just now, so none is accepted. Try again soon.")


def _key(name: str, subject: str) -> str:
    return f"wimz:limit:{name}:{hashlib.sha256(subject.encode()).hexdigest()[:32]}"
