"""Signal handlers of several loops in the main thread.

asyncio knows one loop that handles signals: the kernel's signals are written to one descriptor,
and the loop that owns it ignores those that it has no handler for. Here each loop that reads a
signal passes it on to the others, and one that removes its last handler gives the descriptor up.
"""

from __future__ import annotations

import signal
from asyncio import unix_events
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from gevent.monkey import is_object_patched

if TYPE_CHECKING:
    from gevent.aio._loop import EventLoop

__all__ = ["add_loop", "handle", "leave_to_others", "own_wakeups"]

#: asyncio's handler of a signal whose number a loop reads from its descriptor.
_ignore: Any = vars(unix_events)["_sighandler_noop"]

#: The loops that handle signals now or have handled some.
_loops: WeakSet[EventLoop] = WeakSet()


def add_loop(loop: EventLoop) -> None:
    """Note that *loop* handles signals."""
    _loops.add(loop)


def _others(loop: EventLoop) -> list[EventLoop]:
    return [other for other in _loops if other is not loop and other._signal_handlers]


def handle(loop: EventLoop, number: int) -> None:
    """Pass the signal *number*, which *loop* has read, on to the other loops."""
    for other in _others(loop):
        if number in other._signal_handlers:
            other._handle_own_signal(number)


def leave_to_others(loop: EventLoop, number: int) -> None:
    """Let the other loops have the signal *number*, for which *loop* removed its handler."""
    others = _others(loop)
    if any(number in other._signal_handlers for other in others):
        signal.signal(number, _ignore)
    # gevent.signal restores the descriptor by itself.
    if others and not loop._signal_handlers and not is_object_patched("signal", "set_wakeup_fd"):
        own_wakeups(others[0])


def own_wakeups(loop: EventLoop) -> None:
    """Have signals written to the descriptor of *loop*, if this is the main thread."""
    with suppress(ValueError, OSError):
        signal.set_wakeup_fd(loop._csock.fileno())
