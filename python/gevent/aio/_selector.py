"""The selectors of event loops: they poll without waiting, and the loop sleeps in the hub."""

from __future__ import annotations

import selectors
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from gevent.monkey.api import get_original

__all__ = ["AdaptedSelector", "HubSelector", "Ready"]

Ready = list[tuple[selectors.SelectorKey, int]]


class HubSelector(selectors.EpollSelector):
    """A set of descriptors in the kernel, whose own descriptor the hub watches for the loop.

    The selector is always the native one, also in a patched process, as its polls never wait.
    """

    _selector: Any
    _fd_to_key: dict[int, selectors.SelectorKey]
    _selector_cls: Any = get_original("select", "epoll")

    def __init__(self) -> None:
        super().__init__()
        #: The loop that the selector belongs to.
        self.loop: Any = None

    @property
    def keys_by_fd(self) -> dict[int, selectors.SelectorKey]:
        """Return the registered keys by the numbers of their descriptors."""
        return self._fd_to_key

    def poll(self) -> Ready:
        """Return what is ready now."""
        return super().select(0)

    def select(self, timeout: float | None = None) -> Ready:
        """Return what is ready, after a sleep of at most *timeout* seconds (``None``: no limit).

        Without a sleep the other greenlets get one turn, so that a busy loop starves nobody.
        No other greenlet runs between the poll and the return, so what is reported as ready
        belongs to the present keys.
        """
        loop = self.loop
        if loop is None or not loop.is_running():
            return super().select(timeout)
        loop._wait(timeout)
        return super().select(0)

    def reopen(self, goes_on: bool) -> None:
        """Leave the set to the parent process, and make a new one with the same descriptors.

        :param goes_on: False if the greenlet that runs the loop does not exist in this process.
        """
        former, self._selector = self._selector, self._selector_cls()
        former.close()
        for key in list(self.get_map().values()):
            read = selectors.EVENT_READ if key.events & selectors.EVENT_READ else 0
            write = 4 if key.events & selectors.EVENT_WRITE else 0
            # A descriptor that was closed without being unregistered cannot be added.
            with suppress(OSError):
                self._selector.register(key.fd, read | write)
        if goes_on and self.loop is not None:
            # A sleep that is under way still watches the parent's set.
            self.loop.watch_own_selector()
            self.loop._wake()


class AdaptedSelector(selectors.BaseSelector):
    """Adapts a selector that a program made, so that its waits take place in the hub.

    :param selector: Any selector. Its ``select`` is called with a timeout of 0 only, once the loop
        runs.
    """

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self.adapted = selector
        #: The loop that the selector belongs to.
        self.loop: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.adapted, name)

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Register *fileobj* with the adapted selector."""
        return self._changed(self.adapted.register(fileobj, events, data))

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Unregister *fileobj* from the adapted selector."""
        return self._changed(self.adapted.unregister(fileobj))

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Change the events and the data of *fileobj* in the adapted selector."""
        return self._changed(self.adapted.modify(fileobj, events, data))

    def _changed(self, key: selectors.SelectorKey) -> selectors.SelectorKey:
        # A sleep watches the descriptors that were registered when it began, so it has to end.
        if self.loop is not None:
            self.loop._wake()
        return key

    def select(self, timeout: float | None = None) -> Ready:
        """Return what is ready, as :meth:`HubSelector.select`."""
        loop = self.loop
        if loop is None or not loop.is_running():
            return self.adapted.select(timeout)
        loop._wait(0)
        ready = self.adapted.select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        hub_loop, watchers = loop._sleeper.hub.loop, []
        try:
            for key in self.get_map().values():
                watcher = hub_loop.io(key.fd, key.events, ref=False)
                watchers.append(watcher)
                watcher.start(loop._wake)
            loop._wait(timeout)
        finally:
            for watcher in watchers:
                watcher.close()
        return self.adapted.select(0)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """Return what is registered."""
        return self.adapted.get_map()

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        """Return the key of *fileobj*."""
        return self.adapted.get_key(fileobj)

    def close(self) -> None:
        """Close the adapted selector."""
        self.adapted.close()

    def reopen(self, goes_on: bool) -> None:
        """Do nothing: the program that made the selector takes care of it after a fork."""
