"""Semaphores, today in :mod:`gevent.lock`, and classes that were used before gevent 0.10."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gevent import queue
from gevent.compat import warn
from gevent.event import AsyncResult
from gevent.lock import BoundedSemaphore, DummySemaphore, RLock, Semaphore

__all__ = ["BoundedSemaphore", "Channel", "DummySemaphore", "Queue", "RLock", "Semaphore", "event"]

warn("gevent.coros", "gevent.lock, gevent.event and gevent.queue")


class event(AsyncResult):
    """A value, or an exception, that one greenlet sends and others wait for."""

    def send(self, result: Any = None, exc: BaseException | None = None) -> None:
        """Send *result*, or the exception *exc*, to all who wait."""
        if exc is None:
            self.set(result)
        else:
            self.set_exception(exc)

    def send_exception(self, exception: BaseException) -> None:
        """Send an exception to all who wait."""
        self.set_exception(exception)

    def wait(self, timeout: float | None = None) -> Any:
        """Wait for what is sent, for at most *timeout* seconds; return the value.

        :raises gevent.Timeout: Nothing was sent in time.
        """
        return self.get(timeout=timeout)


class _Error:
    """An exception on its way through a queue."""

    def __init__(self, exception: BaseException | type[BaseException]) -> None:
        self.exception = exception


class _Sending:
    """The older methods of a queue: :meth:`send` and :meth:`wait`."""

    put: Any
    get: Any

    def send(
        self, result: Any = None, exc: BaseException | type[BaseException] | None = None
    ) -> None:
        """Send *result*, or have the exception *exc* raised, to the next waiter."""
        self.put(result if exc is None else _Error(exc))

    def send_exception(self, exception: BaseException | type[BaseException]) -> None:
        """Have an exception raised by the :meth:`wait` that comes next."""
        self.put(_Error(exception))

    def wait(self) -> Any:
        """Wait for what is sent next, and return it, or raise what was sent as an exception."""
        item = self.get()
        if isinstance(item, _Error):
            raise item.exception
        return item

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self.wait()


class Queue(_Sending, queue.Queue):  # type: ignore[misc]
    """A queue in which :meth:`send` puts, without waiting, and :meth:`wait` gets."""


class Channel(_Sending, queue.Channel):  # type: ignore[misc]
    """A channel: :meth:`send` waits until the item was taken by :meth:`wait`."""
