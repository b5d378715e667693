"""What :meth:`gevent.threadpool.ThreadPoolExecutor.submit` returns."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures._base import FINISHED, LOGGER, PENDING
from functools import cached_property
from typing import Any

from gevent.event import AsyncResult
from gevent.monkey._state import is_module_patched
from gevent.timeout import Timeout

__all__ = ["Future"]


class _FutureLink:
    # Calls with the future what is linked to its result.

    __slots__ = ("callback", "future")

    def __init__(self, future: Future, callback: Callable[[Any], object]) -> None:
        self.future = future
        self.callback = callback

    def __call__(self, _result: Any) -> None:
        self.callback(self.future)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _FutureLink) and self.callback == other.callback

    def __hash__(self) -> int:
        return hash(self.callback)


class Future:
    """The interface of a :class:`concurrent.futures.Future` over an ``AsyncResult``."""

    def __init__(self, asyncresult: AsyncResult) -> None:
        self.asyncresult = asyncresult

    def __getattr__(self, name: str) -> Any:
        return getattr(self.asyncresult, name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {hex(id(self))} {self._state.lower()}>"

    @cached_property
    def _condition(self) -> Any:
        # What the functions of concurrent.futures synchronize with; only where it is cooperative
        # may a greenlet wait on it.
        if is_module_patched("threading") or self.done():
            return threading.Condition()
        raise AttributeError("_condition")

    @cached_property
    def _waiters(self) -> list[Any]:
        self.asyncresult.rawlink(self._tell_waiters)
        return []

    def _tell_waiters(self, _result: Any) -> None:
        with self._condition:
            for waiter in self._waiters:
                if self.asyncresult.exception is None:
                    waiter.add_result(self)
                else:
                    waiter.add_exception(self)

    @property
    def _state(self) -> str:
        return FINISHED if self.done() else PENDING

    def set_running_or_notify_cancel(self) -> bool:
        """Return ``True``: a task that was submitted runs."""
        return True

    def cancel(self) -> bool:
        """Return ``False``: a task that was submitted runs."""
        return False

    def cancelled(self) -> bool:
        """Return ``False``: a task that was submitted runs."""
        return False

    def running(self) -> bool:
        """Return whether the result is not there yet."""
        return not self.done()

    def done(self) -> bool:
        """Return whether the result is there."""
        return self.asyncresult.ready()

    def result(self, timeout: float | None = None) -> Any:
        """Return what the call returned, or raise what it raised; wait *timeout* seconds for it.

        :raises concurrent.futures.TimeoutError: it was not over by then.
        """
        try:
            return self.asyncresult.get(timeout=timeout)
        except Timeout:
            if self.done():
                # The call raised it.
                raise
            raise FutureTimeoutError from None

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the call raised or ``None``; wait *timeout* seconds for it.

        :raises concurrent.futures.TimeoutError: it was not over by then.
        """
        if not self.asyncresult.wait(timeout) and not self.done():
            raise FutureTimeoutError
        return self.asyncresult.exception

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        """Have *fn* called with this object when the result is there; at once if it is.

        What it raises is logged.
        """
        if self.done():
            self._call(fn)
        else:
            self.asyncresult.rawlink(lambda _result: self._call(fn))

    def _call(self, fn: Callable[[Any], object]) -> None:
        try:
            fn(self)
        except Exception:
            LOGGER.exception("exception calling callback for %r", self)

    def rawlink(self, callback: Callable[[Any], object]) -> None:
        """Have *callback* called with this object, in the hub, when the result is there."""
        self.asyncresult.rawlink(_FutureLink(self, callback))

    def unlink(self, callback: Callable[[Any], object]) -> None:
        """Take back :meth:`rawlink`."""
        self.asyncresult.unlink(_FutureLink(self, callback))
