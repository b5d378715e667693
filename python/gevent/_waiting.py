"""Waiting for several objects: anything with ``rawlink()`` and ``unlink()``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Generic, Protocol, Self, TypeVar, overload

from gevent._core import Arrivals, Greenlet, get_hub

__all__ = ["iwait", "wait"]


class Waitable(Protocol):
    """An object that can be waited for: a greenlet, event, result, semaphore, or one like them."""

    def rawlink(self, callback: Callable[[Any], object], /) -> object:
        """Have *callback* called with this object when it is ready."""

    def unlink(self, callback: Callable[[Any], object], /) -> object:
        """Remove a callback that :meth:`rawlink` added."""


_W = TypeVar("_W", bound=Waitable)


class _WaitIterator(Arrivals, Generic[_W]):
    """Yields objects as they become ready. Links to them from the first step to the last."""

    def __init__(self, objects: Iterable[_W], timeout: float | None, count: int | None) -> None:
        # An iterator can be read only once, and the collection may change meanwhile.
        self._objects: tuple[_W, ...] = tuple(objects)
        size = len(self._objects)
        self._left = size if count is None else min(count, size)
        self._timeout = timeout
        self._timer: Any = None
        self._begun = False
        #: True if the caller cannot go on before all objects are ready.
        self._needs_all = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._finish()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> _W:
        try:
            if not self._begun:
                self._begin()
            ready: _W | None = self._next_ready() if self._left > 0 else None
        except BaseException:
            self._finish()
            raise
        if ready is None:
            self._finish()
            raise StopIteration
        self._left -= 1
        return ready

    next = __next__

    def _awaited(self) -> list[_W]:
        """Return the objects that all have to be ready before the caller can go on."""
        left = [obj for obj in self._objects if not (isinstance(obj, Greenlet) and obj.dead)]
        return left if self._needs_all or len(left) == 1 else []

    def _begin(self) -> None:
        self._begun = True
        if self._left <= 0:
            return
        if self._timeout is not None:
            self._timer = get_hub().loop.timer(self._timeout, priority=-1)
            # The timer updates the loop's time, which may be that of a turn long ago.
            self._timer.start(self._on_timeout, update=True)
        for obj in self._objects:
            if isinstance(obj, Greenlet) and obj.ready():
                self._on_ready(obj)
            else:
                obj.rawlink(self._on_ready)

    def _finish(self) -> None:
        self._left = 0
        if self._timer is not None:
            # A greenlet that is ended with its thread has no loop any more, and no timer in it.
            with suppress(ValueError):
                self._timer.close()
            self._timer = None
        if self._begun:
            for obj in self._objects:
                unlink = getattr(obj, "unlink", None)
                if unlink is not None:
                    unlink(self._on_ready)
        self._objects = ()
        self._forget()


def iwait(
    objects: Iterable[_W], timeout: float | None = None, count: int | None = None
) -> _WaitIterator[_W]:
    """Return an iterator over *objects* that yields each as it becomes ready.

    It ends after all (or *count*) of them, or when *timeout* seconds have passed since the first
    step. A caller that may stop before the end should use it as a context manager, which takes
    back what it left with the objects::

        with gevent.iwait((a, b)) as ready:
            first = next(ready)

    :param objects: Objects with ``rawlink()`` and ``unlink()``: greenlets, events, semaphores …
        Any iterable of them is read to its end first.
    :raises TypeError: *objects* is not iterable.
    """
    return _WaitIterator(objects, timeout, count)


@overload
def wait(objects: None = None, timeout: float | None = None, count: int | None = None) -> bool: ...


@overload
def wait(
    objects: Iterable[_W], timeout: float | None = None, count: int | None = None
) -> list[_W]: ...


def wait(
    objects: Iterable[_W] | None = None,
    timeout: float | None = None,
    count: int | None = None,
) -> list[_W] | bool:
    """Wait until *objects*, or *count* of them, are ready; by default for the end of all work.

    :param objects: Objects with ``rawlink()`` and ``unlink()``; ``None`` waits until the loop has
        nothing left to do: no greenlet, server or watcher.
    :param timeout: The most seconds to wait; ``None`` for no limit.
    :returns: A list of the ready objects, in the order in which they became so; without
        *objects* true if nothing was left to do before the time was up.
    """
    if objects is None:
        return get_hub().join(timeout)
    with iwait(objects, timeout, count) as ready:
        ready._needs_all = count is None
        return list(ready)
