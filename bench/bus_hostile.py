"""What a broken or hostile program can do to the bus's sockets, through ZeroMQ and below it."""

from __future__ import annotations

import contextlib
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import msgpack
import zmq

from bench import bus_mutations as mutations
from bus.topics import TOPICS

BREATH = 200
"""Frames between two pauses, in which the victim is let in: fuzzing is of what it reads, not of what is dropped."""
BREATH_S = 0.02
HALF_OPEN = 48
"""Connections that begin and say nothing more are held open so many at a time."""
SOCKET_TIMEOUT_S = 0.2
ZMTP_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + b"\x00" + bytes(31)

Harmless = Callable[[bytes], bool]
"""Whether a frame may be sent to this victim."""


def anything(_: bytes) -> bool:
    """For a victim that is no robot."""
    return True


class Hostile:
    """Sends to the sockets of `run_dir`; counts what it sent, by kind."""

    def __init__(self, run_dir: Path, seed: int) -> None:
        self.sent: Counter[str] = Counter()
        self.random = Random(seed)
        self._run_dir = run_dir
        self._context = zmq.Context()

    def close(self) -> None:
        self._context.destroy(linger=0)

    def _connect(self, kind: int, path: str) -> zmq.Socket[bytes]:
        """A socket that never waits for a victim longer than `SOCKET_TIMEOUT_S`."""
        sock = self._context.socket(kind)
        sock.setsockopt(zmq.LINGER, 1000)
        sock.setsockopt(zmq.SNDTIMEO, int(SOCKET_TIMEOUT_S * 1000))
        sock.connect(f"ipc://{self._run_dir / path}")
        return sock

    def _put(self, sock: zmq.Socket[bytes], parts: list[bytes], what: str) -> None:
        try:
            sock.send_multipart(parts)
            self.sent[what] += 1
        except zmq.Again:
            # After what it takes for a protocol error, ZeroMQ never connects again by itself.
            self.sent["not taken"] += 1
            endpoint = sock.getsockopt_string(zmq.LAST_ENDPOINT)
            if sock.type in (zmq.DEALER, zmq.XSUB):
                with contextlib.suppress(zmq.ZMQError):
                    sock.disconnect(endpoint)
                sock.connect(endpoint)

    # -- towards a server -----------------------------------------------------------------------------

    def requests(self, owner: str, lane: str, frames: int, harmless: Harmless = anything) -> None:
        """Spoilt requests to a ROUTER. The answers are not read."""
        topics = [topic for topic in mutations.ASKED if topic.owner == owner] or list(mutations.ASKED)
        sock = self._connect(zmq.DEALER, f"{owner}.{lane}")
        for number in range(frames):
            topic = self.random.choice(topics if self.random.random() < 0.8 else mutations.ASKED)
            raw = mutations.mutate(mutations.request(topic, self.random, time.monotonic_ns()), self.random)
            if harmless(raw):
                self._put(sock, self._parts(raw), f"{lane} frames")
            if number % BREATH == 0:
                time.sleep(BREATH_S)
        sock.close()

    def _parts(self, raw: bytes) -> list[bytes]:
        """Mostly the one frame that is expected; sometimes none, or many."""
        chance = self.random.random()
        if chance < 0.95:
            return [raw]
        if chance < 0.97:
            return [b""]
        return [raw[: len(raw) // 2], *[b"x"] * self.random.randrange(50), raw[len(raw) // 2 :]]

    def subscriptions(self, owner: str, frames: int) -> None:
        """Odd subscriptions, unsubscriptions of what was never subscribed, and data where none goes."""
        sock = self._connect(zmq.XSUB, f"{owner}.pub")
        names = [topic.prefix for topic in mutations.PUBLISHED if topic.owner == owner]
        known: deque[bytes] = deque(maxlen=100)
        for number in range(frames):
            name = mutations.mutate(self.random.choice(names), self.random)[:5000]
            known.append(name)
            first = self.random.choice((b"\x01", b"\x00", b"\x01", b"\x02", b"", b"\xff"))
            self._put(sock, [first + name], "pub frames")
            if len(known) == known.maxlen:
                self._put(sock, [b"\x00" + known.popleft()], "pub frames")
            if number % BREATH == 0:
                time.sleep(BREATH_S)
        sock.close()

    # -- in the place of an owner ---------------------------------------------------------------------

    def owner(self, owner: str, frames: int, seconds: float) -> None:
        """Take the sockets of a process that does not run: spoilt publications, and spoilt answers to what is asked.

        Ends when both kinds together are `frames`, or after `seconds`.
        """
        with self._bound(owner) as (publisher, *servers):
            topics = [topic for topic in mutations.PUBLISHED if topic.owner == owner]
            seq, end = 0, time.monotonic() + seconds
            while self.sent["publications"] + self.sent["replies"] < frames and time.monotonic() < end:
                for _ in range(BREATH // 2):
                    seq += 1
                    topic, now_ns = self.random.choice(topics), time.monotonic_ns()
                    whole = mutations.publication(topic, self.random, now_ns, seq, f"{owner}#0badcafe")
                    raw = mutations.mutate(whole, self.random)
                    # Behind the topic's name: elsewhere the subscriber's own filter drops it.
                    raw = raw if self.random.random() < 0.3 else topic.prefix + raw.partition(b"\0")[2]
                    self._put(publisher, self._parts(raw), "publications")
                for server in servers:
                    self._reply_to_all(server)
                time.sleep(BREATH_S / 2)

    @contextlib.contextmanager
    def _bound(self, owner: str) -> Iterator[list[zmq.Socket[bytes]]]:
        sockets = []
        for kind, lane in ((zmq.XPUB, "pub"), (zmq.ROUTER, "req"), (zmq.ROUTER, "stop")):
            sock = self._context.socket(kind)
            sock.setsockopt(zmq.LINGER, 0)
            sock.bind(f"ipc://{self._run_dir / owner}.{lane}")
            sockets.append(sock)
        try:
            yield sockets
        finally:
            for sock in sockets:
                sock.close()

    def _reply_to_all(self, server: zmq.Socket[bytes]) -> None:
        while server.poll(0):
            peer, raw = server.recv_multipart()
            fields = msgpack.unpackb(raw)
            for _ in range(20):
                answer = mutations.reply(TOPICS[fields[2]], fields[4], self.random)
                with contextlib.suppress(zmq.Again):
                    self._put(server, [peer, *self._parts(mutations.mutate(answer, self.random))], "replies")

    # -- below ZeroMQ ---------------------------------------------------------------------------------

    def raw_connections(self, owner: str, count: int) -> None:
        """Connections that speak no ZMTP, or half of it, or nothing, and are closed or left open."""
        half_open: deque[socket.socket] = deque()
        for number in range(count):
            lane = ("pub", "req", "stop")[number % 3]
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(SOCKET_TIMEOUT_S)
            try:
                sock.connect(str(self._run_dir / f"{owner}.{lane}"))
                sock.sendall(self._below_zmtp())
                self.sent["raw connections"] += 1
            except (BlockingIOError, TimeoutError, BrokenPipeError, ConnectionError):
                self.sent["not taken"] += 1  # the victim's backlog is full, or it hung up at the first bytes
            half_open.append(sock)
            while len(half_open) > (HALF_OPEN if number % 5 else HALF_OPEN // 2):
                half_open.popleft().close()
        while half_open:
            half_open.popleft().close()

    def _below_zmtp(self) -> bytes:
        return self.random.choice(
            (
                b"",
                self.random.randbytes(self.random.randrange(1, 200)),
                ZMTP_GREETING[: self.random.randrange(len(ZMTP_GREETING))],
                ZMTP_GREETING + self.random.randbytes(100),
                mutations.mutate(ZMTP_GREETING, self.random)[:4096],
                # A frame that says it is 2**62 bytes long.
                ZMTP_GREETING + b"\x02" + (2**62).to_bytes(8, "big") + b"x" * 100,
            )
        )
