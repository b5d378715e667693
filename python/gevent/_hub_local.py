"""State of the calling thread: its hub, and the loop that a destroyed hub left."""

from __future__ import annotations

import _thread
from typing import Any

from gevent import _core
from gevent._core import get_hub, get_hub_if_exists, set_default_hub_class, set_hub

__all__ = [
    "get_hub",
    "get_hub_class",
    "get_hub_if_exists",
    "get_hub_noargs",
    "get_loop",
    "set_default_hub_class",
    "set_hub",
    "set_loop",
]

get_hub_noargs = get_hub


class ThreadEnd(_core.ThreadEnd):
    """Lives in a thread's state, and destroys its hub when the thread ends.

    So the greenlets that it leaves are unwound, and no descriptor stays open. The main thread's
    end is the end of the interpreter, which is too late for running anything.
    """

    hub: Any = None

    def __del__(self) -> None:
        hub, self.hub = self.hub, None
        if hub is not None and self.is_mine and not hub.main_hub:
            hub._release(destroy_loop=True)


#: State of a native thread. The class is bound here before anything can be patched.
ThreadState = _thread._local


class _Local(ThreadState):
    loop: Any = None


_local = _Local()


def get_hub_class() -> Any:
    """Return the class of the hub of the calling thread, or of the one it would get."""
    hub = get_hub_if_exists()
    return _core.get_hub_class() if hub is None else type(hub)


def get_loop() -> Any:
    """Return the loop that the next hub of the calling thread is to run, or ``None``."""
    return _local.loop


def set_loop(loop: Any) -> None:
    """Have the next hub of the calling thread run *loop*; ``None``: a new one."""
    _local.loop = loop
