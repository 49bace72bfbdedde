"""What a request will come to: what of `concurrent.futures.Future` is needed here, without its price.

A Future has a Condition of its own, which is made, taken and notified for each request: 9 µs when all of it is in the
processor's caches, 80 µs when it is not, which is more than the way there and back. Here nothing is locked. A callback
is taken off the list by whoever takes it first, the thread that ends the promise or the one that has just come too late
for that, so each is called once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)


class Promise:
    """Ended once, by the bus's loop; looked at and awaited from any thread but the loop's. Cannot be cancelled."""

    __slots__ = ("_callbacks", "_ended", "_error", "_result")

    def __init__(self) -> None:
        self._ended = False
        self._result: Any = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Promise], object]] = []

    def done(self) -> bool:
        return self._ended

    def result(self, timeout: float | None = None) -> Any:
        """The reply.

        Args:
            timeout: how long to wait for it, s; None: until it is there, which is at the request's deadline at last.

        Raises:
            ContractError: the request was refused or failed, or (`Unavailable`) nobody answered.
            TimeoutError: it has not ended yet.
        """
        error = self.exception(timeout)
        if error is not None:
            raise error
        return self._result

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Why there is no reply; None when there is one. Waits and raises TimeoutError as `result` does."""
        if not self._ended:
            ended = threading.Event()
            self.add_done_callback(lambda _: ended.set())
            if not ended.wait(timeout):
                raise TimeoutError("the request has not ended yet")
        return self._error

    def add_done_callback(self, call: Callable[[Promise], object]) -> None:
        """Call when it has ended, in the loop's thread; at once, in this one, when it has ended already."""
        self._callbacks.append(call)
        if self._ended:
            self._call_back()

    def set_result(self, result: Any) -> None:
        """For the bus: end it with a reply."""
        self._end(result, None)

    def set_exception(self, error: BaseException) -> None:
        """For the bus: end it with an error."""
        self._end(None, error)

    def _end(self, result: Any, error: BaseException | None) -> None:
        if self._ended:
            raise RuntimeError("a promise ends once")
        self._result, self._error = result, error
        self._ended = True
        self._call_back()

    def _call_back(self) -> None:
        while self._callbacks:
            try:
                call = self._callbacks.pop(0)
            except IndexError:  # another thread has just taken the last
                return
            try:
                call(self)
            except Exception:
                # Whoever ends a promise has nothing to do with what others make of it.
                log.exception("a callback of a request failed")
