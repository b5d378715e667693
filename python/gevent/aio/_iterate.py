"""Asynchronous iterators, iterated over by greenlets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Iterator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from gevent._core import restarting
from gevent.aio._calls import _check_caller, _wait_for
from gevent.aio._shared import SharedLoop, loop
from gevent.exceptions import ConcurrentObjectUseError

__all__ = ["iterate"]

T = TypeVar("T")

_END = object()


def iterate(iterable: AsyncIterable[T]) -> Iteration[T]:
    """Return an iterator over the items of *iterable*, an asynchronous one, for a greenlet::

        with aio.iterate(stream) as items:
            for item in items:
                ...

    Each step asks for the next item and waits for it; no item is asked for in advance. One task of
    the shared loop takes all steps, in a copy of the caller's context. The ``with`` block ends the
    iteration, and waits for the clean-up of an asynchronous generator; without it that happens some
    time after the last reference is gone.

    :raises TypeError: *iterable* is no asynchronous iterable.
    """
    if not hasattr(iterable, "__aiter__"):
        raise TypeError(f"an asynchronous iterable was expected, got {iterable!r}")
    return Iteration(loop(), iterable)


class Iteration(Iterator[T], Generic[T]):
    """An iterator over the items of an asynchronous iterable; :func:`iterate` makes it."""

    def __init__(self, shared: SharedLoop, iterable: AsyncIterable[T]) -> None:
        self._loop = shared
        self._pump: _Pump[T] = _Pump(shared)
        # The task refers to the pump only, so that it ends when this object is forgotten.
        self._task = shared.create_uncounted_task(self._pump.run(iterable))
        self._task.add_done_callback(restarting(self._pump.end))
        self._stepping = False
        self._over = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        if self._over:
            raise StopIteration
        if self._stepping:
            raise ConcurrentObjectUseError("another greenlet already waits for the next item")
        _check_caller(self._loop, None, "iterate")
        self._stepping = True
        item: T
        try:
            answer = self._pump.ask()
            if self._task.done():
                # It ended after the last item, so its callback found nobody to answer.
                self._pump.end(self._task)
            item = _wait_for(self._loop, answer, self._task.cancel)
        except BaseException:
            self._over = True
            raise
        finally:
            self._stepping = False
        if item is _END:
            self._over = True
            raise StopIteration
        return item

    def close(self) -> None:
        """End the iteration, and wait until an asynchronous generator has cleaned up.

        :raises Exception: The clean-up raised it.
        """
        self._over = True
        if self._task.done():
            return
        self._task.cancel()
        try:
            _wait_for(self._loop, self._task)
        except asyncio.CancelledError:
            if not self._task.cancelled():
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        t: type[BaseException] | None,
        v: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        task = getattr(self, "_task", None)
        if task is not None and not task.done():
            # The last reference may go in another thread, or in the middle of a turn.
            self._loop.call_soon_threadsafe(task.cancel)


class _Pump(Generic[T]):
    """Takes the steps of an asynchronous iterator, each when :meth:`ask` asks for it.

    All steps are taken in one task: generators may have blocks, such as timeouts and cancel
    scopes, that must be left in the task that entered them.
    """

    def __init__(self, shared: SharedLoop) -> None:
        self._loop = shared
        #: A future that is done when the next item was asked for.
        self._demand: asyncio.Future[None] = shared.create_future()
        #: The future that gets the item that was asked for.
        self._answer: asyncio.Future[Any] | None = None

    def ask(self) -> asyncio.Future[Any]:
        """Ask for the next item, and return a future that gets it, or ``_END``."""
        self._answer = self._loop.create_future()
        if not self._demand.done():
            self._demand.set_result(None)
        return self._answer

    def end(self, task: asyncio.Task[None]) -> None:
        """Answer whoever asked for an item that never comes, as the task is over.

        This is a callback, as a task that is cancelled before its first step executes nothing.
        """
        answer = self._answer
        if answer is None or answer.done():
            return
        if task.cancelled():
            answer.cancel()
        elif (error := task.exception()) is not None:
            answer.set_exception(error)
        else:
            answer.set_result(_END)

    async def run(self, iterable: AsyncIterable[T]) -> None:
        """Iterate over *iterable*. This is the body of the task."""
        await self._demand
        iterator = aiter(iterable)
        try:
            while True:
                try:
                    item = await anext(iterator)
                except StopAsyncIteration:
                    return
                answer = self._answer
                self._demand = self._loop.create_future()
                if answer is not None and not answer.done():
                    answer.set_result(item)
                self._answer = None
                del answer, item
                await self._demand
        finally:
            aclose = getattr(iterator, "aclose", None)
            if aclose is not None:
                await aclose()
