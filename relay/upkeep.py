"""What a worker does by the clock: beat, sweep, and make Redis and itself agree."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import gevent
import msgspec
from gevent.lock import BoundedSemaphore

from contract.frames import CLOSE_AUTH_FAILED
from relay import routing
from relay.auth import refused_token
from relay.history import EXPIRE_BATCH
from relay.state import METRICS_TTL_S, metrics_key

if TYPE_CHECKING:
    from relay.node import Node

BEAT_S = 1.0
RESYNC_S = 5.0
OTHERS_UP_S = 1.5
"""Longer than a worker rests between two attempts to reach Redis."""
NOTE_S = 2.0
LOOK_AGAIN_S = 60.0
"""How often roles are read anew although news of each change is sent; every `RESYNC_S` while Redis is away."""
LOOK_AGAIN_AT_ONCE = 500
EXPIRE_S = 60.0
EXPIRE_PAUSE_S = 0.05


def _chunks(values: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(values), LOOK_AGAIN_AT_ONCE):
        yield values[start : start + LOOK_AGAIN_AT_ONCE]


class Upkeep:
    """The greenlets of one worker that run all the time."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._resyncing = BoundedSemaphore(1)
        self._greenlets: list[gevent.Greenlet] = []

    def start(self) -> None:
        self._node.metrics.gauge("wimz_relay_postgres_up", lambda: 1.0 if self._node.database_up else 0.0)
        loops = (self._sweep_loop, self._beat_loop, self._note_loop, self._look_again_loop, self._expire_loop)
        self._greenlets = [gevent.spawn(loop) for loop in loops]

    def stop(self) -> None:
        gevent.killall(self._greenlets, block=False)

    def channel_up(self) -> None:
        """The others took our robots for gone while the channel was down."""
        self._node.guarded(self._node.presence.beat)
        self._node.guarded(self.look_again)
        self._node.guarded(self.resync)
        self._announce_robots()
        gevent.sleep(OTHERS_UP_S)  # who was not back yet has not heard it, nor we of them
        self._node.guarded(self.resync)
        self._announce_robots()

    def _announce_robots(self) -> None:
        for link in list(self._node.robots.values()):
            self._node.announce(link, True)

    def resync(self) -> None:
        """Make Redis and this worker agree: after Redis was away, and now and then. Blocks."""
        with self._resyncing:
            self._node.presence.beat()
            self._renew_claims()
            self._locate_robots()
            self._look_who_looks()

    def look_again(self) -> None:
        """Read anew who may use what, in case news of it was lost with Redis, or came from the command line. Blocks."""
        node = self._node
        users = sorted({*node.users, *(session.user_id for session in node.video.values())})
        for chunk in _chunks(users):
            heard = node.access.news.copy()
            present = node.store.accounts(chunk)
            for user_id in chunk:
                account = present.get(user_id)
                node.access.user_ended(user_id, None if account is None else account.token_version)
                if node.access.news[user_id] == heard[user_id]:
                    node.access.set_roles(user_id, {} if account is None else account.roles)
        for chunk in _chunks(sorted(node.robots)):
            heard = node.access.news.copy()
            members = node.store.members_of_all(chunk)
            for device_id in chunk:
                if node.access.news[device_id] == heard[device_id]:
                    node.access.set_members(device_id, members.get(device_id, {}))

    def _look_again_loop(self) -> None:
        last_s = time.monotonic()
        while True:
            gevent.sleep(RESYNC_S)
            if not self._node.fanout.up or time.monotonic() - last_s >= LOOK_AGAIN_S:
                last_s = time.monotonic()
                self._node.guarded(self.look_again)

    def _expire_loop(self) -> None:
        while True:
            self._node.guarded(self._expire)
            gevent.sleep(EXPIRE_S)

    def _expire(self) -> None:
        store = self._node.store
        while True:
            deleted = store.expire_events(self._node.settings.retention_days)
            self._node.metrics.count("wimz_relay_events_expired_total", by=deleted)
            if deleted < EXPIRE_BATCH:
                break
            gevent.sleep(EXPIRE_PAUSE_S)
        store.expire_codes()

    def _renew_claims(self) -> None:
        node = self._node
        if node.users:
            node.presence.join(list(node.users))
        others = node.presence.renew({device_id: link.claim for device_id, link in node.robots.items()})
        for device_id, other in others.items():
            link = node.robots.get(device_id)
            if link is not None and other != link.claim and other.since_ms >= link.claim.since_ms:
                node.superseded(link)

    def _locate_robots(self) -> None:
        """Of all accounts that are here, and of video sessions whose app has just gone."""
        node = self._node
        wanted = {device_id for session in node.apps.values() for device_id in session.sender.roles}
        wanted |= {device_id for session in node.video.values() for device_id in session.sender.webrtc.values()}
        for device_id in set(node.places.located) - wanted:
            del node.places.located[device_id]
        node.places.locate(sorted(wanted))

    def _look_who_looks(self) -> None:
        node = self._node
        members = sorted({user_id for link in node.robots.values() for user_id in link.members})
        audience = node.presence.audience(members)
        alive = node.presence.alive(worker for workers in audience.values() for worker in workers)
        known = {user_id: workers & alive for user_id, workers in audience.items()}
        for link in node.robots.values():
            link.set_audience(node.with_local(link, known))

    def _beat_loop(self) -> None:
        last_resync_s = time.monotonic()
        while True:
            self._node.guarded(self._beat)
            if time.monotonic() - last_resync_s >= RESYNC_S and self._node.fanout.up:
                last_resync_s = time.monotonic()
                self._node.guarded(self.resync)
            gevent.sleep(BEAT_S)

    def _note_loop(self) -> None:
        """Apart from the beat, which must not wait for PostgreSQL."""
        while True:
            gevent.sleep(NOTE_S)
            self._node.guarded(self._note_robots)

    def _note_robots(self) -> None:
        up = False
        try:
            self._node.store.ping()
            up = True
        finally:
            self._node.database_up = up
        self._node.last_seen.write()

    def _beat(self) -> None:
        node = self._node
        node.presence.beat()
        node.fanout.echo()
        others = {
            *node.places.located.values(),
            *(worker for link in node.robots.values() for worker in link.watchers()),
        }
        others.discard(node.worker)
        for worker in others - node.presence.alive(others):
            node.worker_gone(worker)
        key = metrics_key(node.settings.instance, node.worker)
        node.redis.set(key, msgspec.json.encode(node.metrics.samples()), ex=METRICS_TTL_S)

    def _sweep_loop(self) -> None:
        settings = self._node.settings
        every_s = min(1.0, settings.robot_timeout_s / 4, settings.app_timeout_s / 4, (settings.ping_every_s or 4) / 4)
        lag_s = self._node.metrics.histogram("wimz_relay_lag_seconds")
        while True:
            due_s = time.monotonic() + every_s
            gevent.sleep(every_s)
            lag_s.observe(max(0.0, time.monotonic() - due_s))
            self._node.guarded(self._sweep)

    def _sweep(self) -> None:
        now, wall = time.monotonic(), time.time()
        for connection in list(self._node.connections):
            connection.sweep(now)
        for session in list(self._node.apps.values()):
            if session.expires_at < wall:
                session.connection.send(routing.error_frame(refused_token()))
                session.connection.close(CLOSE_AUTH_FAILED, "the token has expired")
