"""One worker: its connections, what they send each other, and its place among the other workers."""

from __future__ import annotations

import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from math import inf
from typing import Any

import gevent
import redis
from gevent.lock import BoundedSemaphore

from contract import commands, frames
from contract.errors import ContractError
from contract.frames import (
    CLOSE_AUTH_FAILED,
    CLOSE_HEARTBEAT_LOST,
    CLOSE_RESTARTING,
    CLOSE_SUPERSEDED,
    CLOSE_TOO_LARGE,
    CLOSE_TOO_SLOW,
)
from contract.units import Role
from contract.validate import encode
from relay import routing
from relay.apps import AppSession, offline
from relay.config import Settings
from relay.connection import Connection
from relay.eventlog import EventLog
from relay.fanout import Envelope, Fanout
from relay.flusher import Flusher
from relay.lastseen import LastSeen
from relay.limits import Limits
from relay.lookups import Lookups
from relay.metrics import Metrics, Tally
from relay.peers import Peers
from relay.presence import Arrival, Claim, Presence, connect
from relay.robots import RobotLink
from relay.routing import Signal, ToRobot
from relay.store import EventRow, NewEvent, Store
from relay.turn import IceSource
from relay.upkeep import Upkeep
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

log = logging.getLogger(__name__)

SESSION_GRACE_S = 6.0
"""How long a video session outlives the socket of its app (contract)."""
DRAIN_S = 1.0
ADMISSIONS_AT_ONCE = 128
"""How many are let in at the same time: as many as are looked up together."""
READING_AT_ONCE = 3
"""Pages of history read at a time for apps that catch up, so that the database pool has room for all else."""
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
        peers = Peers(self)
        self._upkeep = Upkeep(self)
        self.fanout = Fanout(
            settings.redis_url, self.worker, self.metrics, peers.receive, peers.lost, self._upkeep.channel_up
        )
        self.events: EventLog[tuple[RobotLink, bytes]] = EventLog(store, self._stored, self.metrics)
        self.apps: dict[str, AppSession] = {}
        self.users: dict[str, dict[str, AppSession]] = {}
        self.robots: dict[str, RobotLink] = {}
        self.video: dict[str, AppSession] = {}
        self.located: dict[str, str] = {}  # robots of the accounts that are here -> worker
        self.news: Counter[str] = Counter()  # changes of access heard of, of accounts and robots that are here
        self.reading = BoundedSemaphore(READING_AT_ONCE)
        self.draining = False
        self.database_up = True  # until a look at it says otherwise
        self._flusher: Flusher | None = None
        self._tallies = {"app": Tally(), "robot": Tally(), "new": Tally()}
        self.connections: set[Connection] = set()
        self._numbers = 0
        self._locating = 0
        self._moved: set[str] = set()  # robots that came or went while others were being located
        for kind, tally in self._tallies.items():
            self._watch_tally(kind, tally)

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
        step = max(1, len(connections) // 20)
        for start in range(0, len(connections), step):
            for connection in connections[start : start + step]:
                connection.close(CLOSE_RESTARTING, "the relay restarts: connect again")
            gevent.sleep(DRAIN_S / 20)
        gevent.sleep(0.05)  # for the last replies of the closing handshake, and the farewells in Redis
        try:
            self.presence.end()
        except redis.RedisError as error:
            log.warning("cannot say farewell in Redis: %s", error)
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
            session.sender.set_roles(self._fresh(session.user_id, roles))
        except ContractError:
            self._forget_app(session)
            raise
        try:
            self.locate(list(session.sender.roles))
        except redis.RedisError as error:
            log.warning("an app signs in while Redis is away: %s", error)
        session.ready = True
        session.connection.send(encode(frames.AuthResult(success=True, user_id=session.user_id)))
        for device_id in session.sender.roles:
            self._tell_status(session, device_id)
        for device_id in session.sender.roles:
            self._watch(device_id, session.user_id, True)

    def app_gone(self, session: AppSession, code: int) -> None:
        """What it drove stops at once; its video ends later, unless it is this worker that goes."""
        self.connections.discard(session.connection)
        self._forget_app(session)
        for device_id in session.drove | set(session.sender.webrtc.values()):
            self.to_robot(device_id, encode(frames.SessionEnded(session=session.id)))
        if session.sender.webrtc and code != CLOSE_RESTARTING:
            gevent.spawn_later(SESSION_GRACE_S, self._end_videos, session)

    def _forget_app(self, session: AppSession) -> None:
        self.apps.pop(session.id, None)
        mine = self.users.get(session.user_id, {})
        mine.pop(session.id, None)
        if mine:
            return
        self.users.pop(session.user_id, None)
        self.news.pop(session.user_id, None)
        for device_id in session.sender.roles:
            self._watch(device_id, session.user_id, False)
        if not self.draining and not session.sender.webrtc:  # else its video is to hear of changes still
            self.spawn(self._user_left, session.user_id)

    def _user_left(self, user_id: str) -> None:
        if user_id not in self.users:
            self.presence.leave(user_id)

    def _end_videos(self, session: AppSession) -> None:
        for session_id, device_id in list(session.sender.webrtc.items()):
            session.end_video(session_id)
            self.to_robot(device_id, encode(frames.WebrtcClose(session_id=session_id, reason="the app is gone")))
        if not self.draining:
            self.spawn(self._user_left, session.user_id)

    def _tell_status(self, session: AppSession, device_id: str) -> None:
        role = session.sender.roles.get(device_id)
        if role is not None:
            session.tell(routing.device_status(device_id, device_id in self.located, datetime.now(UTC), role))

    def _watch(self, device_id: str, user_id: str, on: bool) -> None:
        link = self.robots.get(device_id)
        if link is not None:
            link.watch(user_id, self.worker, on)
        elif (worker := self.located.get(device_id)) is not None:
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
        self.news.pop(link.device_id, None)
        if self.located.get(link.device_id) == self.worker:
            self.place(link.device_id, None)
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
            self.place(link.device_id, self.worker)
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

    def place(self, device_id: str, worker: str | None) -> None:
        """Heed where a robot is; apps hear of it when it came or went."""
        if self._locating:
            self._moved.add(device_id)
        before = self.located.pop(device_id, None)
        if worker is not None:
            self.located[device_id] = worker
        if (before is None) == (worker is None):
            return
        link = self.robots.get(device_id)
        users = self.users if link is None else [user_id for user_id in link.members if user_id in self.users]
        for user_id in list(users):
            for session in list(self.users[user_id].values()):
                if device_id in session.sender.roles:
                    self._tell_status(session, device_id)

    # -- between them -----------------------------------------------------------------------------

    def command(self, session: AppSession, action: ToRobot) -> None:
        """Send an app's command to its robot, wherever that is."""
        link = self.robots.get(action.device_id)
        if link is not None:
            error = link.refusal(session.user_id, commands.find(action.command))
            if error is None:
                link.command(session.id, action.payload, action.key, action.urgent, action.id)
            else:
                self.refuse_command(session.id, action.device_id, action.command, action.id, error)
            return
        worker = self.located.get(action.device_id)
        if worker is None:
            self.refuse_command(session.id, action.device_id, action.command, action.id, offline(action.device_id))
            return
        envelope = Envelope(
            "command",
            action.device_id,
            session.id,
            action.payload,
            action.key,
            action.urgent,
            action.id,
            action.command,
            session.user_id,
        )
        self.fanout.send(worker, envelope)

    def refuse_command(
        self, session_id: str, device_id: str, command: str, id: str | int | None, error: ContractError
    ) -> None:
        """Tell an app session that its command was not carried out."""
        self.metrics.count("wimz_relay_refused_total", f'code="{error.code}"')
        self.to_session(session_id, "", routing.refusal(error, command, id, device_id))

    def to_robot(self, device_id: str, payload: bytes) -> bool:
        """Send a frame to a robot, wherever it is; False when it is nowhere."""
        link = self.robots.get(device_id)
        if link is not None:
            link.connection.send(payload)
            return True
        worker = self.located.get(device_id)
        if worker is None:
            return False
        self.fanout.send(worker, Envelope("to_robot", device_id, payload=payload))
        return True

    def to_session(self, session_id: str, device_id: str, payload: bytes) -> None:
        """Send to an app session, wherever that is; what is about a robot only while it may use the robot."""
        session = self.apps.get(session_id)
        if session is not None:
            if not device_id or device_id in session.sender.roles:
                session.tell(payload)
            return
        worker = session_id.partition(".")[0]
        if worker == self.worker:
            self.metrics.count("wimz_relay_dropped_total", 'reason="session_gone"')
        else:
            self.fanout.send(worker, Envelope("to_session", session_id, device_id, payload))

    def to_user(self, worker: str, user_id: str, device_id: str, payload: bytes, seq: int | None = None) -> None:
        """Send something about a robot to an account's app sessions of one worker; `seq` of a stored event."""
        if worker != self.worker:
            self.fanout.send(worker, Envelope("to_user", user_id, device_id, payload, id=seq))
            return
        for session in list(self.users.get(user_id, {}).values()):
            if device_id not in session.sender.roles:
                continue
            if seq is None:
                session.tell(payload)
            else:
                session.tell_event(device_id, seq, payload)

    def signal(self, device_id: str, action: Signal) -> None:
        """Hand a robot's signalling frame to the app that the session belongs to."""
        session = self.video.get(action.session_id)
        if session is not None:
            if not session.from_robot(device_id, action):
                self.metrics.count("wimz_relay_dropped_total", 'reason="foreign_session"')
            return
        worker = action.session_id.partition(".")[0]
        if worker == self.worker or worker == action.session_id:
            self.metrics.count("wimz_relay_dropped_total", 'reason="session_gone"')
        else:
            envelope = Envelope("signal", device_id, action.session_id, action.payload, flag=action.ends)
            self.fanout.send(worker, envelope)

    def _stored(self, mark: tuple[RobotLink, bytes], event: NewEvent, row: EventRow | None) -> None:
        """An event is in the database: the robot may forget it, and apps hear of it, once."""
        link, payload = mark
        present = self.robots.get(link.device_id, link)
        present.tell(frames.EventAck(ids=[event.id]))
        if row is not None:
            present.to_audience(routing.added(payload, b'"seq":%d' % row.seq), row.seq)

    # -- who may use what -------------------------------------------------------------------------

    def access_changed(self, device_id: str, user_ids: Iterable[str]) -> None:
        """These accounts have another role with a robot, or none any more: everybody concerned looks again. Blocks."""
        self.device_changed(device_id)
        for user_id in user_ids:
            self._tell_workers_of(user_id, Envelope("user_changed", user_id))
            self.user_changed(user_id)
        try:
            where = self.presence.locate([device_id]).get(device_id, self.worker)
        except redis.RedisError as error:
            log.warning("access changes while Redis is away: %s", error)
            return
        if where != self.worker:
            self.fanout.send(where, Envelope("device_changed", device_id))

    def _tell_workers_of(self, user_id: str, envelope: Envelope) -> None:
        try:
            workers = self.presence.audience([user_id])[user_id]
        except redis.RedisError as error:
            log.warning("an account changes while Redis is away: %s", error)
            return
        for worker in workers - {self.worker}:
            self.fanout.send(worker, envelope)

    def end_user(self, user_id: str, token_version: int, device_ids: Iterable[str]) -> None:
        """The account's tokens have ended: so do its sockets and its video, on every worker. Blocks.

        Args:
            token_version: that of its new tokens.
            device_ids: its robots, which end what they have of it, whoever else has gone.
        """
        self._tell_workers_of(user_id, Envelope("user_ended", user_id, id=token_version))
        self.user_ended(user_id, token_version)
        try:
            self.locate_for(list(device_ids), encode(frames.AccessChanged(user_id=user_id)))
        except redis.RedisError as error:
            log.warning("an account signs out while Redis is away: %s", error)

    def locate_for(self, device_ids: list[str], payload: bytes) -> None:
        """Send a frame to robots that may be on any worker. Blocks."""
        elsewhere = self.presence.locate([device_id for device_id in device_ids if device_id not in self.robots])
        for device_id in device_ids:
            if device_id in self.robots:
                self.robots[device_id].connection.send(payload)
            elif elsewhere.get(device_id, self.worker) != self.worker:
                self.fanout.send(elsewhere[device_id], Envelope("to_robot", device_id, payload=payload))

    def user_ended(self, user_id: str, token_version: int | None) -> None:
        """Close what this worker has of an account by older tokens; by any when the account is gone (None)."""
        for session in self._sessions_of(user_id):
            if token_version is None or session.token_version < token_version:
                session.sign_out()

    def _sessions_of(self, user_id: str) -> list[AppSession]:
        """An account's app sessions, with those whose socket is gone and whose video is not."""
        here = list(self.users.get(user_id, {}).values())
        gone = {session.id: session for session in self.video.values() if session.user_id == user_id}
        return here + [session for session in gone.values() if session not in here]

    def device_changed(self, device_id: str) -> None:
        """Others may use a robot now: if it is here, look again and tell it. Blocks."""
        if device_id in self.robots:
            self.news[device_id] += 1
            self.set_members(device_id, self._fresh(device_id, lambda: self.lookups.members.get(device_id) or {}))

    def set_members(self, device_id: str, members: dict[str, Role]) -> None:
        """Heed who may use a robot that is here. Blocks."""
        link = self.robots.get(device_id)
        if link is None or link.members == members:
            return
        paired = bool(link.members)
        link.set_members(members)
        if bool(members) != paired:
            link.show_code()
        audience: dict[str, set[str]] = {}
        try:
            audience = self.presence.audience(list(link.members))
        finally:
            link.set_audience(self.with_local(link, audience))
        self.announce(link, True)

    def user_changed(self, user_id: str) -> None:
        """An account's robots or roles are others: look again and tell its apps. Blocks."""
        if self._sessions_of(user_id):
            self.news[user_id] += 1
            self.set_roles(user_id, self._fresh(user_id, lambda: self.store.roles_of(user_id)))

    def _fresh(self, about: str, read: Callable[[], dict[str, Role]]) -> dict[str, Role]:
        """What is read when no news comes while it is: of two that read at once, the older must not win. Blocks."""
        while True:
            heard = self.news[about]
            found = read()
            if self.news[about] == heard:
                return found

    def set_roles(self, user_id: str, roles: dict[str, Role]) -> None:
        """Heed what an account may use. What a lost role had open ends before anything else. Blocks."""
        changed = [session for session in self._sessions_of(user_id) if session.sender.roles != roles]
        news = {session.id: session.roles_changed(dict(roles)) for session in changed}
        if not changed:
            return
        try:
            self.locate(list(roles))
        finally:
            for session in changed:
                for device_id in news[session.id]:
                    self._tell_status(session, device_id)
                    self._watch(device_id, user_id, True)

    # -- other workers ----------------------------------------------------------------------------

    def superseded(self, link: RobotLink) -> None:
        """Another worker has a newer connection of this robot."""
        del self.robots[link.device_id]
        link.connection.close(CLOSE_SUPERSEDED, "a newer connection of this robot")

    def worker_gone(self, worker: str) -> None:
        """Nothing of what a worker had is there any more."""
        for device_id in [device for device, where in self.located.items() if where == worker]:
            self.place(device_id, None)
        for link in self.robots.values():
            for user_id in [user_id for user_id, workers in link.audience.items() if worker in workers]:
                link.watch(user_id, worker, False)

    # -- where robots are --------------------------------------------------------------------------

    def locate(self, device_ids: list[str]) -> None:
        """Look up where these robots are; news that come meanwhile are newer than what is found. Blocks."""
        remote = [device_id for device_id in device_ids if device_id not in self.robots]
        self._locating += 1
        try:
            found = self.lookups.places.get_all(remote)
            moved = set(self._moved)
        finally:
            self._locating -= 1
            if not self._locating:
                self._moved.clear()
        for device_id in device_ids:
            if device_id in self.robots:
                self.place(device_id, self.worker)
            elif device_id not in moved:
                worker = found.get(device_id)
                self.place(device_id, worker if worker != self.worker else None)

    def online(self, device_ids: Iterable[str]) -> set[str]:
        """Which of the robots are there. Blocks."""
        asked = list(device_ids)
        here = {device_id for device_id in asked if device_id in self.robots}
        elsewhere = [device_id for device_id in asked if device_id not in here]
        try:
            found = self.lookups.places.get_all(elsewhere)
        except redis.RedisError as error:
            log.warning("presence of this worker only: %s", error)
            return here | {device_id for device_id in elsewhere if device_id in self.located}
        return here | {device_id for device_id, worker in found.items() if worker != self.worker}

    def _watch_tally(self, kind: str, tally: Tally) -> None:
        label = f'kind="{kind}"'
        self.metrics.gauge("wimz_relay_connections", lambda: tally.open, label)
        self.metrics.gauge("wimz_relay_queued_bytes", lambda: tally.queued_bytes, label)
        self.metrics.gauge("wimz_relay_messages_in_total", lambda: tally.received, label)
        self.metrics.gauge("wimz_relay_messages_out_total", lambda: tally.sent, label)
        self.metrics.gauge("wimz_relay_dropped_total", lambda: tally.dropped_motion, f'reason="late_motion",{label}')
        for code in CLOSE_CODES:
            closed = partial(tally.closed_with, code)
            self.metrics.gauge("wimz_relay_closed_total", closed, f'code="{code}",{label}')
