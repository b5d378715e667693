"""``Condition`` of multiprocessing, whose locks and counts a kill leaves as they have to be."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import Any

from gevent._processes.synchronize import SemLockBase

__all__ = ["patch"]


def _wait(self: Any, timeout: float | None = None) -> bool:
    """Release the lock, wait until notified or for *timeout* seconds, and take the lock again.

    :returns: True if the caller was notified.

    Unlike the standard library's, it holds the lock however it ends: by a kill as well, or by a
    :class:`gevent.Timeout`, that comes while the lock is to be taken again.
    """
    lock = self._lock._semlock
    assert lock._is_mine(), "must acquire() condition before using wait()"
    self._sleeping_count.release()
    depth = lock._count()
    for _ in range(depth):
        self._lock.release()
    thrown = None
    try:
        notified: bool = self._wait_semaphore.acquire(True, timeout)
    finally:
        self._woken_count.release()
        for _ in range(depth):
            thrown = _acquire_in_any_case(lock) or thrown
    if thrown is not None:
        raise thrown
    return notified


def _acquire_in_any_case(lock: Any) -> BaseException | None:
    if isinstance(lock, SemLockBase):
        return lock.acquire_in_any_case()
    lock.acquire()
    return None


def _notifying(original: Callable[..., None]) -> Callable[..., None]:
    """Wrap a method that wakes waiters, and counts those that woke.

    Without their number the next notification would fail, so a kill is put off until it is known.
    """

    @wraps(original)
    def notify(self: Any, *args: Any, **kwargs: Any) -> None:
        woken = self._woken_count
        count, acquire = woken._semlock, woken.acquire
        thrown: list[BaseException] = []

        def acquire_in_any_case(block: bool = True, timeout: float | None = None) -> bool:
            if not block:
                acquired: bool = acquire(False)
                return acquired
            error = _acquire_in_any_case(count)
            if error is not None:
                thrown.append(error)
            return True

        if not self._lock._semlock._is_mine():
            # It fails.
            original(self, *args, **kwargs)
        # Only the holder of the lock counts.
        woken.acquire = acquire_in_any_case
        try:
            original(self, *args, **kwargs)
        finally:
            woken.acquire = acquire
        if thrown:
            raise thrown[-1]

    return notify


def patch(module: ModuleType) -> None:
    """Have the conditions of *module* survive the kill of a greenlet that uses them.

    :param module: ``multiprocessing.synchronize`` or ``billiard.synchronize``.
    """
    kind = module.Condition
    kind.wait = _wait
    kind.notify = _notifying(kind.notify)
    if module.__name__ == "billiard.synchronize":
        # The other module's calls notify().
        kind.notify_all = _notifying(kind.notify_all)
