"""One worker: who is connected to it, and how it begins and ends.

Who may use what is in `access`, what goes from one to another in `delivery`, where robots are in `places`.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from math import inf
from typing import Any

import gevent
import redis
from gevent.lock import BoundedSemaphore

from contract import frames
from contract.errors import ContractError
from contract.frames import (
    CLOSE_RESTARTING,
    CLOSE_SUPERSEDED,
)
from contract.units import Role
from contract.validate import encode
from relay import routing
from relay.access import Access
from relay.apps import AppSession
from relay.config import Settings
from relay.connection import Connection
from relay.delivery import Delivery
from relay.eventlog import EventLog
from relay.fanout import Envelope, Fanout
from relay.flusher import Flusher
from relay.lastseen import LastSeen
from relay.limits import Limits
from relay.lookups import Lookups
from relay.metrics import Metrics, Tally, show_tally
from relay.peers import Peers
from relay.places import Places
from relay.presence import Arrival, Claim, Presence, connect
from relay.robots import RobotLink
from relay.store import Store
from relay.turn import IceSource
from relay.upkeep import Upkeep

log = logging.getLogger(__name__)

SESSION_GRACE_S = 6.0
"""How long a video session outlives the socket of its app (contract)."""
DRAIN_S = 1.0
DRAIN_TOGETHER = 20
ADMISSIONS_AT_ONCE = 128
"""How many are let in at the same time: as many as are looked up together."""
READING_AT_ONCE = 3
"""Pages of history read at a time for apps that catch up, so that the database pool has room for all else."""


class Node:
    """What one worker knows and does. Methods marked "Blocks" are for greenlets, all others for the hub.

    Args:
        settings: the relay's.
        store: the database.
        ice: where ICE servers come from.
    """

    def __init__(self, settings: Settings, store: Store, ice: IceSource) -> None:
        self.settings = settings
        self.store = store
        self.ice = ice
        self.worker = secrets.token_hex(5)
        self.metrics = Metrics()
        self.redis = connect(settings.redis_url)
        self.limits = Limits(self.redis)
        self.last_seen = LastSeen(store)
        self.admissions = BoundedSemaphore(ADMISSIONS_AT_ONCE)
        self.presence = Presence(self.redis, self.worker, time.time)
        self.lookups = Lookups(store, self.limits, self.presence)
        self.places = Places(self)
        self.access = Access(self)
        self.delivery = Delivery(self)
        peers = Peers(self)
        self._upkeep = Upkeep(self)
        self.fanout = Fanout(
            settings.redis_url, self.worker, self.metrics, peers.receive, peers.lost, self._upkeep.channel_up
        )
        self.events: EventLog[tuple[RobotLink, bytes]] = EventLog(store, self.delivery.stored, self.metrics)
        self.apps: dict[str, AppSession] = {}
        self.users: dict[str, dict[str, AppSession]] = {}
        self.robots: dict[str, RobotLink] = {}
        self.video: dict[str, AppSession] = {}
        self.reading = BoundedSemaphore(READING_AT_ONCE)
        self.draining = False
        self.database_up = True  # until a look at it says otherwise
        self._flusher: Flusher | None = None
        self._tallies = {"app": Tally(), "robot": Tally(), "new": Tally()}
        self.connections: set[Connection] = set()
        self._numbers = 0
        for kind, tally in self._tallies.items():
            show_tally(self.metrics, kind, tally)

    # -- life -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin: connect to Redis and Postgres, sweep, beat."""
        self.store.open()
        self.fanout.start()
        self.events.start()
        self._upkeep.start()

    def drain(self) -> None:
        """Close every connection with 1012, spread over a second; then let go of everything. Blocks."""
        if self.draining:
            return
        self.draining = True
        connections = list(self.connections)
        log.info("draining %d connections", len(connections))
        began_s = time.monotonic()
        for index, connection in enumerate(connections):
            if index % DRAIN_TOGETHER == 0:
                gevent.sleep(max(0.0, began_s + DRAIN_S * index / len(connections) - time.monotonic()))
            connection.dismiss(CLOSE_RESTARTING, "the relay restarts: connect again")
        gevent.sleep(0.05)  # for what sockets have not taken yet, and the farewells in Redis
        try:
            self.presence.end()
        except redis.RedisError as error:
            log.warning("cannot say farewell in Redis: %s", error)
        self.guarded(self.last_seen.write)
        self.fanout.stop()
        self.events.stop()
        self._upkeep.stop()

    def spawn(self, work: Callable[..., Any], *arguments: Any) -> None:
        """Run something that blocks, outside the hub."""
        gevent.spawn(self.guarded, work, *arguments)

    def guarded(self, work: Callable[..., Any], *arguments: Any) -> None:
        try:
            work(*arguments)
        except (ContractError, redis.RedisError) as error:
            log.warning("%s: %s", getattr(work, "__qualname__", work), error)
        except Exception:
            # The boundary of a greenlet: nobody above would hear of it.
            log.exception("%s failed", getattr(work, "__qualname__", work))
            self.metrics.count("wimz_relay_failures_total", 'place="greenlet"')

    # -- connections ------------------------------------------------------------------------------

    def connection(self, sock: Any, kind: str) -> Connection:
        """A connection of ours on a socket whose handshake is over."""
        if self._flusher is None:
            self._flusher = Flusher(
                self.metrics.histogram("wimz_relay_turn_seconds"), self.settings.ping_every_s or inf
            )
        timeout_s = self.settings.robot_timeout_s if kind == "robot" else self.settings.app_timeout_s
        connection = Connection(sock, self._flusher, self._tallies[kind], timeout_s)
        self.connections.add(connection)
        return connection

    def become(self, connection: Connection, kind: str) -> None:
        """A connection that came without a kind (on `/ws`) has said what it is."""
        timeout_s = self.settings.robot_timeout_s if kind == "robot" else self.settings.app_timeout_s
        connection.become(self._tallies[kind], timeout_s)

    def forget(self, connection: Connection) -> None:
        """A connection was not let in."""
        self.connections.discard(connection)

    def next_claim(self) -> Claim:
        self._numbers += 1
        return Claim(self.worker, self._numbers, int(time.time() * 1000))

    def session_id(self) -> str:
        """A name for an app session that says which worker has it."""
        return f"{self.worker}.{secrets.token_urlsafe(9)}"

    # -- apps -------------------------------------------------------------------------------------

    def add_app(self, session: AppSession, roles: Callable[[], dict[str, Role]]) -> None:
        """Take in an app that has signed in: tell the others, then tell it how its robots are. Blocks.

        Args:
            roles: checks the account and reads its roles, once it is known here that somebody needs to hear of changes.

        Raises:
            ContractError: what `roles` does; the app is not taken in then.
        """
        mine = self.users.setdefault(session.user_id, {})
        first = not mine
        mine[session.id] = session
        self.apps[session.id] = session
        try:
            if first:
                self.lookups.joined.get(session.user_id)
        except redis.RedisError as error:
            log.warning("an app signs in while Redis is away: %s", error)
        try:
            session.sender.set_roles(self.access.fresh(session.user_id, roles))
        except ContractError:
            self._forget_app(session)
            raise
        try:
            self.places.locate(list(session.sender.roles))
        except redis.RedisError as error:
            log.warning("an app signs in while Redis is away: %s", error)
        session.ready = True
        session.connection.send(encode(frames.AuthResult(success=True, user_id=session.user_id)))
        for device_id in session.sender.roles:
            self.tell_status(session, device_id)
        for device_id in session.sender.roles:
            self.watch(device_id, session.user_id, True)

    def app_gone(self, session: AppSession, code: int) -> None:
        """What it drove stops at once; its video ends later, unless it is this worker that goes."""
        self.connections.discard(session.connection)
        self._forget_app(session)
        for device_id in session.drove | set(session.sender.webrtc.values()):
            self.delivery.to_robot(device_id, encode(frames.SessionEnded(session=session.id)))
        if session.sender.webrtc and code != CLOSE_RESTARTING:
            gevent.spawn_later(SESSION_GRACE_S, self._end_videos, session)

    def _forget_app(self, session: AppSession) -> None:
        self.apps.pop(session.id, None)
        mine = self.users.get(session.user_id, {})
        mine.pop(session.id, None)
        if mine:
            return
        self.users.pop(session.user_id, None)
        self.access.news.pop(session.user_id, None)
        if self.draining:
            return
        for device_id in session.sender.roles:
            self.watch(device_id, session.user_id, False)
        if not session.sender.webrtc:  # else its video is to hear of changes still
            self.spawn(self._user_left, session.user_id)

    def _user_left(self, user_id: str) -> None:
        if user_id not in self.users:
            self.presence.leave(user_id)

    def _end_videos(self, session: AppSession) -> None:
        for session_id, device_id in list(session.sender.webrtc.items()):
            session.end_video(session_id)
            close = encode(frames.WebrtcClose(session_id=session_id, reason="the app is gone"))
            self.delivery.to_robot(device_id, close)
        if not self.draining:
            self.spawn(self._user_left, session.user_id)

    def tell_status(self, session: AppSession, device_id: str) -> None:
        """Tell an app whether a robot is there."""
        role = session.sender.roles.get(device_id)
        if role is not None:
            session.tell(routing.device_status(device_id, device_id in self.places.located, datetime.now(UTC), role))

    def watch(self, device_id: str, user_id: str, on: bool) -> None:
        """Tell the robot's worker that this one has apps of an account, or has none any more."""
        link = self.robots.get(device_id)
        if link is not None:
            link.watch(user_id, self.worker, on)
        elif (worker := self.places.located.get(device_id)) is not None:
            self.fanout.send(worker, Envelope("watch", device_id, user_id, flag=on, name=self.worker))

    # -- robots -----------------------------------------------------------------------------------

    def add_robot(self, link: RobotLink) -> None:
        """Take in a robot that has shown its signature; its older socket is superseded. Blocks."""
        older = self.robots.get(link.device_id)
        self.robots[link.device_id] = link
        if older is not None:
            older.connection.close(CLOSE_SUPERSEDED, "a newer connection of this robot")
        audience: dict[str, set[str]] = {}
        try:
            welcome = self.lookups.arrivals.get(Arrival(link.device_id, link.claim, tuple(link.members)))
            assert welcome is not None
            before, audience = welcome
            if before is not None and before.worker != self.worker:
                self.fanout.send(before.worker, Envelope("supersede", link.device_id, id=before.connection))
        except redis.RedisError as error:
            log.warning("a robot connects while Redis is away: %s", error)
        link.set_audience(self.with_local(link, audience))
        self.announce(link, True)

    def robot_gone(self, link: RobotLink, code: int) -> None:
        self.connections.discard(link.connection)
        if self.robots.get(link.device_id) is not link:
            return  # superseded: the robot is there
        del self.robots[link.device_id]
        self.access.news.pop(link.device_id, None)
        if self.draining:  # with the worker goes what it had: nobody waits for thousands of farewells
            self.last_seen.note(link.device_id)
            return
        if self.places.located.get(link.device_id) == self.worker:
            self.places.place(link.device_id, None)
        self.spawn(self._robot_left, link)

    def _robot_left(self, link: RobotLink) -> None:
        try:
            released = self.presence.release(link.device_id, link.claim)
        except redis.RedisError:
            released = True
        if released and link.device_id not in self.robots:
            self.announce(link, False)
        self.last_seen.note(link.device_id)

    def announce(self, link: RobotLink, online: bool) -> None:
        """Tell every worker that has apps for the robot where it is."""
        if online:
            self.places.place(link.device_id, self.worker)
        news = {
            worker: Envelope("presence", user_id, link.device_id, flag=online, name=self.worker)
            for user_id, workers in link.audience.items()
            for worker in workers
            if worker != self.worker
        }
        for worker, envelope in news.items():
            self.fanout.send(worker, envelope)

    def with_local(self, link: RobotLink, audience: dict[str, set[str]]) -> dict[str, set[str]]:
        result = {}
        for user_id in link.members:
            others = audience.get(user_id, set()) - {self.worker}
            result[user_id] = others | ({self.worker} if user_id in self.users else set())
        return result

    # -- other workers ----------------------------------------------------------------------------

    def superseded(self, link: RobotLink) -> None:
        """Another worker has a newer connection of this robot."""
        del self.robots[link.device_id]
        link.connection.close(CLOSE_SUPERSEDED, "a newer connection of this robot")

    def worker_gone(self, worker: str) -> None:
        """Nothing of what a worker had is there any more."""
        for device_id in [device for device, where in self.places.located.items() if where == worker]:
            self.places.place(device_id, None)
        for link in self.robots.values():
            for user_id in [user_id for user_id, workers in link.audience.items() if worker in workers]:
                link.watch(user_id, worker, False)
