"""Waiting for several descriptors, while other greenlets run.

:func:`select`, :class:`poll` and :class:`epoll` have the interface of their namesakes in
:mod:`select`, and block only the calling greenlet.
"""

from __future__ import annotations

import select as __select__
import time
from errno import ENOENT
from operator import index
from os import strerror
from select import *  # noqa: F403
from select import (
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLNVAL,
    POLLOUT,
    POLLPRI,
)
from select import epoll as _original_epoll
from select import select as _original_select
from typing import Any, Self

from gevent._core import (
    PollChanges,
    get_hub_if_exists,
    poll_descriptors,
    sleep,
)

__implements__: list[str] = ["epoll", "poll", "select"]
__imports__: list[str] = sorted(
    name
    for name in dir(__select__)
    if not name.startswith("_") and name not in ("error", *__implements__)
)
error: type[OSError] = OSError  # type: ignore[no-redef]
__all__ = ["error", *__implements__, *__imports__]

# The events that select(2) counts as readable, writable, and exceptional.
_READABLE = POLLIN | POLLHUP | POLLERR | POLLNVAL
_WRITABLE = POLLOUT | POLLERR | POLLNVAL
# The events that fit into poll(2)'s field.
_ALL = 0x7FFF
#: The longest timeouts that the standard library takes, in its units.
_MOST_MILLISECONDS = 2**31 - 1
_MOST_SECONDS = 2**63 / 1e9


def _fileno(file: Any) -> int:
    if isinstance(file, int):
        number = file
    else:
        try:
            number = file.fileno()
        except AttributeError:
            raise TypeError("argument must be an int, or have a fileno() method.") from None
    if number < 0:
        raise ValueError(f"file descriptor cannot be a negative integer ({number})")
    return number


def _checked_timeout(timeout: Any, most: float) -> Any:
    """Return *timeout*, a number of any unit, after the checks of the standard library.

    :raises TypeError: It is no number.
    :raises ValueError: It is not a number in the floating-point sense.
    :raises OverflowError: Its absolute value is greater than *most*.
    """
    if not isinstance(timeout, float):
        try:
            timeout = index(timeout)
        except TypeError:
            raise TypeError("timeout must be a real number or None") from None
    if timeout != timeout:
        raise ValueError("Invalid value NaN (not a number)")
    if abs(timeout) > most:
        raise OverflowError("timeout is too large")
    return timeout


def select(  # type: ignore[no-redef]
    rlist: Any, wlist: Any, xlist: Any, timeout: float | None = None
) -> tuple[list[Any], list[Any], list[Any]]:
    """Wait until a descriptor of *rlist* is readable or one of *wlist* writable.

    Unlike :func:`select.select`, an exceptional condition of one of *xlist* is only seen when it
    is there at the time of the call, or when something else ends the wait.

    :param timeout: The most seconds to wait; ``None`` for no limit.
    :returns: Those of each list that are ready. A descriptor that gevent closes meanwhile is;
        one that is closed in another way never is.
    :raises ValueError: *timeout* or a descriptor is negative.
    :raises OSError: A descriptor is closed already.
    """
    if timeout is not None:
        timeout = _checked_timeout(timeout, _MOST_SECONDS)
        if timeout < 0:
            raise ValueError("timeout must be non-negative")
    # A `fileno` may change the list, which only the original sees through.
    lists = [files if isinstance(files, list) else list(files) for files in (rlist, wlist, xlist)]
    if any(lists):
        ready: tuple[list[Any], list[Any], list[Any]]
        ready = _original_select(lists[0], lists[1], lists[2], 0)
        if any(ready) or timeout == 0:
            # A loop around this call must not keep other greenlets from running.
            sleep(0)
            return ready
    # Files may be closed during the wait, and then have no number any more.
    numbered = [[(file, _fileno(file)) for file in files] for files in lists]
    wanted: dict[int, int] = {}
    for files, events in zip(numbered, (POLLIN, POLLOUT, POLLPRI), strict=True):
        for _, number in files:
            wanted[number] = wanted.get(number, 0) | events
    found = dict(poll_descriptors(wanted, timeout))
    readable, writable, exceptional = (
        [file for file, number in files if found.get(number, 0) & events]
        for files, events in zip(numbered, (_READABLE, _WRITABLE, POLLPRI), strict=True)
    )
    return readable, writable, exceptional


