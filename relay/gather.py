"""Who asks the same kind of thing at the same time is answered together: one round trip for all who wait.

Nothing is remembered. What is answered was read after it was asked for, so an account that has just been signed out
stays out.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, Generic, TypeVar

import gevent
import redis
from gevent.event import AsyncResult

from contract.errors import ContractError

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_TOGETHER = 128
PAUSE_S = 0.02
"""While many come, each round trip waits a little for more of them; who comes alone never waits."""


class Gather(Generic[K, V]):
    """One kind of question. As long as one round trip is under way, those who ask wait for the next.

    Args:
        fetch: answers many at once; what it leaves out has no answer. Blocks.
        together: most questions in one round trip.
    """

    def __init__(self, fetch: Callable[[list[K]], Mapping[K, V]], together: int = MAX_TOGETHER) -> None:
        self._fetch = fetch
        self._together = together
        self._asked: list[tuple[K, AsyncResult[V | None]]] = []
        self._running = False

    def get(self, key: K) -> V | None:
        """The answer to one question. Blocks. Raises what `fetch` raises."""
        answer: V | None = self._ask(key).get()
        return answer

    def get_all(self, keys: Iterable[K]) -> dict[K, V]:
        """The answers to several, as far as there are any. Blocks. Raises what `fetch` raises."""
        asked = [(key, self._ask(key)) for key in keys]
        answers = [(key, answer.get()) for key, answer in asked]
        return {key: answer for key, answer in answers if answer is not None}

    def _ask(self, key: K) -> AsyncResult[V | None]:
        answer: AsyncResult[V | None] = AsyncResult()
        self._asked.append((key, answer))
        if not self._running:
            self._running = True
            gevent.spawn(self._run)
        return answer

    def _run(self) -> None:
        many = False
        while self._asked:
            if many:
                gevent.sleep(PAUSE_S)
            many = len(self._asked) > 1
            batch, self._asked = self._asked[: self._together], self._asked[self._together :]
            self._answer(batch)
        self._running = False

    def _answer(self, batch: list[tuple[K, AsyncResult[V | None]]]) -> None:
        try:
            found: Mapping[K, Any] = self._fetch(list(dict.fromkeys(key for key, _ in batch)))
        except BaseException as error:  # noqa: BLE001 - a gevent.Timeout is no Exception
            # Whatever it is belongs to those who asked: nobody may wait for ever. One question that cannot be put is
            # not to spoil the others.
            if len(batch) == 1 or _concerns_all(error):
                for _, answer in batch:
                    answer.set_exception(error)
                return
            for one in batch:
                self._answer([one])
            return
        for key, answer in batch:
            answer.set(found.get(key))


def _concerns_all(error: BaseException) -> bool:
    """Redis or PostgreSQL is away, or time is over, whatever is asked."""
    if isinstance(error, ContractError):
        return error.code == "UNAVAILABLE"
    return isinstance(error, redis.RedisError) or not isinstance(error, Exception)
