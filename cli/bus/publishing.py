"""How a tool is heard although every topic has one owner: through the owner where it runs, else in its place."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, Protocol

import msgspec
import zmq
from msgspec import Struct

from bus import codec, lock
from bus.injection import SIGNS_OF_LIFE
from bus.messages import Publication
from bus.promise import Promise
from bus.topics import DEFAULT_QUEUE, PUBLISH, TOPICS, Kind, Topic
from bus.zeromq import RECONNECT_MS, ZmqBus
from cli.bus.place import lives
from cli.bus.stopping import POLL_S
from cli.errors import CommandError
from contract.errors import ContractError

NEVER_TAKEN = frozenset({"motion", "guard"})
"""While somebody else holds motion's place, guard would believe that a motion is there to zero the pins, and would not;
and without a guard motion does not drive."""

QUIET_MS = 10 * RECONNECT_MS
"""Listeners that wait for a process look for it every 10 to 20 ms: after this time all have found it."""

LINGER_MS = 2000
"""How long what was said last may take to leave."""

MAX_UNANSWERED = 200
"""Publications that an owner may have to do at once."""


BY_PREFIX = {topic.prefix: topic.name for topic in TOPICS.values()}
"""Topics by what a subscription to them says."""


class Voice(Protocol):
    """Says what is published in the name of one process."""

    def publish(self, topic: Topic[Any], value: Struct) -> None:
        """Raises:
        CommandError: an earlier one was refused, or not answered.
        """

    def close(self) -> None:
        """Wait until all was said. Raises CommandError as `publish` does."""


class ThroughOwner:
    """A `Voice` that asks the owner, who runs."""

    def __init__(self, bus: ZmqBus, owner: str) -> None:
        self._bus = bus
        self._owner = owner
        self._asked: deque[Promise] = deque()

    def publish(self, topic: Topic[Any], value: Struct) -> None:
        while self._asked and (self._asked[0].done() or len(self._asked) >= MAX_UNANSWERED):
            self._hear_of(self._asked.popleft())
        request = Publication(topic.name, msgspec.to_builtins(value))
        self._asked.append(self._bus.request(PUBLISH[self._owner], request))

    def close(self) -> None:
        while self._asked:
            self._hear_of(self._asked.popleft())

    def _hear_of(self, asked: Promise) -> None:
        try:
            asked.result()
        except ContractError as error:
            raise CommandError(f"{self._owner} did not publish it: {error.message}") from error


class InPlace:
    """A `Voice` in the place of a process that does not run: holds its lock and its publishing socket, no other.

    Raises:
        BusError: the process has started meanwhile.
    """

    def __init__(self, run: Path, owner: str) -> None:
        self._lock_fd = lock.hold(run, owner)
        self._context = zmq.Context(io_threads=1)
        self.socket: zmq.Socket[bytes] = self._context.socket(zmq.XPUB)
        self.socket.setsockopt(zmq.XPUB_VERBOSE, 1)
        self.socket.setsockopt(zmq.SNDHWM, DEFAULT_QUEUE)
        self.socket.setsockopt(zmq.LINGER, LINGER_MS)
        self.socket.bind(f"ipc://{run / owner}.pub")
        self.heard: set[str] = set()
        self._sender = f"{owner}#{os.urandom(4).hex()}"
        self._seqs: Counter[str] = Counter()
        self._last: dict[str, bytes] = {}

    def publish(self, topic: Topic[Any], value: Struct) -> None:
        self._seqs[topic.name] += 1
        raw = codec.encode_publication(topic, value, self._sender, self._seqs[topic.name], time.monotonic_ns())
        if topic.kind is Kind.STATE:
            self._last[topic.name] = raw
        self.socket.send(raw)

    def take_in(self) -> None:
        """Note who listens to what; a new listener gets the last value of a STATE, as from its owner."""
        while self.socket.poll(0):
            raw = self.socket.recv()
            topic = BY_PREFIX.get(raw[1:])
            if topic is None:
                continue
            if raw[:1] != b"\x01":  # the last one has gone
                self.heard.discard(topic)
                continue
            self.heard.add(topic)
            if topic in self._last:
                self.socket.send(self._last[topic])

    def close(self) -> None:
        """Wait, up to two seconds, until all was handed to whoever listens; then leave the place."""
        self._context.destroy()  # with the linger of the socket
        os.close(self._lock_fd)


class Voices:
    """A voice for every process that is to be heard.

    Args:
        bus: asks the owners that run.

    Attributes:
        taken: the processes whose place was taken.

    Raises:
        CommandError: a process does not run, and its place is never taken.
        BusError: a place was taken by somebody else at this moment.
    """

    def __init__(self, bus: ZmqBus, run: Path, owners: Iterable[str]) -> None:
        self._places: dict[str, InPlace] = {}
        self._owners: dict[str, ThroughOwner] = {}
        self._poller = zmq.Poller()
        self.taken: list[str] = []
        try:
            for owner in sorted(owners):
                self._open(bus, run, owner)
        except BaseException:
            self._leave()
            raise

    def publish(self, topic: Topic[Any], value: Struct) -> None:
        """Raises:
        CommandError: the owner refused an earlier one, or did not answer.
        """
        voice: Voice = self._places.get(topic.owner) or self._owners[topic.owner]
        voice.publish(topic, value)

    def wait(self, until_s: float, stopped: Callable[[], bool]) -> bool:
        """Attend to listeners until that moment of CLOCK_MONOTONIC; False when it was stopped before."""
        while not stopped():
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                return True
            self._turn(min(left_s, POLL_S))
        return False

    def unheard(self, topics: Iterable[Topic[Any]]) -> list[Topic[Any]]:
        """Those that are said in somebody's place, and that nobody has subscribed to. An owner knows its own."""
        return [
            topic
            for topic in topics
            if topic.owner in self._places and topic.name not in self._places[topic.owner].heard
        ]

    def wait_for_listeners(self, topics: Collection[Topic[Any]], wait_s: float, stopped: Callable[[], bool]) -> None:
        """Wait until every topic that is said in somebody's place has a listener and no further one comes, or
        `wait_s` are over."""
        end_s = time.monotonic() + wait_s
        while self.unheard(topics) and time.monotonic() < end_s and not stopped():
            self._turn(min(POLL_S, max(0.0, end_s - time.monotonic())))
        while self._places and wait_s and self._turn(QUIET_MS / 1000) and time.monotonic() < end_s and not stopped():
            pass

    def close(self) -> None:
        """Wait until all was said, and leave the places. Raises CommandError when something was not."""
        try:
            for voice in self._owners.values():
                voice.close()
        finally:
            self._leave()

    def _open(self, bus: ZmqBus, run: Path, owner: str) -> None:
        if lives(run, owner):
            self._owners[owner] = ThroughOwner(bus, owner)
        elif owner in NEVER_TAKEN:
            raise CommandError(f"{owner} does not run, and nobody may take its place: the motors' safety needs it.")
        else:
            self._places[owner] = place = InPlace(run, owner)
            self.taken.append(owner)
            self._poller.register(place.socket, zmq.POLLIN)

    def _turn(self, timeout_s: float) -> bool:
        """Take new listeners in; False when none came in time."""
        came = bool(self._poller.poll(max(1, int(timeout_s * 1000))))
        for place in self._places.values():
            place.take_in()
        return came

    def _leave(self) -> None:
        for place in self._places.values():
            place.close()
        self._places.clear()


def refuse_signs_of_life(topic: Topic[Any]) -> None:
    """Raise CommandError for what only the loop behind it may say."""
    if topic.name in SIGNS_OF_LIFE:
        raise CommandError(f"{topic.name} is a sign of life: nobody else may say it.")