class poll:  # type: ignore[no-redef]
    """A set of descriptors to wait for; see :func:`select.poll`.

    Unlike in the standard library, a change of the set takes effect in a :meth:`poll` under way.
    """

    def __init__(self) -> None:
        self._events: dict[int, int] = {}
        self._changes = PollChanges()

    def register(self, fd: Any, eventmask: int = POLLIN | POLLOUT) -> None:
        """Add *fd*, or change its events.

        Unlike the standard library's, *eventmask* is reading and writing by default. Conditions
        other than these two are reported along with them, and do not end a wait.
        """
        self._events[_checked(fd)] = index(eventmask) & _ALL
        self._changes.notify()

    def modify(self, fd: Any, eventmask: int) -> None:
        """Change the events of *fd*.

        :raises FileNotFoundError: It is not in the set.
        """
        if _checked(fd) not in self._events:
            raise FileNotFoundError(ENOENT, strerror(ENOENT))
        self.register(fd, eventmask)

    def unregister(self, fd: Any) -> None:
        """Remove *fd*.

        :raises KeyError: It is not there.
        """
        del self._events[_checked(fd)]
        self._changes.notify()

    def close(self) -> None:
        """Remove all descriptors and end the polls. The standard library has no such method."""
        self._events.clear()
        self._changes.close()

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        """Wait until at least one descriptor is ready.

        :param timeout: The most *milliseconds* to wait; ``None`` or less than 0 for no limit.
        :returns: ``(descriptor, events)`` for each that is ready; ``POLLNVAL`` for one that was
            closed before. Unlike in the standard library, one that is only hung up is readable
            if that was asked for, as reading finds the end.
        """
        seconds = None
        if timeout is not None:
            timeout = _checked_timeout(timeout, _MOST_MILLISECONDS)
            seconds = None if timeout < 0 else timeout / 1000
        return [
            (fd, self._events.get(fd, 0) & POLLIN or events if events == POLLHUP else events)
            for fd, events in poll_descriptors(self._events, seconds, self._changes)
        ]


class epoll:  # type: ignore[no-redef]
    """An epoll set of the kernel; see :func:`select.epoll` for the arguments.

    Unlike that, :meth:`poll` blocks only the calling greenlet: the set's own descriptor is
    watched by the loop. Several greenlets may poll one set; each event goes to one of them.
    """

    def __init__(self, sizehint: int = -1, flags: int = 0) -> None:
        self._epoll = _original_epoll(sizehint, flags)
        self._closing = PollChanges()

    @classmethod
    def fromfd(cls, fd: int) -> Self:
        """Return an object for the epoll set that has the descriptor *fd*."""
        self = cls.__new__(cls)
        self._epoll = _original_epoll.fromfd(fd)
        self._closing = PollChanges()
        return self

    @property
    def closed(self) -> bool:
        """True once :meth:`close` was called."""
        return self._epoll.closed

    def fileno(self) -> int:
        """Return the descriptor of the set."""
        return self._epoll.fileno()

    def close(self) -> None:
        """Close the set; greenlets that poll it, in any thread, get a :exc:`ValueError`."""
        if self._epoll.closed:
            return
        hub = get_hub_if_exists()
        if hub is not None and hub.loop is not None:
            hub.loop.closing_fd(self._epoll.fileno())
        self._epoll.close()
        self._closing.close()

    def register(self, fd: Any, eventmask: int = POLLIN | POLLOUT | POLLPRI) -> None:
        """Add *fd*, a descriptor or an object that has one.

        :raises FileExistsError: It is there already.
        """
        self._epoll.register(fd, eventmask)

    def modify(self, fd: Any, eventmask: int) -> None:
        """Change the events of *fd*.

        :raises FileNotFoundError: It is not in the set.
        """
        self._epoll.modify(fd, eventmask)

    def unregister(self, fd: Any) -> None:
        """Remove *fd*.

        :raises FileNotFoundError: It is not there.
        """
        self._epoll.unregister(fd)

    def poll(self, timeout: float | None = None, maxevents: int = -1) -> list[tuple[int, int]]:
        """Wait until at least one descriptor is ready.

        :param timeout: The most *seconds* to wait; ``None`` or less than 0 for no limit.
        :param maxevents: The most to return; -1 for as many as CPython takes at a time.
        :returns: ``(descriptor, events)`` for each that is ready.
        :raises ValueError: The set is closed, maybe during the call.
        """
        deadline = None
        if timeout is not None:
            timeout = _checked_timeout(timeout, _MOST_MILLISECONDS / 1000)
            deadline = None if timeout < 0 else time.monotonic() + timeout
        # A loop around this call must not keep other greenlets from running.
        sleep(0)
        while not (ready := self._epoll.poll(0, maxevents)):
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            poll_descriptors({self._epoll.fileno(): POLLIN}, left, self._closing)
        return ready

    def __enter__(self) -> Self:
        if self.closed:
            raise ValueError("I/O operation on closed epoll object")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _checked(file: Any) -> int:
    if isinstance(file, int):
        number = file
    else:
        try:
            number = file.fileno()
        except AttributeError:
            raise ValueError(f"Invalid file object: {file!r}") from None
    if number < 0:
        raise ValueError(f"Invalid file descriptor: {number}")
    return number
