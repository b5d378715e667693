"""Interfaces, by :mod:`zope.interface`, that event loops, watchers and callbacks provide.

Where that package is not installed, they are plain classes: adapters that derive from them, or
declare that they implement them, can be imported all the same. :mod:`gevent.core` has what
provides them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gevent._core import callback, loop, watchers
from gevent._zope import Attribute, Interface, classImplements

__all__ = ["ICallback", "ILoop", "IWatcher"]


class ILoop(Interface):
    """An event loop: it makes watchers and callbacks, and calls them as it runs."""

    default: Attribute = Attribute("True for the default loop, which handles signals and children.")
    approx_timer_resolution: Attribute = Attribute("How exact timers are, in seconds.")

    def run(nowait: bool = False, once: bool = False) -> Any:
        """Run until nothing is left to do; one turn with *nowait* or *once*."""

    def now() -> Any:
        """Return the time that the loop last noted, in seconds."""

    def update_now() -> Any:
        """Note the present time."""

    def destroy() -> Any:
        """Stop everything and release all resources."""

    def io(fd: int, events: int, ref: bool = True, priority: int | None = None) -> Any:
        """Return a watcher of a descriptor: 1 for reading, 2 for writing."""

    def closing_fd(fd: int) -> Any:
        """Notify the watchers of *fd* that it will be closed; return true if there are any."""

    def timer(
        after: float, repeat: float = 0.0, ref: bool = True, priority: int | None = None
    ) -> Any:
        """Return a watcher that is called after *after* seconds, then each *repeat* seconds."""

    def signal(signum: int, ref: bool = True, priority: int | None = None) -> Any:
        """Return a watcher of a signal."""

    def idle(ref: bool = True, priority: int | None = None) -> Any:
        """Return a watcher that is called when there is nothing else to do."""

    def prepare(ref: bool = True, priority: int | None = None) -> Any:
        """Return a watcher that is called before the loop polls."""

    def check(ref: bool = True, priority: int | None = None) -> Any:
        """Return a watcher that is called after the loop polled."""

    def fork(ref: bool = True, priority: int | None = None) -> Any:
        """Return a watcher that is called in the child of a fork."""

    def async_(ref: bool = True, priority: int | None = None) -> Any:
        """Return a watcher whose ``send()`` any thread may call."""

    def child(pid: int, trace: int = 0, ref: bool = True) -> Any:
        """Return a watcher of the end of a child process; of the default loop only."""

    def stat(
        path: str | bytes, interval: float = 0.0, ref: bool = True, priority: int | None = None
    ) -> Any:
        """Return a watcher of changes of a file."""

    def run_callback(func: Callable[..., object], *args: Any) -> Any:
        """Have ``func(*args)`` called in the next turn; return an :class:`ICallback`."""

    def run_callback_threadsafe(func: Callable[..., object], *args: Any) -> Any:
        """Like :meth:`run_callback`, from any thread."""


class IWatcher(Interface):
    """Calls a function when what it watches happens."""

    def start(callback: Callable[..., object], *args: Any, **kwargs: Any) -> Any:
        """Begin to watch, and call ``callback(*args)`` each time."""

    def stop() -> Any:
        """Watch no more."""

    def close() -> Any:
        """Stop, and release what the watcher holds."""


class ICallback(Interface):
    """A function that the loop is going to call."""

    pending: Attribute = Attribute("True until it is called or stopped.")

    def stop() -> Any:
        """Do not call it."""

    def close() -> Any:
        """The same as :meth:`stop`."""


classImplements(loop, ILoop)
classImplements(watchers.watcher, IWatcher)
classImplements(callback, ICallback)
