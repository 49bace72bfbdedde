"""The bus over ZeroMQ, brokerless: each process binds its own sockets in the run directory, peers connect by the table.

`<name>.pub` XPUB: what the process publishes. XPUB_VERBOSE, so that every new subscriber is seen and a STATE's last
value can be sent again at once. `<name>.req` ROUTER: requests. `<name>.stop` ROUTER: the STOP lane, looked at before
every other message. One thread owns all sockets; other threads hand over through a queue and an eventfd.
"""

from __future__ import annotations

import os
import secrets
import select
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import zmq
from msgspec import Struct

from bus import codec, lock
from bus.base import Server, Source, Timer
from bus.codec import MAX_MESSAGE_BYTES, Message
from bus.connection import stay_connected
from bus.endpoint import Asker, Complaints, Desk, Reader, lane_of, promise
from bus.errors import BusError, Unavailable
from bus.lanes import BATCH, Lanes
from bus.messages import Origin
from bus.promise import Promise
from bus.readiness import Readiness, readable
from bus.timers import Call, ScheduledCall, Timers
from bus.topics import DEFAULT_QUEUE, PROCESSES, Kind, Topic

T = TypeVar("T", bound=Struct)

RECONNECT_MS = 10
"""ZeroMQ's default of 100 ms leaves a restarted publisher unheard for 64 ms; with 10 ms it is 6.5 ms."""
MAX_HANDED_OVER = 10_000
"""What other threads may have waiting for the loop."""
MAX_POLL_S = 0.5
_NOBLOCK, _NOBLOCK_MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)
_STARTING = -1


