"""The mutex and the conditions that a queue of the standard library has, for a queue of ours.

Programs wait at them and clear a queue under them. The queues of this package do not use them, but
notify them of each change once a program has read these attributes.
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
        """Wake *n* waiters of this condition, and the waiters of the queue that can go on.

        :raises RuntimeError: if the mutex is not held.
        """
        super().notify(n)
        self._queue._settle()

    def changed(self) -> None:
        """Wake all waiters, without the mutex: each acquires it and checks for itself."""
        while self._waiters:
            self._waiters.popleft().release()


class Conditions:
    """The mutex and the conditions that the standard library's queues have as attributes."""

    __slots__ = ("all_tasks_done", "mutex", "not_empty", "not_full")

    def __init__(self, queue: Any) -> None:
        self.mutex = LockType()
        self.not_empty = _Condition(self.mutex, queue)
        self.not_full = _Condition(self.mutex, queue)
        self.all_tasks_done = _Condition(self.mutex, queue)

    def changed(self) -> None:
        """Wake all waiters of the conditions."""
        self.not_empty.changed()
        self.not_full.changed()
        self.all_tasks_done.changed()
