"""The interface of the bus, which both transports have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, Protocol, TypeVar

from msgspec import Struct

from bus.codec import Message, Request
from bus.messages import Origin
from bus.promise import Promise
from bus.topics import Topic

T = TypeVar("T", bound=Struct)
Outcome = Struct | Future[Any] | Promise | None
Server = Callable[[Request[Any]], Outcome]


class Timer(Protocol):
    """Something that will be called; `cancel` is idempotent."""

    def cancel(self) -> None: ...


class Source(Protocol):
    """What becomes readable by itself, outside the bus."""

    def fileno(self) -> int: ...

    def close(self) -> None: ...


class Bus(Protocol):
    """What a process sees of the bus. All handlers run one after the other, on the bus's own loop.

    `publish`, `request` and `call_soon` may be called from any thread, everything else before the loop
    runs or from a handler.
    """

    name: str
    counters: Counter[str]
    loop_lag_s: float

    def now(self) -> float:
        """CLOCK_MONOTONIC in seconds (in memory: the fake clock)."""

    def publish(self, topic: Topic[T], value: T) -> None:
        """Send to every subscriber. Never blocks; a reader that is too slow loses messages, and counts them."""

    def subscribe(self, topic: Topic[T], handler: Callable[[Message[T]], None], *, every_value: bool = False) -> None:
        """Call `handler` for every message (EVENT), or for the latest one (STATE; at once if there is one).

        Args:
            every_value: of a STATE too, every message: for those who look at the bus itself.
        """

    def serve(self, topic: Topic[T], handler: Callable[[Request[T]], Outcome]) -> None:
        """Answer requests: `handler` returns the reply, None for an empty one, or a future of it, or raises
        ContractError."""

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
        """Ask the topic's owner. The promise ends by the deadline: with the reply, or with ContractError
        (`Unavailable` when nobody answered).

        Args:
            sent_s: what the request says of when it was sent: for what came in earlier than it could be passed on,
                and grows old by that. None: now.
        """

    def every(self, period_s: float, call: Callable[[], None]) -> Timer:
        """Call again and again; a late call is made once, not several times."""

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        """Call once."""

    def watch(self, source: Source, call: Callable[[], None]) -> None:
        """Call when a source has something to read, which `call` then reads. The bus closes it at its own end."""

    def call_soon(self, call: Callable[[], None]) -> None:
        """Call on the bus's loop. The way for other threads to hand work over."""


class Latest(Generic[T]):
    """The latest value of a STATE, as this process knows it.

    >>> beat = Latest(bus, GUARD_BEAT)
    >>> beat.fresh(bus.now())
    """

    def __init__(self, bus: Bus, topic: Topic[T]) -> None:
        self.topic = topic
        self.message: Message[T] | None = None
        bus.subscribe(topic, self._keep)

    def _keep(self, message: Message[T]) -> None:
        self.message = message

    def age_s(self, now: float) -> float:
        """Seconds since the value was sent; infinite when none was heard."""
        return now - self.message.sent_ns / 1e9 if self.message else float("inf")

    def fresh(self, now: float) -> T | None:
        """The value, or None when there is none or it is stale by the topic's own `max_age_s`."""
        return self.message.value if self.message and self.age_s(now) <= self.topic.max_age_s else None
