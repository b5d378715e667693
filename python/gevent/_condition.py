"""``threading.Condition.wait`` over greenlets."""

from __future__ import annotations

from typing import Any

from gevent._core import BusyWait, LockType

__all__ = ["wait"]

#: The number of waits of no time in a row after which other greenlets run.
_SHORT_WAITS = 10_000


def wait(self: Any, timeout: float | None = None) -> bool:
    """Release the lock, wait until notified or for *timeout* seconds, and take the lock again.

    :returns: True if the caller was notified.
    :raises RuntimeError: if the lock is not held.

    Unlike the standard library's, it passes a notification on that comes for a waiter in which an
    exception is raised (by a kill, or a :class:`gevent.Timeout`), so that it is not lost, and it
    holds the lock however it ends. A wait of no time lets no other greenlet run.
    """
    if not self._is_owned():
        raise RuntimeError("cannot wait on un-acquired lock")
    waiter = LockType()
    waiter.acquire()
    self._waiters.append(waiter)
    saved = self._release_save()
    raised = True
    try:
        try:
            if timeout is None:
                waiter.acquire()
            elif timeout > 0:
                waiter.acquire(True, timeout)
            else:
                _wait_no_time(self)
        finally:
            self._acquire_restore(saved)
        raised = False
    finally:
        try:
            self._waiters.remove(waiter)
            notified = False
        except ValueError:
            notified = True
        if raised and notified and self._is_owned():
            self.notify()
    return notified


def _wait_no_time(condition: Any) -> None:
    # Other greenlets must run at some point in a loop of waits of no time. They run here, where
    # the lock is free for them.
    try:
        busy = condition._busy_wait
    except AttributeError:
        busy = condition._busy_wait = BusyWait()
    busy.failed(_SHORT_WAITS)
