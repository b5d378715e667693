"""Semaphores, which are in :mod:`gevent.lock` today, and what was of use before gevent 0.10."""

from __future__ import annotations

from typing import Any

from gevent.compat import warn
from gevent.event import AsyncResult
from gevent.lock import BoundedSemaphore, DummySemaphore, RLock, Semaphore
from gevent.queue import Channel, Queue

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
