"""The mutex and the conditions that a queue of the standard library has, for a queue of ours.

Programs wait at them and clear a queue under them. Our queues need neither: they tell these of
each change from the moment on that somebody asks for them.
"""

from __future__ import annotations

import threading
from typing import Any

from gevent._condition import wait
from gevent.thread import LockType

__all__ = ["Conditions"]


class _Condition(threading.Condition):
    """A condition whose waiters the queue wakes, and whose notification wakes the queue's."""

    wait = wait
    _waiters: Any

    def __init__(self, mutex: Any, queue: Any) -> None:
        super().__init__(mutex)
        self._queue = queue

    def notify(self, n: int = 1) -> None:
        """Wake *n* who wait here, and whoever waits in the queue and can go on.

        :raises RuntimeError: if the mutex is not held.
        """
        super().notify(n)
        self._queue._settle()

    def changed(self) -> None:
        """Wake all who wait here, without the mutex: each takes that, and looks for itself."""
        while self._waiters:
            self._waiters.popleft().release()


class Conditions:
    """What the standard library's queues show of their inside."""

    __slots__ = ("all_tasks_done", "mutex", "not_empty", "not_full")

    def __init__(self, queue: Any) -> None:
        self.mutex = LockType()
        self.not_empty = _Condition(self.mutex, queue)
        self.not_full = _Condition(self.mutex, queue)
        self.all_tasks_done = _Condition(self.mutex, queue)

    def changed(self) -> None:
        """Wake all who wait at one of the conditions."""
        self.not_empty.changed()
        self.not_full.changed()
        self.all_tasks_done.changed()