class ZmqBus:
    """`bus.base.Bus` over ZeroMQ. Make it after any fork, then `run()` it, or `start()` it in a thread.

    A name that is none of `PROCESSES` is a tool's: it listens and asks, and leaves nothing in the run directory.

    Raises:
        BusError: another process of this name is alive in the same run directory.
    """

    def __init__(self, name: str, run_dir: Path) -> None:
        self.name = name
        self.counters: Counter[str] = Counter()
        self.loop_lag_s = 0.0
        self._run_dir = run_dir
        self._sender = f"{name}#{secrets.token_hex(4)}"
        self._lock_fd = lock.hold(run_dir, name) if name in PROCESSES else None
        self._context = zmq.Context(io_threads=1)
        self._publisher = self._bind(zmq.XPUB, "pub")
        self._stop_lane = self._bind(zmq.ROUTER, "stop")
        self._requests = self._bind(zmq.ROUTER, "req")
        complaints = Complaints(self.counters)
        self._complaints = complaints
        self._desk = Desk(name, self.counters, complaints)
        self._asker = Asker(self._sender, self.counters, complaints)
        self._seqs: Counter[str] = Counter()
        self._last: dict[bytes, bytes] = {}
        self._timers = Timers()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._wake_lock = threading.RLock()  # re-entrant: `stop` may come from a signal handler within `_wake`
        self._handed_over: deque[Call] = deque()
        self._urgent: deque[Call] = deque()
        self._thread: int | None = None
        self._stopping = False  # no Event: a second signal within its `set` would wait for the first for ever
        self._closed = False
        self._readiness = Readiness()
        self._lanes = Lanes(run_dir, self._asker, self.counters, self._readiness, self._socket, self.call_later)
        self._readiness.watch_fd(self._wake_fd, self._clear_wake)
        self._publisher_key = self._readiness.watch(self._publisher, self._new_subscribers)
        self._requests_key = self._readiness.watch(self._requests, lambda: self._serve_from(self._requests))
        self._stop_key = self._readiness.watch(self._stop_lane, self._serve_stops)
        self._stop_poll = select.poll()
        self._stop_poll.register(int(self._stop_lane.getsockopt(zmq.FD)), select.POLLIN)
        self._stop_answered = False
        self._sources: list[Source] = []

    # -- the interface ----------------------------------------------------------------------------

    def now(self) -> float:
        return time.monotonic()

    def publish(self, topic: Topic[T], value: T) -> None:
        if topic.owner != self.name:
            raise ValueError(f"{self.name} cannot publish {topic.name}: it belongs to {topic.owner}")
        if not self._on_this_thread():
            self._hand_over(lambda: self.publish(topic, value))
            return
        if self._closed:
            return
        self._seqs[topic.name] = seq = self._seqs[topic.name] + 1
        raw = codec.encode_publication(topic, value, self._sender, seq, time.monotonic_ns())
        if topic.kind is Kind.STATE:
            self._last[topic.prefix] = raw
        try:
            self._publisher.send(raw, _NOBLOCK)
        except zmq.Again:
            self.counters["bus.publish_dropped"] += 1
        self._readiness.recheck(self._publisher_key)

    def subscribe(self, topic: Topic[T], handler: Callable[[Message[T]], None], *, every_value: bool = False) -> None:
        self._on_loop(lambda: self._subscribe(topic, handler, every_value))

    def serve(self, topic: Topic[T], handler: Server) -> None:
        self._desk.serve(topic, handler)

    def request(
        self,
        topic: Topic[Any],
        body: Struct,
        *,
        origin: Origin | None = None,
        id: str | None = None,
        timeout_s: float | None = None,
        sent_s: float | None = None,
    ) -> Promise:
        asked = promise(topic)
        now_ns = time.monotonic_ns()
        if self._on_this_thread():
            self._ask(topic, body, now_ns, origin, id, timeout_s, asked, sent_s)
        else:
            self._hand_over(
                lambda: self._ask(topic, body, now_ns, origin, id, timeout_s, asked, sent_s),
                urgent=topic.kind is Kind.STOP,
            )
        return asked

    def every(self, period_s: float, call: Call) -> Timer:
        return self._schedule(period_s, call, period_s)

    def call_later(self, delay_s: float, call: Call) -> Timer:
        return self._schedule(delay_s, call, None)

    def watch(self, source: Source, call: Call) -> None:
        self._on_loop(lambda: self._watch(source, call))

    def call_soon(self, call: Call) -> None:
        self._hand_over(call)

    # -- the loop ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until `stop`; then close every socket."""
        self._thread = threading.get_ident()
        try:
            while not self._stopping:
                self._turn()
        finally:
            self._asker.abandon()
            self._close()

    def start(self) -> threading.Thread:
        """Run the loop in a thread of its own; from here on every other thread hands its work over."""
        self._thread = _STARTING
        thread = threading.Thread(target=self.run, name="bus", daemon=True)
        thread.start()
        return thread

    def stop(self) -> None:
        """End `run`, from any thread or from a signal handler."""
        self._stopping = True
        self._wake()

    def _turn(self) -> None:
        ready = self._readiness.wait(self._wait_s())
        if self._urgent or self._stop_answered or self._stop_key in ready:
            self._stops_first()
        for key in ready:
            try:
                self._readiness.call(key)
            except Exception as error:  # noqa: BLE001
                self._failed(error)
        self._run_handed_over()
        self._run_timers()
        self._asker.expire(time.monotonic_ns())

    def _wait_s(self) -> float:
        if self._handed_over or self._urgent:
            return 0.0
        now = time.monotonic()
        wait_s = MAX_POLL_S
        due = self._timers.next_at()
        if due is not None:
            wait_s = min(wait_s, due - now)
        deadline_ns = self._asker.next_deadline_ns()
        if deadline_ns is not None:
            wait_s = min(wait_s, deadline_ns / 1e9 - now)
        return max(0.0, wait_s)

    def _stops_first(self) -> None:
        """Nothing overtakes the STOP lane: what comes in or goes out there is done before anything else."""
        for _ in range(len(self._urgent)):
            self._guarded(self._urgent.popleft())
        if self._stop_answered or self._stop_poll.poll(0):
            self._serve_stops()

    def _serve_stops(self) -> bool:
        self._stop_answered = False
        for _ in range(BATCH):
            if not self._serve_one(self._stop_lane):
                return False
            if self._timer_is_due():
                break
        self._stop_answered = True  # there may be more
        return True

    def _run_handed_over(self) -> None:
        for _ in range(len(self._handed_over)):
            self._stops_first()
            self._guarded(self._handed_over.popleft())

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timer_is_due():
            self._stops_first()  # as long as a timer is due, one at a time
            scheduled = self._timers.pop_due(now)
            if scheduled is None:
                return
            due, call = scheduled
            self.loop_lag_s = max(self.loop_lag_s, now - due)
            self._guarded(call)

    def _timer_is_due(self) -> bool:
        """Whether a flood has to wait: the beat and the dead-man are timers, which no number of messages may delay."""
        due = self._timers.next_at()
        return due is not None and due <= time.monotonic()

    def _schedule(self, delay_s: float, call: Call, period_s: float | None) -> Timer:
        """On the loop; the timer is there at once, so that it can be cancelled at once."""
        at = time.monotonic() + delay_s
        scheduled = ScheduledCall(call, period_s)
        self._on_loop(lambda: self._timers.push(at, scheduled))
        return scheduled

    def _guarded(self, call: Call) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        """A handler's bug is counted and logged, and ends nothing but the handler."""
        self._complaints.failed(f"a handler of {self.name}", error, time.monotonic_ns())

    def _on_loop(self, call: Call) -> None:
        """Do it now when this is the loop's thread, or when the loop does not run yet; else hand it over."""
        if self._on_this_thread():
            call()
        else:
            self._hand_over(call)

    def _on_this_thread(self) -> bool:
        return self._thread is None or self._thread == threading.get_ident()

    def _hand_over(self, call: Call, *, urgent: bool = False) -> None:
        queue = self._urgent if urgent else self._handed_over
        if len(queue) >= MAX_HANDED_OVER:
            self.counters["bus.handed_over_dropped"] += 1
            raise BusError(f"{self.name}: more than {MAX_HANDED_OVER} calls wait for the bus's loop.")
        queue.append(call)
        self._wake()
        if self._closed:
            self._finish_handed_over()

    def _wake(self) -> None:
        with self._wake_lock:
            if not self._closed:
                os.eventfd_write(self._wake_fd, 1)

    # -- sockets ----------------------------------------------------------------------------------

    def _socket(self, kind: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES + 1024)
        socket.setsockopt(zmq.SNDHWM, DEFAULT_QUEUE)
        socket.setsockopt(zmq.RCVHWM, DEFAULT_QUEUE)
        return socket

    def _bind(self, kind: int, lane: str) -> zmq.Socket[bytes]:
        socket = self._socket(kind)
        if kind == zmq.XPUB:
            socket.setsockopt(zmq.XPUB_VERBOSE, 1)
        else:
            socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        if self.name in PROCESSES:
            socket.bind(f"ipc://{self._run_dir / self.name}.{lane}")
        return socket

    def _close(self) -> None:
        self._readiness.close()
        for source in self._sources:
            source.close()
        self._context.destroy(linger=0)
        if self._lock_fd is not None:
            os.close(self._lock_fd)
        with self._wake_lock:  # a descriptor's number may soon be another file's
            self._closed = True
            os.close(self._wake_fd)
        self._finish_handed_over()

    def _finish_handed_over(self) -> None:
        """What came too late for the loop is ended, not left hanging: a request is `Unavailable`."""
        while self._urgent or self._handed_over:
            self._guarded((self._urgent or self._handed_over).popleft())

    def _watch(self, source: Source, call: Call) -> None:
        if self._closed:
            source.close()
            return
        self._sources.append(source)

        def read() -> bool:
            call()
            return False

        self._readiness.watch_fd(source.fileno(), read)

    def _clear_wake(self) -> bool:
        os.eventfd_read(self._wake_fd)
        return False

    # -- publishing and subscribing ---------------------------------------------------------------

    def _new_subscribers(self) -> bool:
        for _ in range(BATCH):
            try:
                raw = self._publisher.recv(_NOBLOCK)
            except zmq.Again:
                return False
            last = self._last.get(raw[1:]) if raw[:1] == b"\x01" else None
            if last is not None:
                self._publisher.send(last, _NOBLOCK)
        return True

    def _subscribe(self, topic: Topic[Any], handler: Callable[[Message[Any]], None], every_value: bool) -> None:
        socket = self._socket(zmq.SUB)
        socket.setsockopt(zmq.RCVHWM, topic.queue)
        socket.setsockopt(zmq.SUBSCRIBE, topic.prefix)
        reader = Reader(topic, handler, self.counters, self._complaints)
        read = self._read_latest if topic.kind is Kind.STATE and not every_value else self._read
        self._readiness.watch(socket, partial(read, socket, reader))
        endpoint = f"ipc://{self._run_dir / topic.owner}.pub"

        def read_all() -> None:
            while read(socket, reader):
                pass

        stay_connected(socket, endpoint, self._readiness, self.call_later, on_lost=read_all)

    def _read_latest(self, socket: zmq.Socket[bytes], reader: Reader) -> bool:
        """Hand over the last of what there is. Not by CONFLATE: a multipart message there ends the process, by an
        assertion of libzmq's."""
        try:
            raw = socket.recv(_NOBLOCK)
        except zmq.Again:
            return False
        for _ in range(DEFAULT_QUEUE):
            if not readable(socket):
                break
            raw = socket.recv(_NOBLOCK)
        reader.take(raw, time.monotonic_ns())
        return True

    def _read(self, socket: zmq.Socket[bytes], reader: Reader) -> bool:
        for _ in range(BATCH):
            try:
                raw = socket.recv(_NOBLOCK)
            except zmq.Again:
                return False
            try:
                reader.take(raw, time.monotonic_ns())
            except Exception as error:  # noqa: BLE001
                self._failed(error)
            if not readable(socket):
                return False
            self._stops_first()
            if self._timer_is_due():
                return True
        return True

    # -- requests ---------------------------------------------------------------------------------

    def _serve_from(self, socket: zmq.Socket[bytes]) -> bool:
        for _ in range(BATCH):
            if not self._serve_one(socket) or not readable(socket):
                return False
            self._stops_first()
            if self._timer_is_due():
                return True
        return True

    def _serve_one(self, socket: zmq.Socket[bytes]) -> bool:
        try:
            peer = socket.recv(_NOBLOCK)
        except zmq.Again:
            return False
        frame = socket.recv(_NOBLOCK, copy=False)
        now_ns = time.monotonic_ns()
        if frame.more:
            self._complaints.drop("bus.malformed", self.name, "a request of more than one part", now_ns)
            while frame.more:
                frame = socket.recv(_NOBLOCK, copy=False)
            return True
        try:
            self._desk.handle(frame.bytes, now_ns, self._answer_on(socket, peer), self._hand_over)
        except Exception as error:  # noqa: BLE001
            self._failed(error)
        return True

    def _answer_on(self, socket: zmq.Socket[bytes], peer: bytes) -> Callable[[bytes], None]:
        def answer(raw: bytes) -> None:
            try:
                socket.send(peer, _NOBLOCK_MORE)
                socket.send(raw, _NOBLOCK)
            except zmq.ZMQError:  # the asker is gone, or reads nothing: it is at its deadline anyway
                self.counters["bus.answers_dropped"] += 1
            if socket is self._stop_lane:
                self._stop_answered = True
                self._readiness.recheck(self._stop_key)
            else:
                self._readiness.recheck(self._requests_key)

        return answer

    def _ask(
        self,
        topic: Topic[Any],
        body: Struct,
        now_ns: int,
        origin: Origin | None,
        id_: str | None,
        timeout_s: float | None,
        asked: Promise,
        sent_s: float | None,
    ) -> None:
        if self._closed:
            asked.set_exception(Unavailable("This process is stopping."))
            return
        request = self._asker.begin(topic, body, now_ns, origin, id_, timeout_s, asked, sent_s)
        if request is None:
            return
        self._lanes.send(lane_of(topic), request)
