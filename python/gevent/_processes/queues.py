"""``Queue`` of multiprocessing, which a kill of a greenlet that puts leaves as it was."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from gevent._processes.launch import complete

__all__ = ["patch"]


def _append(self: Any, item: Any) -> None:
    with self._notempty:
        _append_to_buffer(self, item)


def _append_and_count(self: Any, item: Any) -> None:
    with self._notempty, self._cond:
        _append_to_buffer(self, item)
        self._unfinished_tasks.release()


def _append_to_buffer(self: Any, item: Any) -> None:
    if self._thread is None:
        # Interrupted halfway, it would run a thread that nobody ends or joins.
        complete(self._start_thread)
    self._buffer.append(item)
    self._notempty.notify()


def _put(append: Callable[[Any, Any], None], full: type[Exception]) -> Callable[..., None]:
    def put(self: Any, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        if self._closed:
            raise ValueError(f"Queue {self!r} is closed")
        if not self._sem.acquire(block, timeout):
            raise full
        try:
            append(self, obj)
        except BaseException:
            # The item is not in the queue, so its place is free.
            self._sem.release()
            raise

    return put


def patch(module: ModuleType) -> None:
    """Have the queues of *module* survive the kill of a greenlet that puts an item.

    :param module: ``multiprocessing.queues`` or ``billiard.queues``.
    """
    module.Queue.put = _put(_append, module.Full)
    module.JoinableQueue.put = _put(_append_and_count, module.Full)
