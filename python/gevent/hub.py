"""The hub: the greenlet of each thread that runs its event loop."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cached_property
from itertools import count
from types import TracebackType
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from greenlet import GreenletExit as GreenletExit
from greenlet import error as GreenletError
from greenlet import getcurrent as getcurrent

from gevent._config import config
from gevent._core import (
    BaseHub,
    Greenlet,
    Waiter,
    check_signals,
    get_hub,
    run_hub,
    set_hub,
    set_resumed_function,
    sleep,
    spawn_raw,
)
from gevent._core import get_hub_if_exists as _get_hub
from gevent._core import idle as idle
from gevent._core import kill as kill
from gevent._hub_local import get_hub_noargs as _get_hub_noargs  # noqa: F401
from gevent._hub_local import get_loop as get_loop
from gevent._hub_local import set_default_hub_class, set_loop
from gevent._hub_report import print_failure
from gevent._hub_signals import program_handles_signals
from gevent._ident import IdentRegistry
from gevent._module_getattr import old_names
from gevent._waiting import iwait as iwait
from gevent._waiting import wait as wait
from gevent.events import PeriodicMonitorThreadStartedEvent, notify_and_call_entry_points
from gevent.exceptions import HubDestroyed, LoopExit

if TYPE_CHECKING:
    from typing import Protocol

    from gevent._core import loop as _Loop
    from gevent.threadpool import ThreadPool

    class _Resolver(Protocol):
        def close(self) -> None: ...
        def gethostbyname(self, hostname: Any, /) -> str: ...
        def gethostbyname_ex(self, hostname: Any, /) -> tuple[str, list[str], list[str]]: ...
        def gethostbyaddr(self, ip_address: Any, /) -> tuple[str, list[str], list[str]]: ...
        def getnameinfo(self, sockaddr: Any, flags: int, /) -> tuple[str, str]: ...
        def getaddrinfo(
            self,
            host: Any,
            port: Any,
            family: int = 0,
            socktype: int = 0,
            proto: int = 0,
            flags: int = 0,
            /,
        ) -> list[tuple[int, int, int, str, tuple[Any, ...]]]: ...


__all__ = [
    "GreenletExit",
    "Hub",
    "Waiter",
    "get_hub",
    "getcurrent",
    "kill",
    "reinit",
    "signal",
    "sleep",
    "spawn_raw",
]

# Bound before anything can be patched: hubs belong to native threads.
get_thread_ident: Callable[[], int] = threading.get_ident

MAIN_THREAD_IDENT: int | None = threading.main_thread().ident

_hub_numbers = count(1)

#: All hubs of the process, for the views and reports that go through them.
living_hubs: WeakSet[Any] = WeakSet()


class signal:
    """Calls *handler* with *args* and *kwargs*, in a new greenlet, at each signal *signalnum*.

    An error of the handler is raised in the main greenlet. Keep the object until
    :meth:`cancel`, which ends it. Unlike :func:`signal.signal` there can be any number of them
    for one signal. It is also ``gevent.signal_handler``.

    :raises TypeError: *handler* cannot be called.
    :raises ValueError: there is no signal *signalnum*.
    """

    #: The class of the greenlet that the handler runs in.
    greenlet_class: type[Greenlet] = Greenlet

    def __init__(
        self, signalnum: int, handler: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> None:
        if not callable(handler):
            raise TypeError("signal handler must be callable.")
        self.hub: Hub | None = get_hub()
        self.watcher: Any = self.hub.loop.signal(signalnum, ref=False)
        self.handler: Callable[..., Any] | None = handler
        self.args: tuple[Any, ...] | None = args
        self.kwargs: dict[str, Any] | None = kwargs
        self.watcher.start(self._start)

    @property
    def ref(self) -> bool:
        """True if waiting for the signal keeps the loop running; false at first."""
        ref: bool = self.watcher.ref
        return ref

    @ref.setter
    def ref(self, value: bool) -> None:
        self.watcher.ref = value

    def cancel(self) -> None:
        """Stop calling the handler, and drop it and its arguments."""
        if self.watcher is not None:
            self.watcher.close()
        self.hub = None
        self.watcher = None
        self.handler = self.args = self.kwargs = None

    def _start(self) -> None:
        self.greenlet_class.spawn(self.handle)

    def handle(self) -> None:
        """Call the handler; raise its errors in the main greenlet."""
        # The handler may call cancel(), which clears these attributes.
        hub, handler = self.hub, self.handler
        if hub is None or handler is None:
            return
        try:
            handler(*(self.args or ()), **(self.kwargs or {}))
        except BaseException:
            hub.handle_error(None, *sys.exc_info())


class linkproxy:
    """Calls *callback* with *obj*, once, whatever it is called with itself; for ``rawlink()``."""

    __slots__ = ("callback", "obj")

    def __init__(self, callback: Callable[[Any], Any], obj: Any) -> None:
        self.callback: Callable[[Any], Any] = callback
        self.obj: Any = obj

    def __call__(self, *args: Any) -> None:
        callback, obj = self.callback, self.obj
        self.callback = self.obj = None  # type: ignore[assignment]
        callback(obj)


def reinit(hub: Any = None) -> None:
    """Make *hub*, by default that of the calling thread, fit for the child process of a fork.

    Call it in the child before anything else; :func:`gevent.fork` does. Nothing happens where there
    is no hub. The greenlets of the parent process go on in the child as well.
    """
    hub = _get_hub() if hub is None else hub
    if hub is None:
        return
    hub.loop.reinit()
    monitor = getattr(hub, "periodic_monitoring_thread", None)
    for concerned in (hub._threadpool, hub._resolver, monitor):
        on_fork = getattr(concerned, "_on_fork", None)
        if on_fork is not None:
            on_fork()


class Hub(BaseHub):
    """The greenlet of a thread that runs its event loop. :func:`get_hub` makes it.

    A greenlet that waits lets the hub, or the next greenlet that is ready, run; before, its
    method ``switch_out()`` is called if it has one.

    :param loop: A loop to run, or the flags of a new one, by default ``config.libev_backend``.
    :param default: True if a new loop is to be the default one, which handles signals and
        children; by default only that of the main thread is.
    """

    #: Exceptions that are not reported when they leave a greenlet or a callback.
    NOT_ERROR: tuple[type[BaseException], ...] | type = (GreenletExit, SystemExit)
    #: Exceptions that are raised in the main greenlet.
    SYSTEM_ERROR: tuple[type[BaseException], ...] | type = (
        KeyboardInterrupt,
        SystemExit,
        SystemError,
    )
    #: The most threads that :attr:`threadpool` may have.
    threadpool_size: int = 10
    #: The native thread that watches this hub, or ``None``.
    periodic_monitoring_thread: Any = None
    #: The identifier of the native thread that this hub belongs to.
    thread_ident: int | None = None
    #: A name for people.
    name: str = ""
    #: The event loop; ``None`` once the hub is destroyed.
    loop: _Loop
    # Set while the main greenlet waits for the end of everything else.
    _joined = False
    # The asyncio loop of the greenlets of this hub, once one uses it: a gevent.aio.SharedLoop.
    _aio_loop: Any = None

    def __init__(self, loop: Any = None, default: bool | None = None) -> None:
        super().__init__()
        # The greenlet calls this attribute as its body. It hides the method, and calls it.
        self.run = run_hub  # type: ignore[method-assign]
        self.thread_ident = get_thread_ident()
        if hasattr(loop, "run"):
            if default is not None:
                raise TypeError("Unexpected argument: default")
            self.loop = loop
        elif loop is None and default is None and get_loop() is not None:
            # The loop that a destroyed hub left.
            self.loop = get_loop()
        else:
            if default is None and not self.main_hub:
                default = False
            flags = config.libev_backend if loop is None else loop
            self.loop = self.loop_class(flags=flags, default=default)
        self._resolver: Any = None
        self._threadpool: Any = None
        #: A small number, different for each hub.
        self.minimal_ident: int = next(_hub_numbers)
        living_hubs.add(self)

    @property
    def loop_class(self) -> Callable[..., Any]:
        """The class of new loops: the setting ``loop``."""
        loop_class: Callable[..., Any] = config.loop
        return loop_class

    @property
    def backend(self) -> str | None:
        """The system call by which the loop waits for events; ``None`` once it is destroyed."""
        return None if self.loop is None else self.loop.backend

    @property
    def main_hub(self) -> bool:
        """True if this is a hub of the main thread."""
        return self.thread_ident == MAIN_THREAD_IDENT

    @cached_property
    def ident_registry(self) -> IdentRegistry:
        """The registry that gives the greenlets of this hub their ``minimal_ident``."""
        return IdentRegistry()

    @cached_property
    def format_context(self) -> Callable[[Any], str]:
        """The function that turns what failed into a string, for error reports."""
        # It is read only now: reading it may import a module, and an import may have to wait for
        # another thread in the hub that is being made.
        format_context: Callable[[Any], str] = config.format_context
        return format_context

    def __repr__(self) -> str:
        info = "destroyed" if self.loop is None else self.loop._format()
        result = f"<{type(self).__name__} {self.name!r} at {hex(id(self))} {info}"
        if self._resolver is not None:
            result += f" resolver={self._resolver!r}"
        if self._threadpool is not None:
            result += f" threadpool={self._threadpool!r}"
        return f"{result} thread_ident={hex(self.thread_ident)}>"  # type: ignore[arg-type]

    def run(self, *results: object) -> None:
        """Run the loop: the greenlet's own body, called when it is first switched to.

        It never returns while its thread lives. When nothing is left that could wake a greenlet, it
        raises :exc:`gevent.exceptions.LoopExit` in its parent.

        :param results: What the greenlet is switched to with, which has no meaning to it: the
            result of a raw greenlet that a program switched to before anything had waited.
        """
        # Idle time passes in this frame, where stack samples and profilers can name it.
        super().run()

    def _run_signal_handlers(self) -> None:
        check_signals()

    def _may_get_signal(self, watched: bool) -> bool:
        """Return true if a signal may still wake the main greenlet.

        :param watched: True if the loop has watchers of signals.
        """
        handled = watched or (self.main_hub and program_handles_signals())
        return handled and not self._joined

    def cancel_waits_close_and_then(
        self,
        watchers: Iterable[Any],
        exc_kind: Any,
        then: Callable[..., Any],
        *then_args: Any,
    ) -> None:
        """Raise an error in the greenlets that wait on *watchers*, and close the watchers.

        :param watchers: The watchers; ``None`` among them is ignored.
        :param exc_kind: The exception, or its class.
        :param then: The function to call with *then_args* afterwards: in the hub, or before this
            method returns if there are no watchers.
        """
        wakened = [watcher for watcher in watchers if watcher is not None]
        for watcher in wakened:
            self.cancel_wait(watcher, exc_kind, True)
        if wakened:
            self.loop.run_callback(then, *then_args)
        else:
            then(*then_args)

    def _normalize_exception(
        self, t: type[BaseException] | None, v: Any, tb: TracebackType | None
    ) -> tuple[type[BaseException] | None, BaseException | None, TracebackType | None]:
        # Exceptions may come as a class and its argument.
        if v is not None and not isinstance(v, BaseException):
            v = t(v)  # type: ignore[misc]
        return t, v, tb

    def handle_error(
        self,
        context: Any,
        type: type[BaseException] | None,
        value: Any,
        tb: TracebackType | None,
    ) -> None:
        """Deal with an exception that left a greenlet or a callback of the loop.

        It is printed unless it is one of :attr:`NOT_ERROR`; if it is one of
        :attr:`SYSTEM_ERROR` it then goes to :meth:`handle_system_error`.

        An attribute of this name set on a hub is called instead; it must not raise.

        :param context: The object that failed; ``None`` makes it a system error, whatever its
            class.
        """
        type, value, tb = self._normalize_exception(type, value, tb)
        if type is HubDestroyed:
            # It is meant for the hub itself and is no error.
            return
        if not issubclass(type, self.NOT_ERROR):  # type: ignore[arg-type]
            self.print_exception(context, type, value, tb)
        if context is None or issubclass(type, self.SYSTEM_ERROR):  # type: ignore[arg-type]
            self.handle_system_error(type, value, tb)  # type: ignore[arg-type]

    def handle_system_error(
        self,
        type: type[BaseException],
        value: BaseException | None,
        tb: TracebackType | None = None,
    ) -> None:
        """Switch to the main greenlet and raise an exception there."""
        loop = self.loop
        if loop is not None and get_thread_ident() != self.thread_ident:
            loop.run_callback_threadsafe(self.handle_system_error, type, value, tb)
            return
        current = getcurrent()
        if current is self or current is self.parent or loop is None:
            self.parent.throw(type, value, tb)  # type: ignore[union-attr]
            return
        # The main greenlet does not switch back by itself to the greenlet that reports the error.
        come_back = loop.run_callback(current.switch)
        try:
            self.parent.throw(type, value, tb)  # type: ignore[union-attr]
        finally:
            come_back.stop()

    @property
    def exception_stream(self) -> Any:
        """The stream that errors are printed to: ``sys.stderr``, unless set; ``None`` for none."""
        return vars(self).get("_exception_stream", sys.stderr)

    @exception_stream.setter
    def exception_stream(self, stream: Any) -> None:
        self._exception_stream = stream

    @exception_stream.deleter
    def exception_stream(self) -> None:
        del self._exception_stream

    def print_exception(
        self,
        context: Any,
        t: type[BaseException] | None,
        v: Any,
        tb: TracebackType | None,
    ) -> None:
        """Print an exception and what it happened in to :attr:`exception_stream`."""
        stream = self.exception_stream
        if stream:
            print_failure(stream, self.format_context, context, t, v, tb)

    def start_periodic_monitoring_thread(self) -> Any:
        """Start the thread that watches this hub, if ``config.monitor_thread`` says so.

        Call it in the hub's thread. It is called anyway when something first waits in this hub.

        :returns: The :class:`gevent.events.IPeriodicMonitorThread`, the same one every time, or
            ``None``.
        """
        if config.inspect:
            from gevent.inspect import open_as_set

            open_as_set(config.inspect)
        if self.periodic_monitoring_thread is None and config.monitor_thread:
            # The import is here as nothing else needs that module.
            from gevent._monitor import PeriodicMonitoringThread

            monitor = self.periodic_monitoring_thread = PeriodicMonitoringThread(self)
            if config.max_memory_usage or monitor.can_monitor_memory_usage():
                monitor.install_monitor_memory_usage()
            notify_and_call_entry_points(PeriodicMonitorThreadStartedEvent(monitor))
        return self.periodic_monitoring_thread

    def join(self, timeout: float | None = None) -> bool:
        """Wait until nothing is left to do: no greenlet, server, timer or other watcher.

        Only the main greenlet of the thread may call it. The resources of the hub are not released;
        see :meth:`destroy`.

        :param timeout: The most seconds to wait; ``None`` for no limit.
        :returns: ``True`` if nothing is left, ``False`` if the time ran out.
        """
        assert getcurrent() is self.parent, "only possible from the MAIN greenlet"
        if self.dead:
            return True
        waiter = Waiter(self)
        timer = None
        if timeout is not None:
            timer = self.loop.timer(timeout, ref=False)
            # The loop's own time is that of its last poll, which may be long ago.
            timer.start(waiter.switch, None, update=True)
        self._joined = True
        try:
            waiter.get()
        except LoopExit:
            return True
        finally:
            self._joined = False
            if timer is not None:
                timer.close()
        return False

    def shutdown(self) -> None:
        """Do what :func:`gevent.shutdown` does; deprecated."""
        from gevent.compat.ends import shutdown

        shutdown(self)

    def destroy(self, destroy_loop: bool | None = None) -> None:
        """End this hub and release what it holds: thread pool, resolver, monitor, loop.

        Threads other than the main one should do so before they end. Best called in the hub's
        thread, outside of the hub; another thread may do so once that thread has ended. The
        hub, and what was bound to it, cannot be used any more.

        :param destroy_loop: True to destroy the loop. By default the default loop is kept,
            for the next hub of the thread, and any other destroyed.
        """
        loop = self.loop
        if loop is None:
            return
        if destroy_loop is None:
            destroy_loop = not loop.default
        if _get_hub() is self:
            set_loop(None if destroy_loop else loop)
        self._release(destroy_loop)
        if _get_hub() is self:
            set_hub(None)

    def _release(self, destroy_loop: bool) -> None:
        loop = self.loop
        if loop is None:
            return
        self._finish_shared_loop()
        if self.periodic_monitoring_thread is not None:
            self.periodic_monitoring_thread.kill()
            self.periodic_monitoring_thread = None
        del self.resolver
        del self.threadpool
        self._stop(destroy_loop)
        if destroy_loop:
            loop.destroy()
        self.loop = None  # type: ignore[assignment]

    def _finish_shared_loop(self) -> None:
        shared, self._aio_loop = self._aio_loop, None
        # The shared asyncio loop can still run only in its own thread, outside of the hub.
        if shared is not None and _get_hub() is self and getcurrent() is not self:
            shared.finish()

    def _stop(self, destroy_loop: bool) -> None:
        if getcurrent() is self:
            self.loop.break_()
        elif getcurrent() is self.parent and not self.dead:
            # This unwinds the hub's stack, and so releases everything that the stack refers to.
            # A hub of another thread, or one that never ran, cannot be switched to.
            with suppress(GreenletError, LoopExit):
                self.throw(HubDestroyed(destroy_loop))

    @property
    def resolver_class(self) -> Callable[..., Any]:
        """The class of :attr:`resolver`: the setting ``resolver``."""
        resolver_class: Callable[..., Any] = config.resolver
        return resolver_class

    @property
    def resolver(self) -> _Resolver:
        """The resolver that looks up host names for :mod:`gevent.socket`."""
        if self._resolver is None:
            self._resolver = self.resolver_class(hub=self)
        resolver: _Resolver = self._resolver
        return resolver

    @resolver.setter
    def resolver(self, value: Any) -> None:
        self._resolver = value

    @resolver.deleter
    def resolver(self) -> None:
        resolver, self._resolver = self._resolver, None
        close = getattr(resolver, "close", None)
        if close is not None:
            close()

    @property
    def threadpool_class(self) -> Callable[..., Any]:
        """The class of :attr:`threadpool`: the setting ``threadpool``."""
        threadpool_class: Callable[..., Any] = config.threadpool
        return threadpool_class

    @property
    def threadpool(self) -> ThreadPool:
        """The native threads of this hub, for calls that would block it."""
        if self._threadpool is None:
            self._threadpool = self.threadpool_class(
                self.threadpool_size,
                hub=self,
                idle_task_timeout=config.threadpool_idle_task_timeout,
            )
        threadpool: ThreadPool = self._threadpool
        return threadpool

    @threadpool.setter
    def threadpool(self, value: Any) -> None:
        self._threadpool = value

    @threadpool.deleter
    def threadpool(self) -> None:
        threadpool, self._threadpool = self._threadpool, None
        kill_threads = getattr(threadpool, "kill", None)
        if kill_threads is not None:
            kill_threads()


set_default_hub_class(Hub)


def _resumed() -> None:
    """Do nothing: greenlets call this as they go on, where a tracer written in C has to notice."""


set_resumed_function(_resumed)


if not TYPE_CHECKING:
    __getattr__ = old_names(__name__)
