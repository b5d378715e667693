"""What event loops, watchers and callbacks provide, as interfaces of :mod:`zope.interface`.

Where that package is not installed, they are plain classes: adapters that derive from them, or
declare that they implement them, can be imported all the same. :mod:`gevent.core` has what
provides them.
"""

from __future__ import annotations

from typing import Any

from gevent._core import callback, loop, watchers

try:
    from zope.interface import Attribute, Interface, classImplements
except ImportError:

    def classImplements(cls: type, *interfaces: type) -> None:
        """Declare nothing."""

    class Interface:  # type: ignore[no-redef]
        """Stands for the base of interfaces."""

    def Attribute(__name__: str, __doc__: str = "") -> Any:
        """Return the description of an attribute."""
        return property(doc=__doc__ or __name__)


__all__ = ["ICallback", "ILoop", "IWatcher"]


class ILoop(Interface):
    """An event loop: it makes watchers and callbacks, and calls them as it runs."""

    default = Attribute("True for the default loop, which handles signals and children.")
    approx_timer_resolution = Attribute("How exact timers are, in seconds.")

    def run(nowait=False, once=False):
        """Run until nothing is left to do; one turn with *nowait* or *once*."""

    def now():
        """Return the time that the loop last noted, in seconds."""

    def update_now():
        """Note the present time."""

    def destroy():
        """Stop everything and release all resources."""

    def io(fd, events, ref=True, priority=None):
        """Return a watcher of a descriptor: 1 for reading, 2 for writing."""

    def closing_fd(fd):
        """Tell those who watch *fd* that it is about to be closed; return whether there are any."""

    def timer(after, repeat=0.0, ref=True, priority=None):
        """Return a watcher that is called after *after* seconds, then each *repeat* seconds."""

    def signal(signum, ref=True, priority=None):
        """Return a watcher of a signal."""

    def idle(ref=True, priority=None):
        """Return a watcher that is called when there is nothing else to do."""

    def prepare(ref=True, priority=None):
        """Return a watcher that is called before the loop polls."""

    def check(ref=True, priority=None):
        """Return a watcher that is called after the loop polled."""

    def fork(ref=True, priority=None):
        """Return a watcher that is called in the child of a fork."""

    def async_(ref=True, priority=None):
        """Return a watcher whose ``send()`` any thread may call."""

    def child(pid, trace=0, ref=True):
        """Return a watcher of the end of a child process; of the default loop only."""

    def stat(path, interval=0.0, ref=True, priority=None):
        """Return a watcher of changes of a file."""

    def run_callback(func, *args):
        """Have ``func(*args)`` called in the next turn; return an :class:`ICallback`."""

    def run_callback_threadsafe(func, *args):
        """Like :meth:`run_callback`, from any thread."""


class IWatcher(Interface):
    """Calls a function when what it watches happens."""

    def start(callback, *args, **kwargs):
        """Begin to watch, and call ``callback(*args)`` each time."""

    def stop():
        """Watch no more."""

    def close():
        """Stop, and release what the watcher holds."""


class ICallback(Interface):
    """A function that the loop is going to call."""

    pending = Attribute("True until it is called or stopped.")

    def stop():
        """Do not call it."""

    def close():
        """The same as :meth:`stop`."""


classImplements(loop, ILoop)
classImplements(watchers.watcher, IWatcher)
classImplements(callback, ICallback)
