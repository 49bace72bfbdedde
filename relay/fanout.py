"""Messages between workers: one Redis channel per worker, batches that form while the one before is on its way.

Nothing waits for Redis to come back: what cannot be handed over at once is given back to the sender, because a
command must not be carried out late. The receiver learns how old a batch is, without comparing two clocks: age is
its difference of clocks less the smallest that was ever seen from that sender.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Literal

import gevent
import msgspec
import redis
from gevent.event import Event

from relay.metrics import Metrics
from relay.presence import channel, connect

log = logging.getLogger(__name__)

Kind = Literal[
    "command",
    "to_robot",
    "to_session",
    "to_user",
    "signal",
    "presence",
    "watch",
    "supersede",
    "device_changed",
    "user_changed",
    "user_ended",
]

MAX_QUEUED_MESSAGES = 20_000
MAX_QUEUED_BYTES = 16 * 1024 * 1024
BATCH_BYTES = 262_144
REST_AFTER_FAILURE_S = 0.5
ECHO_TIMEOUT_S = 3.0
BACKOFF_S = (0.05, 1.0)
MAX_SENDERS = 1024


class Envelope(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message to another worker.

    Attributes:
        kind: what it is.
        to: a device_id, an app session's id or a user_id, as the kind has it.
        about: the device, user or video session that it is about.
        payload: what goes on to a socket.
        key: see `Connection.send`.
        flag: urgent, on, or ends, as the kind has it.
        id: of a command; the sequence number of a stored event; or a token version.
        name: of a command; or a worker's id.
        user: who sends a command.
    """

    kind: Kind
    to: str
    about: str = ""
    payload: bytes = b""
    key: str | None = None
    flag: bool = False
    id: str | int | None = None
    name: str = ""
    user: str = ""


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """What goes through the channel: who sent it, at what time of the sender's monotonic clock, and the messages."""

    sender: str
    sent_s: float
    envelopes: list[Envelope]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Batch).decode


class AgeFilter:
    """How late batches come, per sender, on clocks that need not agree."""

    def __init__(self) -> None:
        self._smallest: OrderedDict[str, float] = OrderedDict()

    def age_s(self, sender: str, sent_s: float, now: float) -> float:
        """Age of a batch beyond the fastest ever from this sender, seconds."""
        difference = now - sent_s
        smallest = min(difference, self._smallest.get(sender, difference))
        self._smallest[sender] = smallest
        self._smallest.move_to_end(sender)
        while len(self._smallest) > MAX_SENDERS:
            self._smallest.popitem(last=False)
        return difference - smallest


