"""The futures that :meth:`gevent.threadpool.ThreadPoolExecutor.submit` returns."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from concurrent.futures import Future as _StandardFuture
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures._base import (
    CANCELLED_AND_NOTIFIED,
    FINISHED,
    LOGGER,
    PENDING,
    RUNNING,
)
from functools import cached_property
from typing import Any, Generic, Self, TypeVar

from gevent.event import AsyncResult
from gevent.monkey._state import is_module_patched
from gevent.timeout import Timeout

__all__ = ["LOGGER", "Future", "Reporter", "StandardFuture", "Work"]

_T = TypeVar("_T")


class Work:
    """One call of an executor, which a worker begins or which is given up, but never both."""

    __slots__ = ("_fate", "executor", "fn", "result")

    def __init__(self, executor: Any, fn: Callable[..., Any]) -> None:
        self.executor: Any = executor
        self.fn: Callable[..., Any] = fn
        #: The pool's own result object, once the pool has accepted the call.
        self.result: AsyncResult | None = None
        # Empty, or one entry: the error with which the call was given up, or None once it was
        # begun. Both may happen at the same time in different threads: `setdefault` is atomic.
        self._fate: dict[str, BaseException | None] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.executor._prepare_worker()
        self.executor._queued.discard(self)
        # The pool brings the error to the hub's thread.
        error = self._fate.setdefault("", self.executor._broken_error())
        if error is not None:
            raise error
        return self.fn(*args, **kwargs)

    @property
    def error(self) -> BaseException | None:
        """The error with which the call was given up, or ``None``."""
        return self._fate.get("")

    def begun(self) -> bool:
        """Return true if a worker has begun it."""
        return bool(self._fate) and self.error is None

    def cancelled(self) -> bool:
        """Return true if it was given up because it was cancelled."""
        return isinstance(self.error, CancelledError)

    def give_up(self, error: BaseException) -> None:
        """Give the call up, and wake its waiters, unless it was begun or given up before."""
        if self._fate.setdefault("", error) is error:
            self.executor._queued.discard(self)
            self.notify()

    def notify(self) -> None:
        """Store the error in the result that waiters wait for, if the call was given up."""
        if self.error is not None and self.result is not None and not self.result.ready():
            self.result.set_exception(self.error)


class Reporter:
    """Stands for a hub where a pool reports errors: a call that was given up is no error."""

    __slots__ = ("hub",)

    def __init__(self, hub: Any) -> None:
        self.hub = hub

    def handle_error(self, context: Any, *exc_info: Any) -> None:
        """Pass an error of a worker's task on to the hub, unless the task was given up."""
        worker, work = context
        if isinstance(work, Work):
            if work.error is not None:
                return
            context = (worker, work.fn)
        self.hub.handle_error(context, *exc_info)


class _FutureLink:
    # A link to the result that calls the callback with the future.

    __slots__ = ("callback", "future")

    def __init__(self, future: Future[Any], callback: Callable[[Any], object]) -> None:
        self.future = future
        self.callback = callback

    def __call__(self, _result: Any) -> None:
        self.callback(self.future)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _FutureLink) and self.callback == other.callback

    def __hash__(self) -> int:
        return hash(self.callback)


