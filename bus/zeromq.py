"""The bus over ZeroMQ, brokerless: each process binds its own sockets in the run directory, peers connect by the table.

`<name>.pub` XPUB: what the process publishes. XPUB_VERBOSE, so that every new subscriber is seen and a STATE's last
value can be sent again at once. `<name>.req` ROUTER: requests. `<name>.stop` ROUTER: the STOP lane, looked at before
every other message. One thread owns all sockets; other threads hand over through a queue and an eventfd.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import zmq
from msgspec import Struct

from bus import codec, lock
from bus.base import Server, Timer
from bus.codec import MAX_MESSAGE_BYTES, Message
from bus.endpoint import Asker, Complaints, Desk, Reader, check_request
from bus.errors import BusError, Unavailable
from bus.messages import Origin
from bus.timers import Call, ScheduledCall, Timers
from bus.topics import DEFAULT_QUEUE, PROCESSES, Kind, Topic

T = TypeVar("T", bound=Struct)

log = logging.getLogger(__name__)

RECONNECT_MS = 10
"""ZeroMQ's default of 100 ms leaves a restarted publisher unheard for 64 ms; with 10 ms it is 6.5 ms."""
MAX_HANDED_OVER = 10_000
"""What other threads may have waiting for the loop."""
BATCH = 64
"""Messages taken from one socket before the others get their turn."""
MAX_POLL_S = 0.5
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
        self._dealers: dict[str, zmq.Socket[bytes]] = {}
        self._unsent: dict[str, deque[tuple[int, bytes]]] = {}
        self._timers = Timers()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._wake_lock = threading.RLock()  # re-entrant: `stop` may come from a signal handler within `_wake`
        self._handed_over: deque[Call] = deque()
        self._urgent: deque[Call] = deque()
        self._poller = zmq.Poller()
        self._handlers: dict[Any, Call] = {}
        self._thread: int | None = None
        self._stopping = threading.Event()
        self._closed = False
        self._watch(self._wake_fd, self._clear_wake)
        self._watch(self._publisher, self._new_subscribers)
        self._watch(self._requests, lambda: self._serve_from(self._requests))
        self._watch(self._stop_lane, lambda: self._serve_from(self._stop_lane))

    # -- the interface ----------------------------------------------------------------------------

    def now(self) -> float:
        return time.monotonic()

    def publish(self, topic: Topic[T], value: T) -> None:
        if topic.owner != self.name:
            raise ValueError(f"{self.name} cannot publish {topic.name}: it belongs to {topic.owner}")
        self._on_loop(lambda: self._publish(topic, value))

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
    ) -> Future[Any]:
        check_request(topic)
        future: Future[Any] = Future()
        now_ns = time.monotonic_ns()
        self._on_loop(
            lambda: self._ask(topic, body, now_ns, origin, id, timeout_s, future), urgent=topic.kind is Kind.STOP
        )
        return future

    def every(self, period_s: float, call: Call) -> Timer:
        return self._schedule(period_s, call, period_s)

    def call_later(self, delay_s: float, call: Call) -> Timer:
        return self._schedule(delay_s, call, None)

    def call_soon(self, call: Call) -> None:
        self._hand_over(call)

    # -- the loop ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until `stop`; then close every socket."""
        self._thread = threading.get_ident()
        try:
            while not self._stopping.is_set():
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
        self._stopping.set()
        self._wake()

    def _turn(self) -> None:
        ready = self._poller.poll(self._poll_ms())
        self._stops_first()
        for socket, _ in ready:
            handler = self._handlers.get(socket)
            if handler is not None:
                self._guarded(handler)
        self._run_handed_over()
        self._run_timers()
        self._asker.expire(time.monotonic_ns())

    def _poll_ms(self) -> int:
        if self._handed_over or self._urgent:
            return 0
        now = time.monotonic()
        wait_s = MAX_POLL_S
        due = self._timers.next_at()
        if due is not None:
            wait_s = min(wait_s, due - now)
        deadline_ns = self._asker.next_deadline_ns()
        if deadline_ns is not None:
            wait_s = min(wait_s, deadline_ns / 1e9 - now)
        return max(0, math.ceil(wait_s * 1000))

    def _stops_first(self) -> None:
        """Nothing overtakes the STOP lane: what comes in or goes out there is done before anything else."""
        while self._urgent:
            self._guarded(self._urgent.popleft())
        while int(self._stop_lane.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._serve_one(self._stop_lane)

    def _run_handed_over(self) -> None:
        for _ in range(len(self._handed_over)):
            self._stops_first()
            self._guarded(self._handed_over.popleft())

    def _run_timers(self) -> None:
        now = time.monotonic()
        while (scheduled := self._timers.pop_due(now)) is not None:
            due, call = scheduled
            self.loop_lag_s = max(self.loop_lag_s, now - due)
            self._stops_first()
            self._guarded(call)

    def _schedule(self, delay_s: float, call: Call, period_s: float | None) -> Timer:
        """On the loop; the timer is there at once, so that it can be cancelled at once."""
        at = time.monotonic() + delay_s
        scheduled = ScheduledCall(call, period_s)
        self._on_loop(lambda: self._timers.push(at, scheduled))
        return scheduled

    def _guarded(self, call: Call) -> None:
        try:
            call()
        except Exception:
            self.counters["bus.handler_errors"] += 1
            log.exception("a handler of %s failed", self.name)

    def _on_loop(self, call: Call, *, urgent: bool = False) -> None:
        """Do it now when this is the loop's thread, or when the loop does not run yet; else hand it over."""
        if self._thread is None or self._thread == threading.get_ident():
            call()
        else:
            self._hand_over(call, urgent=urgent)

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

    def _watch(self, socket: Any, handler: Call) -> None:
        self._handlers[socket] = handler
        self._poller.register(socket, zmq.POLLIN)

    def _close(self) -> None:
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

    def _clear_wake(self) -> None:
        os.eventfd_read(self._wake_fd)

    # -- publishing and subscribing ---------------------------------------------------------------

    def _publish(self, topic: Topic[Any], value: Struct) -> None:
        if self._closed:
            return
        self._seqs[topic.name] += 1
        raw = codec.encode_publication(topic, value, self._sender, self._seqs[topic.name], time.monotonic_ns())
        if topic.kind is Kind.STATE:
            self._last[codec.prefix(topic)] = raw
        try:
            self._publisher.send(raw, zmq.NOBLOCK)
        except zmq.Again:
            self.counters["bus.publish_dropped"] += 1

    def _new_subscribers(self) -> None:
        for _ in range(BATCH):
            try:
                raw = self._publisher.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            last = self._last.get(raw[1:]) if raw[:1] == b"\x01" else None
            if last is not None:
                self._publisher.send(last, zmq.NOBLOCK)

    def _subscribe(self, topic: Topic[Any], handler: Callable[[Message[Any]], None], every_value: bool) -> None:
        socket = self._socket(zmq.SUB)
        socket.setsockopt(zmq.RCVHWM, topic.queue)
        if topic.kind is Kind.STATE and not every_value:
            socket.setsockopt(zmq.CONFLATE, 1)
        socket.connect(f"ipc://{self._run_dir / topic.owner}.pub")
        socket.setsockopt(zmq.SUBSCRIBE, codec.prefix(topic))
        reader = Reader(topic, handler, self.counters, self._complaints)
        self._watch(socket, lambda: self._read(socket, reader))

    def _read(self, socket: zmq.Socket[bytes], reader: Reader) -> None:
        for _ in range(BATCH):
            try:
                raw = socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._stops_first()
            self._guarded(lambda raw=raw: reader.take(raw, time.monotonic_ns()))  # type: ignore[misc]

    # -- requests ---------------------------------------------------------------------------------

    def _serve_from(self, socket: zmq.Socket[bytes]) -> None:
        for _ in range(BATCH):
            if socket is not self._stop_lane:
                self._stops_first()
            if not self._serve_one(socket):
                return

    def _serve_one(self, socket: zmq.Socket[bytes]) -> bool:
        try:
            parts = socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return False
        now_ns = time.monotonic_ns()
        if len(parts) != 2:
            self._complaints.drop("bus.malformed", f"a request to {self.name} of {len(parts)} parts", now_ns)
            return True
        self._desk.handle(parts[1], now_ns, self._answer_on(socket, parts[0]), self._hand_over)
        return True

    def _answer_on(self, socket: zmq.Socket[bytes], peer: bytes) -> Callable[[bytes], None]:
        def answer(raw: bytes) -> None:
            try:
                socket.send_multipart([peer, raw], zmq.NOBLOCK)
            except zmq.ZMQError:  # the asker is gone, or reads nothing: it is at its deadline anyway
                self.counters["bus.answers_dropped"] += 1

        return answer

    def _ask(
        self,
        topic: Topic[Any],
        body: Struct,
        now_ns: int,
        origin: Origin | None,
        id_: str | None,
        timeout_s: float | None,
        future: Future[Any],
    ) -> None:
        if self._closed:
            future.set_exception(Unavailable("This process is stopping."))
            return
        request = self._asker.begin(topic, body, now_ns, origin, id_, timeout_s, future)
        if request is None:
            return
        lane = f"{topic.owner}.{'stop' if topic.kind is Kind.STOP else 'req'}"
        if lane not in self._dealers:
            self._connect_lane(lane)
        self._unsent[lane].append((request.deadline_ns, codec.encode_request(request)))
        self._send_waiting(lane)

    def _connect_lane(self, lane: str) -> None:
        socket = self._socket(zmq.DEALER)
        socket.setsockopt(zmq.IMMEDIATE, 1)  # nothing waits inside ZeroMQ for a server that is down
        socket.connect(f"ipc://{self._run_dir / lane}")
        self._dealers[lane] = socket
        self._unsent[lane] = deque(maxlen=DEFAULT_QUEUE)
        self._watch(socket, lambda: self._lane_ready(lane))

    def _lane_ready(self, lane: str) -> None:
        self._send_waiting(lane)
        socket = self._dealers[lane]
        for _ in range(BATCH):
            try:
                raw = socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._asker.answered(raw, time.monotonic_ns())

    def _send_waiting(self, lane: str) -> None:
        """Send what can be sent; what is over its deadline is dropped here, its future ends in `expire`."""
        waiting, socket = self._unsent[lane], self._dealers[lane]
        while waiting:
            deadline_ns, raw = waiting[0]
            if time.monotonic_ns() <= deadline_ns:
                try:
                    socket.send(raw, zmq.NOBLOCK)
                except zmq.Again:
                    self._poller.modify(socket, zmq.POLLIN | zmq.POLLOUT)
                    return
            waiting.popleft()
        self._poller.modify(socket, zmq.POLLIN)
