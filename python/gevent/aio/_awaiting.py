"""Greenlets that coroutines await."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Generator
from contextvars import copy_context
from typing import Any, TypeVar

from gevent._core import Greenlet, getcurrent, restarting
from gevent.aio._selector import AdaptedSelector, HubSelector
from gevent.exceptions import GreenletExit
from gevent.monkey._state import is_module_patched

__all__ = ["await_greenlet", "to_greenlet"]

T = TypeVar("T")


async def to_greenlet(function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """Call ``function(*args, **kwargs)`` in a new greenlet, and return or raise what it does.

    The function may use anything that blocks a greenlet, while the loop runs on. It runs in a copy
    of the context of the task. When the task is cancelled the greenlet is killed, and the
    cancellation goes on once the greenlet has ended.

    :raises asyncio.CancelledError: The greenlet was killed.
    :raises RuntimeError: The running loop blocks the thread, so that no greenlet would run.
    :raises TypeError: *function* cannot be called, or is a coroutine function.
    """
    if not callable(function):
        raise TypeError(f"a callable object was expected, got {function!r}")
    if inspect.iscoroutinefunction(function):
        raise TypeError(f"{function!r} is a coroutine function: await {function.__name__}()")
    _check_loop(asyncio.get_running_loop())
    call = _Call(function, args, kwargs)
    greenlet = Greenlet(call)
    greenlet.gr_context = copy_context()
    greenlet.start()
    await greenlet
    result: T = call.result()
    return result


class _Call:
    """A function to call, and its result or its error.

    The error is kept here because the hub would report one that leaves the greenlet.
    """

    def __init__(self, function: Callable[..., Any], args: Any, kwargs: Any) -> None:
        self._function = function
        self._args = args
        self._kwargs = kwargs
        self._value: Any = None
        self._error: BaseException | None = None

    def __call__(self) -> None:
        try:
            self._value = self._function(*self._args, **self._kwargs)
        except GreenletExit:
            raise
        except BaseException as error:
            self._error = error

    def result(self) -> Any:
        error, self._error = self._error, None
        if error is None:
            return self._value
        try:
            raise _presentable(error)
        finally:
            # The traceback refers to this frame.
            del error


def _presentable(error: BaseException) -> BaseException:
    if isinstance(error, StopIteration):
        # A StopIteration cannot leave a coroutine (PEP 479).
        replacement = RuntimeError("the greenlet raised StopIteration")
        replacement.__cause__ = error
        return replacement
    return error


def await_greenlet(greenlet: Greenlet[..., Any]) -> Generator[Any, None, Any]:
    """Wait in a coroutine for the end of *greenlet*; return its value or raise its error.

    This is ``Greenlet.__await__``.
    """
    loop = asyncio.get_running_loop()
    if greenlet is getcurrent():
        raise RuntimeError("a greenlet cannot await its own end")
    _check_loop(loop)
    cancelled: asyncio.CancelledError | None = None
    while not greenlet.ready():
        ended = loop.create_future()
        link = restarting(_Link(loop, ended))
        greenlet.rawlink(link)
        try:
            yield from ended
        except asyncio.CancelledError as error:
            cancelled = error
            greenlet.kill(block=False)
        finally:
            greenlet.unlink(link)
    if cancelled is not None:
        try:
            raise cancelled
        finally:
            del cancelled
    failure = greenlet.exception
    if failure is not None:
        try:
            raise _presentable(failure)
        finally:
            del failure
    if isinstance(greenlet.value, GreenletExit):
        raise asyncio.CancelledError(f"{greenlet!r} was killed")
    return greenlet.value


def _check_loop(loop: asyncio.AbstractEventLoop) -> None:
    waits_in_hub = isinstance(getattr(loop, "_selector", None), HubSelector | AdaptedSelector)
    if not waits_in_hub and not is_module_patched("selectors"):
        raise RuntimeError(
            f"no greenlet runs while {loop!r} waits: "
            "use a gevent.aio.EventLoop (see aio.install()), or patch the standard library"
        )


class _Link:
    """Sets a future when a greenlet ends. The greenlet may belong to another thread."""

    __slots__ = ("_future", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]) -> None:
        self._loop = loop
        self._future = future

    def __call__(self, _greenlet: Greenlet) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._set)

    def _set(self) -> None:
        if not self._future.done():
            self._future.set_result(None)
