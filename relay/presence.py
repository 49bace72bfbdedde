"""Who is where, in Redis: which worker holds a robot, which workers hold an account's app sessions.

Everything expires by itself, so a worker that is killed leaves nothing behind. Every method blocks and raises
`redis.RedisError` while Redis cannot be reached.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

WORKER_TTL_S = 6
CLAIM_TTL_S = 45
SOCKET_TIMEOUT_S = 1.5
KEEPALIVE = {socket.TCP_KEEPIDLE: 1, socket.TCP_KEEPINTVL: 1, socket.TCP_KEEPCNT: 2}
"""The kernel finds out within three seconds that a server is cut off, also where nothing is said."""

_RELEASE = """
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end
return 0
"""

# Keeps, or after a loss of Redis renews, a claim. A claim of another that is newer wins and is returned.
_RENEW = """
local other = redis.call('get', KEYS[1])
if other and other ~= ARGV[1] then
  local since = tonumber(string.match(other, '|(%d+)$')) or 0
  if since >= tonumber(ARGV[2]) then return other end
end
redis.call('set', KEYS[1], ARGV[1], 'EX', ARGV[3])
return false
"""


class Claim(NamedTuple):
    """That a worker holds a robot's connection.

    Attributes:
        worker: which worker.
        connection: which of its connections.
        since_ms: wall-clock of the connection, to tell which of two claims is newer after Redis was lost.
    """

    worker: str
    connection: int
    since_ms: int

    def encode(self) -> str:
        return f"{self.worker}|{self.connection}|{self.since_ms}"

    @classmethod
    def decode(cls, text: str) -> Claim:
        worker, connection, since_ms = text.split("|")
        return cls(worker, int(connection), int(since_ms))


class Arrival(NamedTuple):
    """A robot that has connected, and the accounts that may use it."""

    device_id: str
    claim: Claim
    members: tuple[str, ...]


class Welcome(NamedTuple):
    """Who had the robot before, and the workers that have app sessions of each of its accounts."""

    before: Claim | None
    audience: dict[str, set[str]]


def connect(redis_url: str, *, timeout_s: float = SOCKET_TIMEOUT_S) -> redis.Redis:
    """A client that gives up soon and never retries by itself: a command must not be carried out late."""
    tcp = not redis_url.startswith("unix:")
    alive: dict[str, Any] = {"socket_keepalive": True, "socket_keepalive_options": KEEPALIVE} if tcp else {}
    return redis.Redis.from_url(
        redis_url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        decode_responses=False,
        **alive,
    )


class Presence:
    """The keys.

    Args:
        client: Redis.
        worker: this worker's id.
        wall_clock: unix seconds.
    """

    def __init__(self, client: redis.Redis, worker: str, wall_clock: Callable[[], float]) -> None:
        self._client = client
        self._worker = worker
        self._wall_clock = wall_clock
        self._release = client.register_script(_RELEASE)
        self._renew = client.register_script(_RENEW)

    def beat(self) -> None:
        """Say that this worker lives."""
        self._client.set(f"wimz:worker:{self._worker}", 1, ex=WORKER_TTL_S)

    def end(self) -> None:
        """Say that this worker is going."""
        self._client.delete(f"wimz:worker:{self._worker}")

    def alive(self, workers: Iterable[str]) -> set[str]:
        """Those of the workers that live: they beat (a host that is cut off does not), and Redis has their channel
        (that of a killed process is closed at once)."""
        names = sorted(set(workers))
        if not names:
            return set()
        pipeline = self._client.pipeline(transaction=False)
        pipeline.mget([f"wimz:worker:{name}" for name in names])
        pipeline.pubsub_numsub(*[channel(name) for name in names])
        beats, subscribers = pipeline.execute()
        return {
            name for name, beat, (_, count) in zip(names, beats, subscribers, strict=True) if beat is not None and count
        }

    # -- robots -----------------------------------------------------------------------------------

    def arrive(self, arrivals: Sequence[Arrival]) -> dict[Arrival, Welcome]:
        """Take these robots, whoever had them."""
        pipeline = self._client.pipeline(transaction=False)
        now = self._wall_clock()
        for arrival in arrivals:
            pipeline.set(_device(arrival.device_id), arrival.claim.encode(), ex=CLAIM_TTL_S, get=True)
            for user_id in arrival.members:
                pipeline.zrangebyscore(_user(user_id), now, "+inf")
        found = iter(pipeline.execute())
        welcomes = {}
        for arrival in arrivals:
            before = next(found)
            audience = {user_id: _names(next(found)) for user_id in arrival.members}
            welcomes[arrival] = Welcome(Claim.decode(before.decode()) if before else None, audience)
        return welcomes

    def release(self, device_id: str, claim: Claim) -> bool:
        """Let the robot go, unless somebody else has it by now."""
        return bool(self._release(keys=[_device(device_id)], args=[claim.encode()]))

    def renew(self, claims: Mapping[str, Claim]) -> dict[str, Claim]:
        """Keep these claims. Returns those robots that another worker has claimed since."""
        devices = list(claims)
        pipeline = self._client.pipeline(transaction=False)
        for device_id in devices:
            claim = claims[device_id]
            self._renew(keys=[_device(device_id)], args=[claim.encode(), claim.since_ms, CLAIM_TTL_S], client=pipeline)
        others = pipeline.execute()
        return {
            device_id: Claim.decode(other.decode()) for device_id, other in zip(devices, others, strict=True) if other
        }

    def locate(self, device_ids: Sequence[str]) -> dict[str, str]:
        """The worker of each of the robots that are there."""
        if not device_ids:
            return {}
        values: list[Any] = self._client.mget([_device(device_id) for device_id in device_ids])
        return {
            device_id: Claim.decode(value.decode()).worker
            for device_id, value in zip(device_ids, values, strict=True)
            if value is not None
        }

    def places(self, device_ids: Sequence[str]) -> dict[str, str]:
        """The same, of those whose worker lives."""
        found = self.locate(device_ids)
        alive = self.alive(found.values())
        return {device_id: worker for device_id, worker in found.items() if worker in alive}

    # -- accounts ---------------------------------------------------------------------------------

    def join(self, user_ids: Sequence[str]) -> dict[str, bool]:
        """Say that this worker has app sessions of these accounts."""
        pipeline = self._client.pipeline(transaction=False)
        now = self._wall_clock()
        for user_id in user_ids:
            key = _user(user_id)
            pipeline.zadd(key, {self._worker: now + CLAIM_TTL_S})
            pipeline.zremrangebyscore(key, "-inf", now)
            pipeline.expire(key, CLAIM_TTL_S)
        pipeline.execute()
        return dict.fromkeys(user_ids, True)

    def leave(self, user_id: str) -> None:
        self._client.zrem(_user(user_id), self._worker)

    def audience(self, user_ids: Sequence[str]) -> dict[str, set[str]]:
        """The workers that have app sessions of each of the accounts."""
        pipeline = self._client.pipeline(transaction=False)
        for user_id in user_ids:
            pipeline.zrangebyscore(_user(user_id), self._wall_clock(), "+inf")
        found = pipeline.execute()
        return {user_id: _names(workers) for user_id, workers in zip(user_ids, found, strict=True)}


def channel(worker: str) -> str:
    """The channel that a worker listens to."""
    return f"wimz:channel:{worker}"


def _names(workers: Iterable[bytes]) -> set[str]:
    return {worker.decode() for worker in workers}


def _device(device_id: str) -> str:
    return f"wimz:device:{device_id}"


def _user(user_id: str) -> str:
    return f"wimz:user:{user_id}"
