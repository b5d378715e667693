"""The event loop: asyncio's selector loop, whose waits let greenlets run."""

from __future__ import annotations

import asyncio
import os
import selectors
import socket
import sys
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple
from weakref import WeakSet

from gevent._asyncio import follow_running_loops
from gevent._core import get_hub_if_exists, restarting
from gevent.aio import _signals
from gevent.aio._awaiting import to_greenlet
from gevent.aio._children import (
    program_has_child_watcher,
    subprocess_transport,
    watch,
)
from gevent.aio._executor import make_executor
from gevent.aio._fast import FastLoop
from gevent.aio._selector import AdaptedSelector, HubSelector
from gevent.aio._sleeper import Sleeper
from gevent.hub import get_hub, get_thread_ident
from gevent.monkey import is_object_patched

__all__ = ["EventLoop", "new_event_loop"]

# Several loops may run at a time in the greenlets of one thread, also where nothing is patched.
follow_running_loops(asyncio.events)

_loops: WeakSet[EventLoop] = WeakSet()


Ts = TypeVarTuple("Ts")
T = TypeVar("T")

if TYPE_CHECKING:

    class AsyncioLoop(asyncio.SelectorEventLoop):
        """The members of asyncio's loop, beside its public methods, that are used here."""

        _closed: bool
        _csock: socket.socket
        _debug: bool
        _default_executor: Executor | None
        _signal_handlers: dict[int, asyncio.Handle]
        _stopping: bool
        _task_factory: Any
        _thread_id: int | None

        def _check_closed(self) -> None: ...
        def _check_default_executor(self) -> None: ...
        def _close_self_pipe(self) -> None: ...
        def _make_self_pipe(self) -> None: ...
        def _handle_signal(self, sig: int) -> None: ...
        def _set_coroutine_origin_tracking(self, enabled: bool) -> None: ...
        async def _make_subprocess_transport(self, *args: Any, **kwargs: Any) -> Any: ...

else:
    AsyncioLoop = FastLoop


