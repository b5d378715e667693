"""The sleep of an event loop in the hub of the thread that runs it."""

from __future__ import annotations

from typing import Any

__all__ = ["Sleeper"]


class Sleeper:
    """The hub in which the greenlet that runs a loop sleeps, and how others wake it.

    :param loop: The event loop.
    """

    __slots__ = ("_loop", "hub", "thread")

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        #: The hub of the thread that runs the loop; ``None`` while the loop does not run.
        self.hub: Any = None
        self.thread = 0

    def bind(self, hub: Any) -> None:
        """Note *hub*, the hub of the calling thread, in which the greenlet will sleep."""
        self.thread = hub.thread_ident
        self.hub = hub

    def unbind(self) -> None:
        """Forget the hub: the loop does not run any more."""
        self.hub = None

    def wake(self) -> None:
        """End the sleep, if the greenlet sleeps: the loop has something to do.

        It may be called from any thread and at any time, also in the middle of a turn.
        """
        self._loop._wake()

    notify = wake
