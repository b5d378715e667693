"""The exceptions that the hub and the objects waiting on it raise."""

from __future__ import annotations

from typing import Any

from greenlet import GreenletExit

from gevent._core import (
    BlockingSwitchOutError,
    ConcurrentObjectUseError,
    InvalidSwitchError,
    InvalidThreadUseError,
)

__all__ = [
    "BlockingSwitchOutError",
    "Cancelled",
    "ConcurrentObjectUseError",
    "GreenletExit",
    "HubDestroyed",
    "InvalidSwitchError",
    "InvalidThreadUseError",
    "LoopExit",
]


class LoopExit(Exception):
    """Raised in the main greenlet of a thread when nothing is left that could ever wake it.

    Functions such as :meth:`gevent.hub.Hub.join` expect and handle it. Seen by a program, it
    nearly always means a deadlock: a greenlet waits for a lock, an event or a queue that no
    other greenlet can reach any more, or for an object that belongs to another thread's hub.

    Raised by the hub with three arguments: a message, the hub, and what its loop still holds.
    gevent 0.13 called it ``gevent.hub.DispatchExit``, whose one argument is *code*.
    """

    def __init__(self, *args: Any, code: int | None = None) -> None:
        super().__init__(*args if code is None else (*args, code))
        #: The wait of the main greenlet, and the greenlets that waited for each other in a
        #: circle, with the holders of their locks, as lines for people. It is empty where the
        #: exception is expected.
        self.waits: str = ""
        if len(args) == 3 and not getattr(args[1], "_joined", True):
            # This is done now, as locks are released while the exception propagates.
            from gevent._wait_graph import deadlocks

            self.waits = deadlocks()

    @property
    def code(self) -> Any:
        """The value that ``gevent.core.dispatch()`` would return: 1 if no event is registered."""
        return self.args[0] if len(self.args) == 1 else 1

    @property
    def hub(self) -> Any:
        """The hub that ran out of work, or ``None`` when the exception does not say."""
        return self.args[1] if len(self.args) == 3 else None

    def __str__(self) -> str:
        if len(self.args) != 3:
            return repr(self)
        # Imported here: an exception module must stay importable before anything else.
        from pprint import pformat

        message, hub, handles = self.args
        text = f"{message}\n\tHub: {hub}\n\tHandles:\n{pformat(handles)}"
        return f"{text}\n{self.waits}" if self.waits else text


class Cancelled(GreenletExit):
    """Raised, once, in a greenlet whose block is cancelled.

    The block is that of a :class:`gevent.CancelScope`, or of a :class:`gevent.TaskGroup`, whose
    children get it too. Code may clean up when it comes, but should let it pass: only the block
    that it names swallows it. As a :class:`greenlet.GreenletExit` it ends a greenlet without an
    error.
    """

    @property
    def scope(self) -> Any:
        """The :class:`gevent.CancelScope` that was cancelled; a group has one of its own."""
        return self.args[0] if self.args else None

    def __str__(self) -> str:
        return f"cancelled by {self.scope!r}" if self.args else ""


class HubDestroyed(GreenletExit):
    """Thrown into a running hub to stop its loop when the hub is destroyed.

    It is recognised by identity: neither subclass it nor raise it.
    """

    def __init__(self, destroy_loop: bool) -> None:
        super().__init__(destroy_loop)
        #: True if the loop is destroyed together with the hub.
        self.destroy_loop = destroy_loop
