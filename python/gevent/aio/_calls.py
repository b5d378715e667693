"""Calls of coroutines from greenlets."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, copy_context
from functools import partial
from types import CoroutineType
from typing import Any, TypeVar

from gevent._core import Greenlet, getcurrent
from gevent.aio._shared import SharedLoop, loop
from gevent.exceptions import BlockingSwitchOutError, LoopExit

__all__ = ["run", "spawn"]

T = TypeVar("T")


def run(awaitable: Awaitable[T]) -> T:
    """Have the shared loop run *awaitable*, and wait for it; return its result or raise its error.

    Only the calling greenlet waits. When it is killed or a :class:`gevent.Timeout` ends its wait,
    the coroutine is cancelled, and what ended the wait is raised once the coroutine is over. A
    :exc:`KeyboardInterrupt` or :exc:`SystemExit` that comes meanwhile is raised at once.

    :param awaitable: A coroutine, which runs as a new task in a copy of the caller's context, or
        a future of :func:`loop`, or any other awaitable object.
    :raises asyncio.CancelledError: Something else than the end of this wait cancelled the task.
    :raises RuntimeError: The caller is a coroutine of the same loop, which can await.
    :raises TypeError: *awaitable* cannot be awaited.
    """
    _check_awaitable(awaitable)
    shared = loop()
    _check_caller(shared, awaitable, "run")
    return _wait_for(shared, _task_of(shared, awaitable))


def spawn(coroutine: Coroutine[Any, Any, T]) -> Greenlet:
    """Have the shared loop run *coroutine*, and return a greenlet that stands for it.

    The greenlet ends with the result or the error of the coroutine. Killing it cancels the
    coroutine, which runs in a copy of the caller's context. May be called in a coroutine too.

    :raises TypeError: *coroutine* cannot be awaited.
    """
    _check_awaitable(coroutine)
    greenlet = Greenlet(_run_in, copy_context(), coroutine)
    if inspect.iscoroutine(coroutine):
        # A greenlet that is killed before it begins never runs the coroutine, which would be
        # reported as never awaited. So it is closed when the greenlet ends.
        greenlet.rawlink(partial(_close, coroutine))
    greenlet.start()
    return greenlet


def _run_in(context: Context, awaitable: Awaitable[T]) -> T:
    shared = loop()
    return _wait_for(shared, context.run(_task_of, shared, awaitable))


def _close(coroutine: Coroutine[Any, Any, Any], _greenlet: Greenlet) -> None:
    if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
        coroutine.close()


def _check_caller(shared: SharedLoop, awaitable: Any, name: str) -> None:
    message = None
    if asyncio._get_running_loop() is shared:
        message = f"aio.{name}() was called inside a coroutine of the same loop: await it instead"
        error: type[BaseException] = RuntimeError
    elif getcurrent() is shared._hub:
        message = f"aio.{name}() would wait in a callback of the hub: call it in a greenlet"
        error = BlockingSwitchOutError
    if message is not None:
        if asyncio.iscoroutine(awaitable):
            # A coroutine that nothing runs would be reported as never awaited.
            awaitable.close()
        raise error(message)


def _task_of(shared: SharedLoop, awaitable: Awaitable[T]) -> asyncio.Future[T]:
    task: asyncio.Future[T]
    if type(awaitable) is CoroutineType or asyncio.iscoroutine(awaitable):
        # The greenlet that waits for the task keeps the hub alive, so the task need not.
        task = shared.create_uncounted_task(awaitable)
    else:
        task = asyncio.ensure_future(awaitable, loop=shared)
    return task


def _check_awaitable(awaitable: Any) -> None:
    if type(awaitable) is CoroutineType or inspect.isawaitable(awaitable):
        return
    hint = ""
    if inspect.iscoroutinefunction(awaitable):
        hint = f" (call it: {awaitable.__name__}())"
    elif inspect.isasyncgen(awaitable):
        hint = " (aio.iterate() iterates over it)"
    raise TypeError(f"a coroutine or another awaitable was expected, got {awaitable!r}{hint}")


def _wait_for(
    shared: SharedLoop, future: asyncio.Future[T], cancel: Callable[[], Any] | None = None
) -> T:
    """Wait until *future* is done; return its result or raise its error.

    :param cancel: A function to call when an error ends the wait. It must have the future done
        soon; by default the future is cancelled.
    """
    if not future.done():
        over = shared.begin_call(future)
        ended_by: BaseException | None = None
        while not over.is_set():
            try:
                over.wait()
            except BaseException as error:
                if ended_by is not None and isinstance(error, (KeyboardInterrupt, SystemExit)):
                    # The program is to end, also if the coroutine never does.
                    raise
                ended_by = error
                (future.cancel if cancel is None else cancel)()
                if isinstance(error, LoopExit):
                    # The loop of the hub is out of work, so nothing will ever set the event.
                    break
        if ended_by is None and shared.left_behind:
            ended_by = asyncio.CancelledError("the loop was left to the parent process by a fork")
        if ended_by is not None:
            try:
                raise ended_by
            finally:
                del ended_by
    try:
        return future.result()
    finally:
        # An error's traceback refers to this frame.
        del future
