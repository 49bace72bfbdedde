"""What both transports do alike: reading publications, answering requests, keeping track of one's own."""

from __future__ import annotations

import heapq
import itertools
import logging
import traceback
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from bus import codec
from bus.base import Server
from bus.codec import MAX_COUNT, Message, Request
from bus.errors import MalformedMessage, Unavailable
from bus.messages import Origin
from bus.promise import Promise
from bus.topics import Kind, Topic
from contract.commands import Nothing
from contract.errors import ContractError

log = logging.getLogger(__name__)

REMEMBERED_DEEDS = 1024
MEMORY_NS = 600 * 10**9
"""How many answers a server remembers, and how long, so that a repeated id is answered and not carried out."""

MAX_PENDING = 2000
"""Requests of one process that may wait for an answer at once."""

MAX_ASKERS = 100
"""Repeats of one request that may wait for its one outcome."""

LOG_INTERVAL_NS = 60 * 10**9
"""A sender that sends what cannot be read is named in the log once in this time."""
MAX_LOGGED_SENDERS = 64
"""More than these in that time are only counted."""
MAX_LOGGED_TEXT = 200


class Complaints:
    """Counts what is dropped, and logs it once per sender and minute."""

    def __init__(self, counters: Counter[str]) -> None:
        self._counters = counters
        self._logged: OrderedDict[tuple[str, str], int] = OrderedDict()

    def drop(self, counter: str, sender: str, reason: str, now_ns: int) -> None:
        """Note that something was dropped.

        Args:
            sender: who sent it, as far as that is known: its name, or the topic it came by.
        """
        self._counters[counter] += 1
        if not self._first(counter, sender, now_ns):
            return
        text = f"{counter}: {sender[:MAX_LOGGED_TEXT]}: {reason[:MAX_LOGGED_TEXT]}"
        log.warning("%s (counted; said once a minute)", text.encode("unicode_escape").decode())

    def failed(self, what: str, error: BaseException, now_ns: int) -> None:
        """Note that a handler failed, which is a bug: with its traceback, once a minute for each place in the code."""
        self._counters["bus.handler_errors"] += 1
        last = traceback.extract_tb(error.__traceback__)[-1:]
        place = f"{type(error).__name__} {last[0].filename}:{last[0].lineno}" if last else type(error).__name__
        if self._first("bus.handler_errors", place, now_ns):
            log.error("%s failed (counted; said once a minute)", what, exc_info=error)

    def _first(self, counter: str, key: str, now_ns: int) -> bool:
        """Whether this has not been said in the last minute; from here on it has."""
        while self._logged and now_ns - next(iter(self._logged.values())) >= LOG_INTERVAL_NS:
            self._logged.popitem(last=False)
        if (counter, key) in self._logged or len(self._logged) >= MAX_LOGGED_SENDERS:
            return False
        self._logged[counter, key] = now_ns
        return True


def promise(topic: Topic[Any]) -> Promise:
    """What a request will come to. It ends with an answer or at its deadline.

    Raises:
        ValueError: the topic is none that can be asked.
    """
    if topic.kind is not Kind.REQUEST and topic.kind is not Kind.STOP:
        raise ValueError(f"{topic.name} is a {topic.kind.value}; only requests can be asked")
    return Promise()


def lane_of(topic: Topic[Any]) -> str:
    """Where requests of the topic are received: the owner's requests, or its stops."""
    return f"{topic.owner}.{'stop' if topic.kind is Kind.STOP else 'req'}"


class Reader:
    """One subscription: decodes, drops what was already seen, counts what was missed."""

    def __init__(
        self, topic: Topic[Any], handler: Callable[[Message[Any]], None], counters: Counter[str], complaints: Complaints
    ) -> None:
        self.topic = topic
        self._decode = codec.publication_decoder(topic)
        self._handler = handler
        self._counters = counters
        self._complaints = complaints
        self._sender = ""
        self._seq = 0

    def take(self, raw: bytes, now_ns: int) -> None:
        """Hand a publication to the handler, unless it is unreadable or was seen before."""
        try:
            message = self._decode(raw)
        except MalformedMessage as error:
            self._complaints.drop("bus.malformed", self.topic.name, str(error), now_ns)
            return
        if message.sender != self._sender:
            self._sender, self._seq = message.sender, message.seq - 1
        if message.seq <= self._seq:
            self._counters["bus.repeated"] += 1
            return
        missed = message.seq - self._seq - 1
        if missed and self.topic.kind is Kind.EVENT:
            self._counters["bus.missed"] = min(self._counters["bus.missed"] + missed, MAX_COUNT)
        self._seq = message.seq
        self._handler(message)


