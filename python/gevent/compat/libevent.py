"""libevent's events, over the watchers of the hub's loop: what ``gevent.core`` offered.

Callbacks run in the hub, so they must not block. An event that is scheduled is kept until it is
cancelled or, unless it is persistent, has happened.
"""

from __future__ import annotations

from collections.abc import Callable
from reprlib import recursive_repr
from typing import Any, Self

from gevent._core import Waiter, get_hub
from gevent.compat import warn

__all__ = [
    "EV_PERSIST",
    "EV_READ",
    "EV_SIGNAL",
    "EV_TIMEOUT",
    "EV_WRITE",
    "active_event",
    "dispatch",
    "event",
    "get_method",
    "init",
    "loop",
    "read_event",
    "readwrite_event",
    "signal",
    "timer",
    "write_event",
]

EV_TIMEOUT = 0x01
EV_READ = 0x02
EV_WRITE = 0x04
EV_SIGNAL = 0x08
EV_PERSIST = 0x10

# The names of an event's flags, as libevent's lists of events have them.
_TIMED, _INSERTED, _SIGNALLED, _ACTIVE, _MADE = 0x01, 0x02, 0x04, 0x08, 0x80

_EVENT_NAMES = {
    EV_TIMEOUT: "TIMEOUT",
    EV_READ: "READ",
    EV_WRITE: "WRITE",
    EV_SIGNAL: "SIGNAL",
    EV_PERSIST: "PERSIST",
}
_FLAG_NAMES = {
    _TIMED: "TIMEOUT",
    _INSERTED: "INSERTED",
    _SIGNALLED: "SIGNAL",
    _ACTIVE: "ACTIVE",
    _MADE: "INIT",
}

_LOOP_READ, _LOOP_WRITE = 1, 2


def _names(bits: int, names: dict[int, str]) -> str:
    known = [name for bit, name in names.items() if bits & bit]
    rest = bits & ~sum(names)
    return "|".join([*known, hex(rest)] if rest else known)


class event:
    """Calls ``callback(event, evtype)`` when something happens; :meth:`add` schedules it.

    It is a context manager that cancels the event at the end.

    :param evtype: ``EV_READ``, ``EV_WRITE`` or both, or ``EV_SIGNAL``; with ``EV_PERSIST`` it is
        called every time, otherwise once.
    :param handle: A descriptor, or an object with ``fileno()``; for ``EV_SIGNAL`` the number of
        the signal.
    :param arg: The value of :attr:`arg`.
    """

    def __init__(
        self, evtype: int, handle: Any, callback: Callable[..., Any], arg: Any = None
    ) -> None:
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        #: The function to call.
        self.callback = callback
        #: The *arg* that was given.
        self.arg = arg
        #: The ``EV_…`` that the event was made with.
        self.events = evtype
        #: The descriptor or the signal; -1 without one.
        self.fd: int = handle if isinstance(handle, int) else handle.fileno()
        self._loop = get_hub().loop
        self._watcher: Any = None
        self._timer: Any = None
        self._active: Any = None

    def add(self, timeout: float | None = None) -> None:
        """Schedule the event; the callback gets ``EV_TIMEOUT`` if *timeout* seconds pass before.

        One that is scheduled goes on, with the new timeout if there is one.
        """
        if timeout is not None and timeout < 0:
            warn("a negative timeout", "None, or no timeout")
            timeout = None
        if self._watcher is None and self.events & (EV_READ | EV_WRITE | EV_SIGNAL):
            self._watch()
        if timeout is not None:
            self._stop_timer()
            self._timer = self._loop.timer(timeout)
            self._timer.start(self._on_timeout, update=True)

    def _watch(self) -> None:
        if self.events & EV_SIGNAL:
            self._watcher = self._loop.signal(self.fd)
            self._watcher.start(self._happen, EV_SIGNAL)
            return
        wanted = _LOOP_READ if self.events & EV_READ else 0
        wanted |= _LOOP_WRITE if self.events & EV_WRITE else 0
        self._watcher = self._loop.io(self.fd, wanted)
        self._watcher.start(self._on_descriptor, pass_events=True)

    def _on_descriptor(self, ready: int) -> None:
        evtype = EV_READ if ready & _LOOP_READ else 0
        evtype |= EV_WRITE if ready & _LOOP_WRITE else 0
        self._happen(evtype)

    def _on_timeout(self) -> None:
        # It ends a persistent event as well.
        self.cancel()
        self._call(EV_TIMEOUT)

    def _happen(self, evtype: int) -> None:
        if not self.events & EV_PERSIST:
            self.cancel()
        self._call(evtype)

    def _call(self, evtype: int) -> None:
        self.callback(self, evtype)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.close()

    def cancel(self) -> None:
        """Take the event off the schedule; nothing happens when it is not on it."""
        self._stop_timer()
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.close()
        active, self._active = self._active, None
        if active is not None:
            active.stop()

    @property
    def pending(self) -> bool:
        """True if the event is scheduled."""
        return bool(self.flags & ~_MADE)

    @property
    def flags(self) -> int:
        """The lists of libevent that the event would be in."""
        inserted = _SIGNALLED if self.events & EV_SIGNAL else _INSERTED
        return (
            _MADE
            | (_TIMED if self._timer is not None else 0)
            | (inserted if self._watcher is not None else 0)
            | (_ACTIVE if self._active is not None and self._active.pending else 0)
        )

    @property
    def events_str(self) -> str:
        """:attr:`events` in words."""
        return _names(self.events, _EVENT_NAMES)

    @property
    def flags_str(self) -> str:
        """:attr:`flags` in words."""
        return _names(self.flags, _FLAG_NAMES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self.cancel()

    # The callback may be a method of the event.
    @recursive_repr("<...>")
    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} at {id(self):#x} fd={self.fd} events={self.events_str} "
            f"flags={self.flags_str} cb={self.callback!r} arg={self.arg!r}>"
        )