class EventLoop(AsyncioLoop):
    """An event loop that waits in the hub of the thread that runs it.

    It works as :class:`asyncio.SelectorEventLoop` does, with these differences. Only the greenlet
    that runs it waits. Other greenlets of the thread may call its methods and set results of
    futures, which wakes it; other threads still need :meth:`call_soon_threadsafe`.

    :param selector: A selector to use; by default one of its own.
    """

    _selector: HubSelector | AdaptedSelector

    def __init__(self, selector: selectors.BaseSelector | None = None) -> None:
        super().__init__(HubSelector() if selector is None else AdaptedSelector(selector))
        self._sleeper = Sleeper(self)
        _loops.add(self)

    def run_forever(self) -> None:
        """Run until :meth:`stop` is called, while other greenlets run too."""
        sleeper = self._sleeper
        if sleeper.hub is not None:
            raise RuntimeError("This event loop is already running")
        self._check_closed()
        end = restarting(partial(self._end_run, sys.get_asyncgen_hooks()))
        try:
            sleeper.bind(get_hub())
            super().run_forever()
        finally:
            end()

    def _end_run(self, hooks: Any) -> None:
        if self._thread_id is not None or sys.get_asyncgen_hooks() != hooks:
            # An interrupt came where asyncio does not clean up, or while it did.
            self._stopping = False
            asyncio._set_running_loop(None)
            self._set_coroutine_origin_tracking(False)
            sys.set_asyncgen_hooks(*hooks)
            self._thread_id = None
        self._sleeper.unbind()

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Have *executor* call *func* with *args*; by default that is done in a native thread."""
        if executor is None and self._default_executor is None:
            self._check_closed()
            self._check_default_executor()
            self._default_executor = make_executor()
        return super().run_in_executor(executor, func, *args)

    async def getaddrinfo(self, host: Any, port: Any, **kwargs: Any) -> Any:
        """Look up an address; see :func:`socket.getaddrinfo`.

        In a patched process the resolver of the hub does it, in others a thread of the executor.
        """
        if not is_object_patched("socket", "getaddrinfo"):
            return await super().getaddrinfo(host, port, **kwargs)
        return await to_greenlet(socket.getaddrinfo, host, port, **kwargs)

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> Any:
        """Look up names of an address, see :func:`socket.getnameinfo`, as :meth:`getaddrinfo`."""
        if not is_object_patched("socket", "getnameinfo"):
            return await super().getnameinfo(sockaddr, flags)
        return await to_greenlet(socket.getnameinfo, sockaddr, flags)

    async def _make_subprocess_transport(
        self, protocol: Any, args: Any, shell: bool, *pipes: Any, **kwargs: Any
    ) -> Any:
        if program_has_child_watcher():
            return await super()._make_subprocess_transport(protocol, args, shell, *pipes, **kwargs)
        waiter = self.create_future()
        transport = subprocess_transport(
            self, protocol, args, shell, *pipes, waiter=waiter, **kwargs
        )
        watch(transport._proc, partial(self._on_child_end, transport))
        try:
            await waiter
        except BaseException:
            transport.close()
            await transport._wait()
            raise
        return transport

    def _on_child_end(self, transport: Any, returncode: int) -> None:
        if not self.is_closed():
            # The protocol is notified in the turn after the next, so that it gets the last output
            # of the child first.
            self.call_soon_threadsafe(self.call_soon, transport._process_exited, returncode)

    def add_signal_handler(self, sig: int, callback: Callable[[*Ts], object], *args: *Ts) -> None:
        """Have *callback* called with *args* at each signal *sig*; in the main thread only.

        Several loops of the main thread may handle signals, and also one signal together.
        """
        super().add_signal_handler(sig, callback, *args)
        _signals.add_loop(self)

    def remove_signal_handler(self, sig: int) -> bool:
        """Remove the callback of *sig*; return false if there was none."""
        removed = super().remove_signal_handler(sig)
        if removed:
            _signals.leave_to_others(self, sig)
        return removed

    def _handle_signal(self, sig: int) -> None:
        self._handle_own_signal(sig)
        _signals.handle(self, sig)

    def _handle_own_signal(self, sig: int) -> None:
        super()._handle_signal(sig)

    if hasattr(asyncio.events, "_ThreadSafeHandle"):
        # CPython 3.14 brought this behaviour.

        def call_soon_threadsafe(
            self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
        ) -> asyncio.Handle:
            """Have *callback* called with *args* in the next turn of the loop, from any thread.

            Another thread that cancels the handle while the callback runs waits for its end.
            """
            if self._sleeper.hub is not None and self._sleeper.thread == get_thread_ident():
                handle = super().call_soon_threadsafe(callback, *args, context=context)
            else:
                of_asyncio = asyncio.BaseEventLoop.call_soon_threadsafe
                handle = of_asyncio(self, callback, *args, context=context)
            if traceback := getattr(handle, "_source_traceback", None):
                # In debug mode the handle has the stack of its creation, which is to end where this
                # method was called.
                del traceback[-1]
            return handle

    def _write_to_self(self) -> None:
        self._sleeper.notify()

    def _check_thread(self) -> None:
        # The check of the standard library compares thread identifiers, which are those of
        # greenlets in a patched process.
        if self._sleeper.hub is not None and self._sleeper.thread != get_thread_ident():
            raise RuntimeError(
                "Non-thread-safe operation invoked on an event loop other than the current one: "
                "from another thread, use call_soon_threadsafe()"
            )

    def _reopen(self) -> None:
        """Give the loop descriptors of its own in the child of a fork, apart from the parent's."""
        if self._selector is None:
            return
        # A loop of another thread or hub does not go on, as neither of these exists in the child.
        goes_on = self._sleeper.hub is None or self._sleeper.hub is get_hub_if_exists()
        self._selector.reopen(goes_on)
        self._close_self_pipe()
        self._make_self_pipe()
        if self._signal_handlers and goes_on:
            _signals.own_wakeups(self)


def _reopen_all() -> None:
    for loop in list(_loops):
        loop._reopen()


os.register_at_fork(after_in_child=_reopen_all)


def new_event_loop() -> EventLoop:
    """Return a new :class:`EventLoop`, as ``loop_factory`` of :class:`asyncio.Runner` or
    ``uvicorn --loop gevent.aio:new_event_loop``.
    """
    return EventLoop()