Answer = Callable[[bytes], None]
CallSoon = Callable[[Callable[[], None]], None]


Finish = Callable[[Struct | ContractError], None]
_NOTHING = Nothing()


@dataclass
class _Deed:
    """What came, or will come, of a request: whoever asked for it with the same id is told the same."""

    at_ns: int
    outcome: Struct | ContractError | None = None
    askers: list[tuple[int, Answer]] = field(default_factory=list)

    def finish(self, outcome: Struct | ContractError) -> None:
        self.outcome = outcome
        self.tell()

    def tell(self) -> None:
        assert self.outcome is not None
        for nonce, answer in self.askers:
            answer(_reply(nonce, self.outcome))
        self.askers.clear()


class Desk:
    """The server's side of requests: deadline, repeated ids, errors. It does no IO."""

    def __init__(self, name: str, counters: Counter[str], complaints: Complaints) -> None:
        self._name = name
        self._counters = counters
        self._complaints = complaints
        self._servers: dict[str, Server] = {}
        self._deeds: OrderedDict[tuple[str, str], _Deed] = OrderedDict()

    def serve(self, topic: Topic[Any], handler: Server) -> None:
        if topic.owner != self._name:
            raise ValueError(f"{self._name} cannot serve {topic.name}: it belongs to {topic.owner}")
        self._servers[topic.name] = handler

    def handle(self, raw: bytes, now_ns: int, answer: Answer, call_soon: CallSoon) -> None:
        """Carry out one request and `answer` it, now or when what it was handed to ends (through `call_soon`)."""
        try:
            topic, envelope = codec.request_envelope(raw)
            request = codec.decode_request(topic, envelope)
        except MalformedMessage as error:
            self._complaints.drop("bus.malformed", self._name, f"a request: {error}", now_ns)
            return
        except ContractError as error:
            self._complaints.drop("bus.refused", envelope.sender, f"{topic.name}: {error}", now_ns)
            answer(codec.encode_reply(envelope.nonce, error))
            return
        if now_ns > request.deadline_ns:
            self._counters["bus.expired"] += 1
            too_late = Unavailable(f"{topic.name} came after its deadline and was not carried out.")
            answer(codec.encode_reply(request.nonce, too_late))
            return
        if request.id is None:
            nonce = request.nonce
            self._carry_out(request, now_ns, call_soon, lambda outcome: answer(_reply(nonce, outcome)))
            return
        try:
            deed, known = self._remembered(request.topic.name, request.id, now_ns)
        except Unavailable as error:
            self._counters["bus.too_many_deeds"] += 1
            answer(codec.encode_reply(request.nonce, error))
            return
        deed.askers.append((request.nonce, answer))
        if deed.outcome is not None:
            deed.tell()
        elif not known:
            self._carry_out(request, now_ns, call_soon, deed.finish)

    def _remembered(self, topic: str, id_: str, now_ns: int) -> tuple[_Deed, bool]:
        """The deed of this id, and whether it was known before.

        Raises:
            Unavailable: too many are under way, which must not be forgotten: their ids would be carried out twice.
        """
        key = (topic, id_)
        known = self._deeds.get(key)
        if known is not None and (known.outcome is None or now_ns - known.at_ns < MEMORY_NS):
            if len(known.askers) >= MAX_ASKERS:
                raise Unavailable(f"{MAX_ASKERS} repeats of this request wait for its result already.")
            self._counters["bus.answered_from_memory"] += 1
            return known, True
        self._forget_one()
        self._deeds[key] = deed = _Deed(now_ns)
        self._deeds.move_to_end(key)
        return deed, False

    def _forget_one(self) -> None:
        """Make room for one more: the oldest that is done goes."""
        if len(self._deeds) < REMEMBERED_DEEDS:
            return
        done = next((key for key, deed in self._deeds.items() if deed.outcome is not None), None)
        if done is None:
            raise Unavailable(f"{self._name} has {REMEMBERED_DEEDS} requests under way already; try again later.")
        del self._deeds[done]

    def _carry_out(self, request: Request[Any], now_ns: int, call_soon: CallSoon, finish: Finish) -> None:
        server = self._servers.get(request.topic.name)
        if server is None:
            finish(Unavailable(f"{self._name} does not answer {request.topic.name}."))
            return
        try:
            outcome = server(request)
        except ContractError as error:
            finish(error)
            return
        except Exception as error:  # noqa: BLE001 - a bug must reach the asker and the log, and not end the process
            self._complaints.failed(request.topic.name, error, now_ns)
            finish(ContractError("INTERNAL_ERROR", f"{request.topic.name} failed; the log says why."))
            return
        if outcome is None:
            finish(_NOTHING)
        elif isinstance(outcome, Struct):
            finish(outcome)
        else:
            outcome.add_done_callback(lambda done: call_soon(lambda: finish(_outcome(done))))


