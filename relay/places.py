"""Which worker has which robot, as far as anybody here wants to know."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

import redis

if TYPE_CHECKING:
    from relay.node import Node

log = logging.getLogger(__name__)


class Places:
    """A worker's.

    Attributes:
        located: device_id -> worker, of the robots of all accounts that are here.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self.located: dict[str, str] = {}
        self._locating = 0
        self._moved: set[str] = set()  # robots that came or went while others were being located

    def place(self, device_id: str, worker: str | None) -> None:
        """Heed where a robot is; apps hear of it when it came or went."""
        if self._locating:
            self._moved.add(device_id)
        before = self.located.pop(device_id, None)
        if worker is not None:
            self.located[device_id] = worker
        if (before is None) == (worker is None):
            return
        node = self._node
        link = node.robots.get(device_id)
        users = node.users if link is None else [user_id for user_id in link.members if user_id in node.users]
        for user_id in list(users):
            for session in list(node.users[user_id].values()):
                if device_id in session.sender.roles:
                    node.tell_status(session, device_id)

    def locate(self, device_ids: list[str]) -> None:
        """Look up where these robots are; news that come meanwhile are newer than what is found. Blocks."""
        remote = [device_id for device_id in device_ids if device_id not in self._node.robots]
        self._locating += 1
        try:
            found = self._node.lookups.places.get_all(remote)
            moved = set(self._moved)
        finally:
            self._locating -= 1
            if not self._locating:
                self._moved.clear()
        for device_id in device_ids:
            if device_id in self._node.robots:
                self.place(device_id, self._node.worker)
            elif device_id not in moved:
                worker = found.get(device_id)
                self.place(device_id, worker if worker != self._node.worker else None)

    def online(self, device_ids: Iterable[str]) -> set[str]:
        """Which of the robots are there. Blocks."""
        asked = list(device_ids)
        here = {device_id for device_id in asked if device_id in self._node.robots}
        elsewhere = [device_id for device_id in asked if device_id not in here]
        try:
            found = self._node.lookups.places.get_all(elsewhere)
        except redis.RedisError as error:
            log.warning("presence of this worker only: %s", error)
            return here | {device_id for device_id in elsewhere if device_id in self.located}
        return here | {device_id for device_id, worker in found.items() if worker != self._node.worker}
