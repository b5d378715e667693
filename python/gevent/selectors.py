"""The standard :mod:`selectors`, with a selector that blocks only the calling greenlet.

The names not mentioned here are those of the standard library.
"""

from __future__ import annotations

import os
import selectors as _selectors
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

from gevent._module_getattr import names_of
from gevent.hub import get_hub
from gevent.select import epoll, poll, select

__implements__: list[str] = ["DefaultSelector"]
__extensions__: list[str] = ["GeventSelector"]
__all__ = __implements__ + __extensions__


__getattr__: Callable[[str], Any] = names_of(_selectors, __name__)


class GeventSelector(_selectors.PollSelector):
    """A selector that waits with the loop.

    What is registered, modified or unregistered while a greenlet waits in :meth:`select` counts
    at once. As with any selector, unregister a file object before closing it.

    :param hub: Accepted for compatibility; it waits in the hub of the calling thread.
    """

    _selector_cls = poll

    def __init__(self, hub: Any = None) -> None:
        super().__init__()
        self._hub = hub
        self._closed = False

    @property
    def hub(self) -> Any:
        """The hub that was given, or that of the calling thread."""
        return self._hub or get_hub()

    def register(self, fileobj: Any, events: int, data: Any = None) -> _selectors.SelectorKey:
        """Watch *fileobj*, a descriptor or an object with a ``fileno`` method, for *events*.

        :param data: Anything to find in the key again.
        :return: The key.
        :raises ValueError: if *events* or the descriptor is invalid; the standard library finds
            out about the latter only when it selects.
        :raises KeyError: if *fileobj* is registered.
        """
        key = super().register(fileobj, events, data)
        try:
            os.fstat(key.fd)
        except OSError as error:
            super().unregister(fileobj)
            raise ValueError(f"Invalid file descriptor: {key.fd}") from error
        return key

    def select(self, timeout: float | None = None) -> list[tuple[_selectors.SelectorKey, int]]:
        """Wait until something that is registered is ready.

        :param timeout: The most seconds to wait; ``None`` for no limit, 0 or less for no wait.
        :return: A key, and the events that are ready, for each; none when the time is over or
            another greenlet closed the selector.
        :raises ValueError: if the selector was closed before.
        """
        if self._closed:
            raise ValueError("I/O operation on closed selector")
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            # A file that was found ready may be unregistered before it is returned.
            ready = super().select(timeout)
            if ready or self._closed:
                return ready
            if deadline is not None:
                timeout = deadline - time.monotonic()
                if timeout <= 0:
                    return ready

    def close(self) -> None:
        """Remove all files, and end the waits in :meth:`select`."""
        if not self._closed:
            self._closed = True
            self._selector.close()  # type: ignore[attr-defined]
        super().close()


DefaultSelector = GeventSelector


def _select(*args: Any) -> Any:
    return select(*args)


_select._gevent_monkey = True  # type: ignore[attr-defined]


def _gevent_did_monkey_patch(
    target: ModuleType, items: list[str], warn: Callable[[str], None], **kwargs: Any
) -> None:
    # These took the blocking ones along when they were defined.
    target.SelectSelector._select = staticmethod(_select)
    target.PollSelector._selector_cls = poll
    target.EpollSelector._selector_cls = epoll
