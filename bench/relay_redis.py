"""`make bench-relay-redis`: what one Redis carries between workers, for the arithmetic of docs/scaling.md.

One Valkey on one core; on the other one a client that only moves bytes, so that it is not what is measured. WORKERS
(20) channels with a subscriber each get batches of 1, 10 and 100 commands, for SECONDS (5) each, with 64 on the way.
"""

from __future__ import annotations

import os
import select
import shutil
import socket
import tempfile
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from bench.relay import OTHER_CORE, SERVER_CORE
from bench.report import Row, finish
from cli.embedded import EmbeddedValkey
from relay.fanout import Batch, Envelope
from relay.presence import channel

COMMAND = b'{"command":"motor","left":0.5,"right":0.5,"id":"c1","pad":"' + b"x" * 139 + b'"}'
"""200 bytes, as in `make bench-relay`."""
BATCHES = (1, 10, 100)
WINDOW = 64
READ_BYTES = 1 << 20
PATIENCE_S = 10.0


def words(*parts: bytes) -> bytes:
    """A command, or a push, as Redis writes it."""
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def batch_of(count: int) -> bytes:
    """What a worker publishes for so many commands."""
    envelope = Envelope("command", "wimz_0001", payload=COMMAND, id="c1", name="motor", user="u_0001")
    return msgspec.msgpack.encode(Batch("worker", time.monotonic(), [envelope] * count))


class Site:
    """A Valkey on its core, and connections to it."""

    def __init__(self, directory: Path, workers: int) -> None:
        self.valkey = EmbeddedValkey(directory)
        self.valkey.start()
        self._path = unquote(urlsplit(self.valkey.url).path)
        os.sched_setaffinity(self.valkey.child.pid, {int(SERVER_CORE)})
        self.channels = [channel(f"worker{number}").encode() for number in range(workers)]
        self.publisher = self.connect()
        self.subscribers = [self.connect() for _ in self.channels]
        for name, subscriber in zip(self.channels, self.subscribers, strict=True):
            subscriber.sendall(words(b"SUBSCRIBE", name))
            confirmed = b""
            while not confirmed.endswith(b":1\r\n"):  # subscribed to one channel
                confirmed += subscriber.recv(READ_BYTES)

    def connect(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        made.connect(self._path)
        return made

    def close(self) -> None:
        for opened in (self.publisher, *self.subscribers):
            opened.close()
        self.valkey.stop()


def measure(site: Site, count: int, seconds: float) -> dict[str, float]:
    """Publish batches of `count` commands in turn to all channels, at most WINDOW not yet read by their subscribers."""
    batch = batch_of(count)
    publish = [words(b"PUBLISH", name, batch) for name in site.channels]
    pushes = [len(words(b"message", name, batch)) for name in site.channels]
    push_bytes = dict(zip(site.subscribers, pushes, strict=True))
    by_fd = {opened.fileno(): opened for opened in (site.publisher, *site.subscribers)}
    heard = dict.fromkeys(site.subscribers, 0)
    sent = received = 0
    began_s = time.monotonic()
    end_s = began_s + seconds
    with select.epoll() as poll:
        for fd in by_fd:
            poll.register(fd, select.EPOLLIN)
        while received < sent or time.monotonic() < end_s:  # all that was published is waited for
            if time.monotonic() < end_s and sent - received <= WINDOW // 2:
                room = WINDOW - (sent - received)
                site.publisher.sendall(b"".join(publish[(sent + each) % len(publish)] for each in range(room)))
                sent += room
            ready = poll.poll(PATIENCE_S)
            if not ready:
                raise TimeoutError(f"Valkey has said nothing for {PATIENCE_S:g} s")
            for fd, _ in ready:
                data = by_fd[fd].recv(READ_BYTES)
                if not data:
                    raise ConnectionResetError("Valkey has hung up")
                if by_fd[fd] is not site.publisher:
                    heard[by_fd[fd]] += len(data)
            received = sum(heard[opened] // push_bytes[opened] for opened in site.subscribers)
    took_s = time.monotonic() - began_s
    return {
        "batch_bytes": float(len(batch)),
        "publishes_per_s": received / took_s,
        "commands_per_s": received * count / took_s,
        "mb_per_s": received * len(batch) / took_s / 1e6,
    }


def main() -> None:
    os.sched_setaffinity(0, {int(OTHER_CORE)})
    directory = Path(tempfile.mkdtemp(prefix="wz-"))
    site = Site(directory, int(os.environ.get("WORKERS", "20")))
    try:
        seconds = float(os.environ.get("SECONDS", "5"))
        rows = [Row(f"batches of {count}", measure(site, count, seconds)) for count in BATCHES]
    finally:
        site.close()
        shutil.rmtree(directory, ignore_errors=True)
    finish("One Redis on one core, 200-byte commands between workers", rows)


if __name__ == "__main__":
    main()
