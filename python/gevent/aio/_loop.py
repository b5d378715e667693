"""The event loop: asyncio's selector loop, whose waits let greenlets run."""

from __future__ import annotations

import asyncio
import os
import selectors
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any
from weakref import WeakSet

from gevent.aio._selector import AdaptedSelector, HubSelector
from gevent.hub import get_hub, get_thread_ident

__all__ = ["EventLoop", "new_event_loop"]

_loops: WeakSet[EventLoop] = WeakSet()


class EventLoop(asyncio.SelectorEventLoop):
    """An event loop that waits in the hub of the thread that runs it.

    It is what :class:`asyncio.SelectorEventLoop` is, with these differences. Only the greenlet that
    runs it waits. Other greenlets of the thread may call its methods and set results of futures,
    which wakes it; other threads still need :meth:`call_soon_threadsafe`.

    :param selector: A selector to use; by default one of its own.
    """

    _selector: HubSelector | AdaptedSelector

    def __init__(self, selector: selectors.BaseSelector | None = None) -> None:
        super().__init__(HubSelector() if selector is None else AdaptedSelector(selector))
        self._sleeper = self._selector.sleeper
        _loops.add(self)

    def run_forever(self) -> None:
        """Run until :meth:`stop` is called, while other greenlets run too."""
        sleeper = self._sleeper
        if sleeper.hub is not None:
            raise RuntimeError("This event loop is already running")
        self._check_closed()
        sleeper.bind(get_hub())
        try:
            super().run_forever()
        finally:
            sleeper.unbind()

    def _run_once(self) -> None:
        # The greenlets that run while this one waits are not within the loop.
        self._selector.sleeper.outside = self._outside
        super()._run_once()

    @contextmanager
    def _outside(self) -> Iterator[None]:
        hooks = sys.get_asyncgen_hooks()
        asyncio._set_running_loop(None)
        sys.set_asyncgen_hooks(None, None)
        try:
            yield
        finally:
            asyncio._set_running_loop(self)
            sys.set_asyncgen_hooks(*hooks)

    def call_soon(
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Have *callback* called with *args* in the next turn of the loop."""
        handle = super().call_soon(callback, *args, context=context)
        self._sleeper.wake()
        return handle

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Have *callback* called with *args* at *when*, a time of :meth:`time` in seconds."""
        timer = super().call_at(when, callback, *args, context=context)
        self._sleeper.wake()
        return timer

    def stop(self) -> None:
        """Have :meth:`run_forever` return after the turn under way, or else the next one."""
        super().stop()
        self._sleeper.wake()

    def _write_to_self(self) -> None:
        self._sleeper.notify()

    def _check_thread(self) -> None:
        # The standard library compares identifiers that belong to greenlets in a patched process.
        if self._sleeper.hub is not None and self._sleeper.thread != get_thread_ident():
            raise RuntimeError(
                "Non-thread-safe operation invoked on an event loop other than the current one: "
                "from another thread, use call_soon_threadsafe()"
            )

    def _reopen(self) -> None:
        """Part from the parent process, in the child of a fork."""
        if self._selector is None:
            return
        self._selector.reopen()
        self._close_self_pipe()
        self._make_self_pipe()


def _reopen_all() -> None:
    for loop in list(_loops):
        loop._reopen()


os.register_at_fork(after_in_child=_reopen_all)


def new_event_loop() -> EventLoop:
    """Return a new :class:`EventLoop`, as ``loop_factory`` of :class:`asyncio.Runner` or
    ``uvicorn --loop gevent.aio:new_event_loop``.
    """
    return EventLoop()