class Fanout:
    """This worker's end.

    Args:
        redis_url: Redis.
        worker: this worker's id.
        metrics: counts.
        on_envelope: called with a message and its age in seconds, in the reader's greenlet; must not block.
        on_lost: called with messages that nobody got, and whether their worker is gone (else Redis is).
        on_up: called in a greenlet of its own whenever the channel has come up.
    """

    def __init__(
        self,
        redis_url: str,
        worker: str,
        metrics: Metrics,
        on_envelope: Callable[[Envelope, float], None],
        on_lost: Callable[[str, list[Envelope], bool], None],
        on_up: Callable[[], None],
    ) -> None:
        self.worker = worker
        self.up = False
        self._client = connect(redis_url)
        self._reader_client = connect(redis_url, timeout_s=5.0)
        self._metrics = metrics
        self._on_envelope = on_envelope
        self._on_lost = on_lost
        self._on_up = on_up
        self._ages = AgeFilter()
        self._buffers: dict[str, list[Envelope]] = {}
        self._queued = 0
        self._queued_bytes = 0
        self._rest_until_s = 0.0
        self._last_echo_s = 0.0
        self._wake = Event()
        self._stopped = False
        self._greenlets: list[gevent.Greenlet] = []
        metrics.gauge("wimz_relay_fanout_queued", lambda: self._queued)
        metrics.gauge("wimz_relay_redis_up", lambda: 1.0 if self.up else 0.0)

    def start(self) -> None:
        self._greenlets = [gevent.spawn(self._publish_loop), gevent.spawn(self._subscribe_loop)]

    def stop(self) -> None:
        """Publish what waits, then end."""
        self._stopped = True
        self._wake.set()
        gevent.joinall(self._greenlets[:1], timeout=1.0)
        gevent.killall(self._greenlets, block=False)

    def send(self, worker: str, envelope: Envelope) -> None:
        """Hand over to another worker; comes back through `on_lost` when that cannot be done now."""
        if not self.up or time.monotonic() < self._rest_until_s:
            self._on_lost(worker, [envelope], False)
            return
        size = len(envelope.payload) + 64
        if self._queued >= MAX_QUEUED_MESSAGES or self._queued_bytes + size > MAX_QUEUED_BYTES:
            self._metrics.count("wimz_relay_dropped_total", 'reason="fanout_full"')
            self._on_lost(worker, [envelope], False)
            return
        self._buffers.setdefault(worker, []).append(envelope)
        self._queued += 1
        self._queued_bytes += size
        self._wake.set()

    # -- out --------------------------------------------------------------------------------------

    def _publish_loop(self) -> None:
        while not (self._stopped and not self._buffers):
            self._wake.wait()
            self._wake.clear()
            while self._buffers:
                buffers, self._buffers = self._buffers, {}
                self._queued = self._queued_bytes = 0
                self._publish(buffers)

    def _publish(self, buffers: dict[str, list[Envelope]]) -> None:
        batches = [(worker, part) for worker, envelopes in buffers.items() for part in _parts(envelopes)]
        pipeline = self._client.pipeline(transaction=False)
        sent_s = time.monotonic()
        for worker, envelopes in batches:
            pipeline.publish(channel(worker), _encode(Batch(self.worker, sent_s, envelopes)))
        try:
            receivers = pipeline.execute()
        except redis.RedisError as error:
            log.warning("fan-out: cannot publish: %s", error)
            self._rest_until_s = time.monotonic() + REST_AFTER_FAILURE_S
            for worker, envelopes in batches:
                self._on_lost(worker, envelopes, False)
            return
        self._metrics.histogram("wimz_relay_publish_seconds").observe(time.monotonic() - sent_s)
        for (worker, envelopes), count in zip(batches, receivers, strict=True):
            if count:
                self._metrics.count("wimz_relay_fanout_sent_total", by=len(envelopes))
            else:
                self._on_lost(worker, envelopes, True)

    # -- in ---------------------------------------------------------------------------------------

    def echo(self) -> None:
        """Send an empty batch to ourselves; a channel that does not bring it back is opened anew. Blocks."""
        if self.up and time.monotonic() - self._last_echo_s > ECHO_TIMEOUT_S:
            log.warning("fan-out: the channel is silent, opening it anew")
            self._greenlets[1].kill(block=False)
            self._greenlets[1] = gevent.spawn(self._subscribe_loop)
            return
        self._client.publish(channel(self.worker), _encode(Batch(self.worker, time.monotonic(), [])))

    def _subscribe_loop(self) -> None:
        delay_s = BACKOFF_S[0]
        while not self._stopped:
            try:
                self._read_channel()
            except redis.RedisError as error:
                log.warning("fan-out: the channel is lost: %s", error)
                delay_s = BACKOFF_S[0] if self.up else min(2 * delay_s, BACKOFF_S[1])
            finally:
                self.up = False
            gevent.sleep(delay_s)

    def _read_channel(self) -> None:
        with self._reader_client.pubsub() as pubsub:  # type: ignore[no-untyped-call]
            pubsub.subscribe(channel(self.worker))
            while not self._stopped:
                message: Any = pubsub.get_message(timeout=1.0)
                if message is None:
                    continue
                if message["type"] == "subscribe":
                    self._last_echo_s = time.monotonic()
                    self.up = True
                    gevent.spawn(self._on_up)
                elif message["type"] == "message":
                    self._receive(message["data"])

    def _receive(self, data: bytes) -> None:
        try:
            batch = _decode(data)
        except msgspec.MsgspecError as error:
            log.warning("fan-out: a batch was not understood: %s", error)
            self._metrics.count("wimz_relay_dropped_total", 'reason="fanout_malformed"')
            return
        now = time.monotonic()
        if batch.sender == self.worker:
            self._last_echo_s = now
        age_s = self._ages.age_s(batch.sender, batch.sent_s, now)
        if batch.envelopes:
            self._metrics.histogram("wimz_relay_fanout_age_seconds").observe(age_s)
        self._metrics.count("wimz_relay_fanout_received_total", by=len(batch.envelopes))
        for envelope in batch.envelopes:
            try:
                self._on_envelope(envelope, age_s)
            except Exception:
                # One message's fault must not end the reader that serves all robots and apps of this worker.
                log.exception("fan-out: a message failed")
                self._metrics.count("wimz_relay_failures_total", 'place="fanout"')


def _parts(envelopes: list[Envelope]) -> list[list[Envelope]]:
    parts: list[list[Envelope]] = [[]]
    size = 0
    for envelope in envelopes:
        if size > BATCH_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(envelope)
        size += len(envelope.payload) + 64
    return parts