class Future(Generic[_T]):
    """The interface of a :class:`concurrent.futures.Future` over an ``AsyncResult``."""

    def __init__(self, asyncresult: AsyncResult[_T], work: Work) -> None:
        self.asyncresult = asyncresult
        self._work = work

    def __getattr__(self, name: str) -> Any:
        return getattr(self.asyncresult, name)

    def __repr__(self) -> str:
        return f"<Future at {hex(id(self))} {self._state.lower()}>"

    @cached_property
    def _condition(self) -> Any:
        # The functions of concurrent.futures wait on it; a greenlet may do so only where it is
        # cooperative.
        if is_module_patched("threading") or self.done():
            return threading.Condition()
        raise AttributeError("_condition")

    @cached_property
    def _waiters(self) -> list[Any]:
        self.asyncresult.rawlink(self._notify_waiters)
        return []

    def _notify_waiters(self, _result: Any) -> None:
        with self._condition:
            for waiter in self._waiters:
                if self.cancelled():
                    waiter.add_cancelled(self)
                elif self.asyncresult.exception is None:
                    waiter.add_result(self)
                else:
                    waiter.add_exception(self)

    @property
    def _state(self) -> str:
        if self.done():
            return CANCELLED_AND_NOTIFIED if self.cancelled() else FINISHED
        return RUNNING if self._work.begun() else PENDING

    def set_running_or_notify_cancel(self) -> bool:
        """Return true if the call was not cancelled; the executor does the rest by itself."""
        return not self.cancelled()

    def cancel(self) -> bool:
        """Have the call never run, if no thread has begun it.

        Its waiters are woken, and its callbacks called, before this returns.

        :returns: ``True`` if it is cancelled, ``False`` if it runs or is done.
        """
        self._work.give_up(CancelledError())
        return self.cancelled()

    def cancelled(self) -> bool:
        """Return true if the call was cancelled."""
        return self._work.cancelled()

    def running(self) -> bool:
        """Return true if a thread has begun the call and the result is not there yet."""
        return self._work.begun() and not self.done()

    def done(self) -> bool:
        """Return true if the result is there, or the call was cancelled."""
        return self.asyncresult.ready()

    def result(self, timeout: float | None = None) -> _T:
        """Return what the call returned, or raise what it raised; wait *timeout* seconds for it.

        :raises concurrent.futures.TimeoutError: it was not over by then.
        :raises concurrent.futures.CancelledError: the call was cancelled.
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
        :raises concurrent.futures.CancelledError: the call was cancelled.
        """
        if not self.asyncresult.wait(timeout) and not self.done():
            raise FutureTimeoutError
        if self.cancelled():
            raise CancelledError
        return self.asyncresult.exception

    def add_done_callback(self, fn: Callable[[Self], object]) -> None:
        """Have *fn* called with this object when the result is there; now if it is there already.

        An error of *fn* is logged.
        """
        if self.done():
            self._call(fn)
        else:
            self.asyncresult.rawlink(lambda _result: self._call(fn))

    def _call(self, fn: Callable[[Self], object]) -> None:
        try:
            fn(self)
        except Exception:
            LOGGER.exception("exception calling callback for %r", self)

    def rawlink(self, callback: Callable[[Self], object]) -> None:
        """Have *callback* called with this object, in the hub, when the result is there."""
        self.asyncresult.rawlink(_FutureLink(self, callback))

    def unlink(self, callback: Callable[[Self], object]) -> None:
        """Remove a callback that :meth:`rawlink` added."""
        self.asyncresult.unlink(_FutureLink(self, callback))


class StandardFuture(Future[_T], _StandardFuture[_T]):  # type: ignore[override]
    """A :class:`Future` that is one of :mod:`concurrent.futures` as well, which gevent's never is.

    asyncio takes no other from an executor, and needs one for calls that block natively. It waits
    for them only where its loop lets the hub run, so only where :mod:`threading` is patched.
    """

    # The state of the standard one stays unset: each method that uses it is replaced.

    def set_result(self, result: _T) -> None:
        """Store a result in place of that of the call."""
        self.asyncresult.set(result)

    def set_exception(self, exception: BaseException | None) -> None:
        """Store an error in place of the outcome of the call."""
        self.asyncresult.set_exception(exception)

    def _get_snapshot(self) -> tuple[bool, bool, _T | None, BaseException | None]:
        # The asyncio of CPython 3.15 asks for all of them in one call.
        if not self.done():
            return False, False, None, None
        if self.cancelled():
            return True, True, None, None
        return True, False, self.asyncresult.value, self.asyncresult.exception
