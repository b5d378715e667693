"""Waiting for several descriptors at once, while other greenlets run.

:func:`select` and :class:`poll` are those of :mod:`select`; ``epoll``, which cannot be told
to let others run, is the standard library's.
"""

from __future__ import annotations

import select as __select__
from operator import index
from select import *  # noqa: F403
from select import (
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLNVAL,
    POLLOUT,
    POLLPRI,
)
from select import select as _original_select
from typing import Any

from gevent._core import poll_descriptors, sleep

__implements__ = ["poll", "select"]
__imports__ = sorted(
    name
    for name in dir(__select__)
    if not name.startswith("_") and name not in ("error", *__implements__)
)
error = OSError
__all__ = ["error", *__implements__, *__imports__]

# What select(2) takes for readable, writable, and exceptional.
_READABLE = POLLIN | POLLHUP | POLLERR | POLLNVAL
_WRITABLE = POLLOUT | POLLERR | POLLNVAL
# What poll(2) has room for.
_ALL = 0x7FFF


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


def select(
    rlist: Any, wlist: Any, xlist: Any, timeout: float | None = None
) -> tuple[list[Any], list[Any], list[Any]]:
    """Wait until a descriptor of *rlist* is readable or one of *wlist* writable.

    Unlike :func:`select.select`, an exceptional condition of one of *xlist* is only seen when it
    is there at the time of the call, or when something else ends the wait.

    :param timeout: For how many seconds to wait at most; ``None``: for any time.
    :returns: Those of each list that are ready.
    :raises ValueError: *timeout* or a descriptor is negative.
    :raises OSError: A descriptor is closed. One that is closed meanwhile counts as ready.
    """
    if timeout is not None and timeout < 0:
        raise ValueError("timeout must be non-negative")
    # A `fileno` may change the list, which only the original sees through.
    lists = [files if isinstance(files, list) else list(files) for files in (rlist, wlist, xlist)]
    if any(lists):
        ready = _original_select(*lists, 0)
        if any(ready) or timeout == 0:
            # A loop around it must not keep everybody else from running.
            sleep(0)
            return ready
    # They may be closed while we wait, and then have no number any more.
    numbered = [[(file, _fileno(file)) for file in files] for files in lists]
    wanted: dict[int, int] = {}
    for files, events in zip(numbered, (POLLIN, POLLOUT, POLLPRI), strict=True):
        for _, number in files:
            wanted[number] = wanted.get(number, 0) | events
    found = dict(poll_descriptors(list(wanted.items()), timeout))
    readable, writable, exceptional = (
        [file for file, number in files if found.get(number, 0) & events]
        for files, events in zip(numbered, (_READABLE, _WRITABLE, POLLPRI), strict=True)
    )
    return readable, writable, exceptional


class poll:
    """A set of descriptors to wait for; see :func:`select.poll`."""

    def __init__(self) -> None:
        self._events: dict[int, int] = {}

    def register(self, fd: Any, eventmask: int = POLLIN | POLLOUT) -> None:
        """Add *fd*, or change what is asked of it.

        Unlike the standard library's, *eventmask* is reading and writing by default. Conditions
        other than these two are reported along with them, and do not end a wait.
        """
        self._events[_checked(fd)] = index(eventmask) & _ALL

    def modify(self, fd: Any, eventmask: int) -> None:
        """Do as :meth:`register`."""
        self.register(fd, eventmask)

    def unregister(self, fd: Any) -> None:
        """Remove *fd*.

        :raises KeyError: It is not there.
        """
        del self._events[_checked(fd)]

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        """Wait until at least one descriptor is ready.

        :param timeout: For how many *milliseconds* at most; ``None`` or less than 0: any time.
        :returns: ``(descriptor, events)`` for each that is ready; ``POLLNVAL`` for one that is
            closed. Unlike in the standard library, one that is only hung up is readable if that
            was asked for, as reading finds the end.
        """
        seconds = None if timeout is None or timeout < 0 else timeout / 1000
        return [
            (fd, self._events.get(fd, 0) & POLLIN or events if events == POLLHUP else events)
            for fd, events in poll_descriptors(list(self._events.items()), seconds)
        ]


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
