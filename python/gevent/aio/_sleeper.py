"""The waits of an event loop: its greenlet sleeps until something is to be done.

What ends a sleep is a descriptor, a point in time, or somebody who gave the loop something to do:
another greenlet of the thread, a signal handler, another thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gevent._core import Waiter
from gevent.hub import get_thread_ident

__all__ = ["Sleeper"]

#: Descriptors and the events to watch them for: 1 reading, 2 writing, 3 either.
Descriptors = Iterable[tuple[int, int]]


class Sleeper:
    """Puts the greenlet that runs a loop to sleep, in the hub of its thread.

    A wake-up that comes while the greenlet is not asleep must not be lost, since it may be about
    to fall asleep with a timeout that it has computed before. So :meth:`begin_turn` forgets what
    that computation has seen, and a wake-up that comes later ends the next sleep at once.
    """

    __slots__ = (
        "_noticed",
        "_waiter",
        "_watchers",
        "_woken",
        "hub",
        "keeps_hub_alive",
        "outside",
        "thread",
    )

    def __init__(self, keeps_hub_alive: Callable[[], bool]) -> None:
        #: The hub of the thread that runs the loop, ``None`` while the loop does not run.
        self.hub: Any = None
        self.thread = 0
        #: Returns false if the hub need not wait for what the loop waits for.
        self.keeps_hub_alive = keeps_hub_alive
        self._waiter: Waiter | None = None
        self._watchers: list[Any] = []
        self._woken = False
        self._noticed = False

    def bind(self, hub: Any) -> None:
        """Prepare for sleeps in *hub*, that of the calling thread."""
        self.thread = hub.thread_ident
        self._woken = self._noticed = False
        self.hub = hub

    def unbind(self) -> None:
        """Forget the hub, and let nobody wake the greenlet any more."""
        self.hub = None

    @property
    def asleep(self) -> bool:
        """True while the greenlet sleeps."""
        return self._waiter is not None

    def begin_turn(self) -> None:
        """Forget the wake-ups so far: the timeout of the coming sleep accounts for them."""
        self._woken = False

    def sleep(self, timeout: float | None, descriptors: Descriptors) -> None:
        """Sleep until one of *descriptors* is ready, *timeout* seconds pass or :meth:`wake`.

        :param timeout: ``None`` for any time.
        """
        if self._woken:
            return
        loop, ref = self.hub.loop, self.keeps_hub_alive()
        waiter = Waiter(self.hub)
        watchers = self._watchers
        try:
            self.watch(waiter, descriptors)
            if timeout is not None:
                timer = loop.timer(timeout, ref=ref)
                watchers.append(timer)
                # The loop's time is that of its last turn, which may have been long ago.
                timer.start(waiter.switch, update=True)
            self._waiter = waiter
            waiter.get()
        finally:
            self._waiter = None
            self._close_watchers()

    def watch(self, waiter: Waiter, descriptors: Descriptors) -> None:
        """Have *descriptors* end the sleep of *waiter*."""
        loop, ref = self.hub.loop, self.keeps_hub_alive()
        for fd, events in descriptors:
            watcher = loop.io(fd, events, ref=ref)
            self._watchers.append(watcher)
            watcher.start(waiter.switch)

    def _close_watchers(self) -> None:
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            watcher.close()

    def wake(self) -> None:
        """End the sleep, or the next one: the loop has something to do.

        To be called in the thread of the loop; elsewhere, and in signal handlers, :meth:`notify`.
        """
        waiter, self._waiter = self._waiter, None
        if waiter is None:
            self._woken = True
        elif get_thread_ident() == self.thread:
            self.hub.loop.run_callback(waiter.switch)
        else:
            # Somebody uses the loop from a thread that is not its own, which is a mistake; still
            # nothing may be resumed in another thread.
            self._waiter = waiter
            self.notify()

    def notify(self) -> None:
        """Do as :meth:`wake`, from any thread and at any time, also in the middle of a turn."""
        hub = self.hub
        if hub is None or self._noticed:
            return
        self._noticed = True
        try:
            if get_thread_ident() == self.thread:
                hub.loop.run_callback(self._on_notice)
            else:
                hub.loop.run_callback_threadsafe(self._on_notice)
        except (AttributeError, ValueError):
            # The hub has ended, and the loop with it.
            self._noticed = False

    def _on_notice(self) -> None:
        self._noticed = False
        self.wake()

    def watch_again(self, descriptors: Descriptors) -> None:
        """Watch *descriptors* in place of those from the beginning of a sleep under way.

        For the child of a fork, where the set that was watched is still that of the parent.
        """
        waiter = self._waiter
        if waiter is not None:
            self._close_watchers()
            self.watch(waiter, descriptors)
            self.wake()
