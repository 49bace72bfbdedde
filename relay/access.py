"""Who may use what, and what ends when that changes: a role given or taken away, a sign-out, an account deleted."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import redis

from contract import frames
from contract.units import Role
from contract.validate import encode
from relay.apps import AppSession
from relay.fanout import Envelope

if TYPE_CHECKING:
    from relay.node import Node

log = logging.getLogger(__name__)


class Access:
    """A worker's. `changed` and `end_user` are for where a change is made; they tell all workers concerned.

    Attributes:
        news: how many changes were heard of, of each account and robot that is here.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self.news: Counter[str] = Counter()

    def changed(self, device_id: str, user_ids: Iterable[str]) -> None:
        """These accounts have another role with a robot, or none any more: everybody concerned looks again. Blocks."""
        self.device_changed(device_id)
        for user_id in user_ids:
            self._tell_workers_of(user_id, Envelope("user_changed", user_id))
            self.user_changed(user_id)
        try:
            where = self._node.presence.locate([device_id]).get(device_id, self._node.worker)
        except redis.RedisError as error:
            log.warning("access changes while Redis is away: %s", error)
            return
        if where != self._node.worker:
            self._node.fanout.send(where, Envelope("device_changed", device_id))

    def _tell_workers_of(self, user_id: str, envelope: Envelope) -> None:
        try:
            workers = self._node.presence.audience([user_id])[user_id]
        except redis.RedisError as error:
            log.warning("an account changes while Redis is away: %s", error)
            return
        for worker in workers - {self._node.worker}:
            self._node.fanout.send(worker, envelope)

    def end_user(self, user_id: str, token_version: int, device_ids: Iterable[str]) -> None:
        """The account's tokens have ended: so do its sockets and its video, on every worker. Blocks.

        Args:
            token_version: that of its new tokens.
            device_ids: its robots, which end what they have of it, whoever else has gone.
        """
        self._tell_workers_of(user_id, Envelope("user_ended", user_id, id=token_version))
        self.user_ended(user_id, token_version)
        try:
            self._tell_robots(list(device_ids), encode(frames.AccessChanged(user_id=user_id)))
        except redis.RedisError as error:
            log.warning("an account signs out while Redis is away: %s", error)

    def _tell_robots(self, device_ids: list[str], payload: bytes) -> None:
        """Send a frame to robots that may be on any worker. Blocks."""
        elsewhere = self._node.presence.locate(
            [device_id for device_id in device_ids if device_id not in self._node.robots]
        )
        for device_id in device_ids:
            if device_id in self._node.robots:
                self._node.robots[device_id].connection.send(payload)
            elif elsewhere.get(device_id, self._node.worker) != self._node.worker:
                self._node.fanout.send(elsewhere[device_id], Envelope("to_robot", device_id, payload=payload))

    def user_ended(self, user_id: str, token_version: int | None) -> None:
        """Close what this worker has of an account by older tokens; by any when the account is gone (None)."""
        for session in self._sessions_of(user_id):
            if token_version is None or session.token_version < token_version:
                session.sign_out()

    def _sessions_of(self, user_id: str) -> list[AppSession]:
        """An account's app sessions, with those whose socket is gone and whose video is not."""
        here = list(self._node.users.get(user_id, {}).values())
        gone = {session.id: session for session in self._node.video.values() if session.user_id == user_id}
        return here + [session for session in gone.values() if session not in here]

    def device_changed(self, device_id: str) -> None:
        """Others may use a robot now: if it is here, look again and tell it. Blocks."""
        if device_id in self._node.robots:
            self.news[device_id] += 1
            self.set_members(device_id, self.fresh(device_id, lambda: self._node.lookups.members.get(device_id) or {}))

    def set_members(self, device_id: str, members: dict[str, Role]) -> None:
        """Heed who may use a robot that is here. Blocks."""
        link = self._node.robots.get(device_id)
        if link is None or link.members == members:
            return
        paired = bool(link.members)
        link.set_members(members)
        if bool(members) != paired:
            link.show_code()
        audience: dict[str, set[str]] = {}
        try:
            audience = self._node.presence.audience(list(link.members))
        finally:
            link.set_audience(self._node.with_local(link, audience))
        self._node.announce(link, True)

    def user_changed(self, user_id: str) -> None:
        """An account's robots or roles are others: look again and tell its apps. Blocks."""
        if self._sessions_of(user_id):
            self.news[user_id] += 1
            self.set_roles(user_id, self.fresh(user_id, lambda: self._node.store.roles_of(user_id)))

    def fresh(self, about: str, read: Callable[[], dict[str, Role]]) -> dict[str, Role]:
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
            self._node.places.locate(list(roles))
        finally:
            for session in changed:
                for device_id in news[session.id]:
                    self._node.tell_status(session, device_id)
                    self._node.watch(device_id, user_id, True)
