"""The selectors of event loops: they poll without waiting, and sleep in the hub."""

from __future__ import annotations

import selectors
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from gevent._core import sleep
from gevent.aio._sleeper import Descriptors, Sleeper
from gevent.monkey.api import get_original

__all__ = ["AdaptedSelector", "HubSelector", "Ready"]

Ready = list[tuple[selectors.SelectorKey, int]]


def _yes() -> bool:
    return True


class HubSelector(selectors.EpollSelector):
    """A set of descriptors in the kernel, whose own descriptor the hub watches during sleeps.

    The set is always the native one, as its polls never wait.
    """

    _selector: Any
    _selector_cls: Any = get_original("select", "epoll")

    def __init__(self) -> None:
        super().__init__()
        self.sleeper = Sleeper(_yes)
        # True if greenlets have had their turn since the last poll that found something.
        self._has_slept = False

    def select(self, timeout: float | None = None) -> Ready:
        """Return what is ready; sleep at most *timeout* seconds for it, ``None``: any time.

        Without a sleep the other greenlets get one turn, so that a busy loop starves nobody.
        Nothing runs between the poll and the return: what is ready belongs to the present keys.
        """
        sleeper = self.sleeper
        if sleeper.hub is None:
            return super().select(timeout)
        sleeper.begin_turn()
        at_once = timeout is not None and timeout <= 0
        if at_once or not self._has_slept:
            sleep(0)
        ready = super().select(0)
        self._has_slept = False
        if ready or at_once:
            return ready
        sleeper.sleep(timeout, self._descriptors())
        self._has_slept = True
        return super().select(0)

    def _descriptors(self) -> Descriptors:
        return ((self.fileno(), 1),)

    def reopen(self, goes_on: bool) -> None:
        """Leave the set to the parent process, and make a new one with the same descriptors.

        :param goes_on: False if the greenlet that runs the loop is none of this process.
        """
        former, self._selector = self._selector, self._selector_cls()
        former.close()
        for key in list(self.get_map().values()):
            read = selectors.EVENT_READ if key.events & selectors.EVENT_READ else 0
            write = 4 if key.events & selectors.EVENT_WRITE else 0
            # One that was closed without being unregistered is in no set.
            with suppress(OSError):
                self._selector.register(key.fd, read | write)
        if goes_on and self.sleeper.hub is not None:
            self.sleeper.watch_again(self._descriptors())


class AdaptedSelector(selectors.BaseSelector):
    """Has a selector that a program made wait in the hub.

    :param selector: Any selector. Its ``select`` is called with a timeout of 0 only.
    """

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self.adapted = selector
        self.sleeper = Sleeper(_yes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.adapted, name)

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Register *fileobj* with the adapted selector."""
        return self._changed(self.adapted.register(fileobj, events, data))

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Unregister *fileobj* from the adapted selector."""
        return self._changed(self.adapted.unregister(fileobj))

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Change what the adapted selector knows of *fileobj*."""
        return self._changed(self.adapted.modify(fileobj, events, data))

    def _changed(self, key: selectors.SelectorKey) -> selectors.SelectorKey:
        # A sleep watches the descriptors that were there when it began.
        if self.sleeper.asleep:
            self.sleeper.wake()
        return key

    def select(self, timeout: float | None = None) -> Ready:
        """Return what is ready, as :meth:`HubSelector.select`."""
        sleeper = self.sleeper
        if sleeper.hub is None:
            return self.adapted.select(timeout)
        sleeper.begin_turn()
        sleep(0)
        ready = self.adapted.select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        sleeper.sleep(timeout, [(key.fd, key.events) for key in self.get_map().values()])
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
        """Do nothing: a set that a program made is the program's to care for after a fork."""