class _descriptor_event(event):
    """An event on a descriptor that is scheduled at once.

    :param timeout: In how many seconds to give up; ``None``: never.
    :param persist: True to call back every time.
    """

    evtype: int

    def __init__(
        self,
        handle: Any,
        callback: Callable[..., Any],
        timeout: float | None = None,
        arg: Any = None,
        persist: bool = False,
    ) -> None:
        super().__init__(self.evtype | (EV_PERSIST if persist else 0), handle, callback, arg)
        self.add(timeout)


class read_event(_descriptor_event):
    """Calls back when a descriptor can be read; scheduled at once."""

    evtype = EV_READ


class write_event(_descriptor_event):
    """Calls back when a descriptor can be written; scheduled at once."""

    evtype = EV_WRITE


class readwrite_event(_descriptor_event):
    """Calls back when a descriptor can be read or written; scheduled at once."""

    evtype = EV_READ | EV_WRITE


class _call_event(event):
    """An event whose callback gets arguments of its own, which :attr:`arg` shows."""

    def __init__(
        self, evtype: int, fd: int, callback: Callable[..., Any], args: Any, kwargs: Any
    ) -> None:
        super().__init__(evtype, fd, callback, (args, kwargs))

    def _call(self, evtype: int) -> None:
        args, kwargs = self.arg
        self.callback(*args, **kwargs)


class timer(_call_event):
    """Calls ``callback(*args, **kwargs)`` in *seconds* seconds; scheduled at once."""

    def __init__(
        self, seconds: float, callback: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(EV_TIMEOUT, -1, callback, args, kwargs)
        self.add(seconds)


class signal(_call_event):
    """Calls ``callback(*args, **kwargs)`` at each signal *signalnum*; scheduled at once."""

    def __init__(
        self, signalnum: int, callback: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(EV_SIGNAL | EV_PERSIST, signalnum, callback, args, kwargs)
        self.add()


class active_event(_call_event):
    """Calls ``callback(*args, **kwargs)`` in the present turn of the loop."""

    def __init__(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(EV_TIMEOUT, -1, callback, args, kwargs)
        self.add()

    def add(self, timeout: float | None = None) -> None:
        """Schedule the call for the present turn of the loop, if it is not; ignore *timeout*."""
        if not self.pending:
            self._active = self._loop.run_callback(self._happen, EV_TIMEOUT)


def init() -> None:
    """Make the hub and its loop, unless they exist."""
    get_hub()


def _anything_registered(hub: Any) -> bool:
    return bool(hub.loop.activecnt or hub.loop.pendingcnt)


def dispatch() -> int:
    """Run the loop, from the main greenlet, until no event is registered.

    :returns: 0, or 1 if there was none to begin with.
    """
    hub = get_hub()
    if not _anything_registered(hub):
        return 1
    hub.join()
    return 0


def loop(nonblock: bool = False) -> int:
    """Wait for events and dispatch those that are pending, in a single turn of the loop.

    It is ``gevent.core.loop`` with the setting ``compat`` only.

    :param nonblock: True to dispatch only what is pending, and not wait.
    :returns: 0, or 1 if no event is registered.
    """
    warn("gevent.core.loop()", "gevent.get_hub().loop.run(once=True)")
    hub = get_hub()
    if not _anything_registered(hub):
        return 1
    waiter = Waiter()

    def turn() -> None:
        # In the hub, where callbacks belong.
        hub.loop.run(nowait=nonblock, once=True)
        waiter.switch(None)

    hub.loop.run_callback(turn)
    waiter.get()
    return 0


def get_method() -> str:
    """Return what the loop waits with."""
    return get_hub().backend  # type: ignore[return-value]