def _reply(nonce: int, outcome: Struct | ContractError) -> bytes:
    """The reply, or where it is too long to send, the error that says so."""
    try:
        return codec.encode_reply(nonce, outcome)
    except ContractError as error:
        log.error("an answer could not be sent: %s", error)
        return codec.encode_reply(nonce, error)


def _outcome(done: Future[Any] | Promise) -> Struct | ContractError:
    error = done.exception()
    if error is None:
        result: Struct | None = done.result()
        return _NOTHING if result is None else result
    if isinstance(error, ContractError):
        return error
    log.error("a request failed", exc_info=error)
    return ContractError("INTERNAL_ERROR", "The robot failed to do that; its log says why.")


class Asker:
    """The client's side of requests: ids, answers, deadlines. It does no IO."""

    def __init__(self, sender: str, counters: Counter[str], complaints: Complaints) -> None:
        self._sender = sender
        self._counters = counters
        self._complaints = complaints
        self._pending: dict[int, tuple[Topic[Any], Promise]] = {}
        self._nonces = itertools.count(1)
        self._deadlines: list[tuple[int, int]] = []

    def begin(
        self,
        topic: Topic[Any],
        body: Struct,
        now_ns: int,
        origin: Origin | None,
        id_: str | None,
        timeout_s: float | None,
        promise: Promise,
        sent_s: float | None = None,
    ) -> Request[Any] | None:
        """Note a request and return it to be sent; None when `promise` was ended at once."""
        if len(self._pending) >= MAX_PENDING:
            self._counters["bus.too_many_requests"] += 1
            promise.set_exception(Unavailable(f"{MAX_PENDING} requests are waiting for an answer already."))
            return None
        timeout_ns = int((topic.max_age_s if timeout_s is None else timeout_s) * 1e9)
        nonce = next(self._nonces)
        sent_ns = now_ns if sent_s is None else min(now_ns, int(sent_s * 1e9))
        request = Request(topic, body, self._sender, nonce, id_, sent_ns, now_ns + timeout_ns, origin)
        self._pending[nonce] = (topic, promise)
        heapq.heappush(self._deadlines, (request.deadline_ns, nonce))
        return request

    def answered(self, raw: bytes, now_ns: int) -> None:
        """End the promise an answer belongs to; late and unknown answers are counted."""
        try:
            reply = codec.decode_reply(raw)
        except MalformedMessage as error:
            self._complaints.drop("bus.malformed", "a reply", str(error), now_ns)
            return
        pending = self._pending.pop(reply.nonce, None)
        if pending is None:
            self._counters["bus.late_replies"] += 1
            return
        topic, promise = pending
        if reply.error is not None:
            promise.set_exception(reply.error)
            return
        try:
            result = codec.decode_payload(topic.reply, reply.payload)
        except ContractError as error:
            promise.set_exception(error)
        else:
            promise.set_result(result)

    def expire(self, now_ns: int) -> None:
        """End the promises whose deadline has passed."""
        while self._deadlines and self._deadlines[0][0] <= now_ns:
            pending = self._pending.pop(heapq.heappop(self._deadlines)[1], None)
            if pending is not None:
                self._counters["bus.unanswered"] += 1
                topic, promise = pending
                promise.set_exception(Unavailable(f"{topic.owner} did not answer {topic.name} in time."))

    def lost(self, lane: str, unsent: Collection[int]) -> None:
        """The process behind a lane is gone. What was sent to it will not be answered any more.

        Args:
            lane: as `lane_of` names it.
            unsent: nonces of what still waits for a successor.
        """
        for nonce, (topic, promise) in list(self._pending.items()):
            if nonce not in unsent and lane_of(topic) == lane:
                del self._pending[nonce]
                self._counters["bus.unanswered"] += 1
                promise.set_exception(
                    Unavailable(f"{topic.owner} ended before it answered {topic.name}; it may or may not be done.")
                )

    def next_deadline_ns(self) -> int | None:
        """When `expire` has something to do next; None when nothing waits."""
        while self._deadlines and self._deadlines[0][1] not in self._pending:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def abandon(self) -> None:
        """End every promise: the process is stopping."""
        for _, promise in self._pending.values():
            promise.set_exception(Unavailable("This process is stopping."))
        self._pending.clear()
