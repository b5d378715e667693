"""Each greenlet is a thread to :mod:`asyncio`.

The engine keeps what asyncio has in the state of a native thread (the running loop, its current
task, the hooks of async generators) apart for each greenlet, as long as a loop runs; see
``waiting/asyncio_state.rs``. This module makes asyncio report its loops to the engine, and gives
each greenlet an event loop policy's data of its own.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

from gevent import _core
from gevent._hub_local import ThreadState
from gevent._modules import imported_modules
from gevent.hub import getcurrent
from gevent.local import local

__all__ = ["follow_running_loops", "patch", "patch_loops", "patch_uvloop"]

#: The current task can be taken out and put back, so it belongs to the wait. Since CPython 3.14 it
#: is in the state of the thread. Before, each loop has one; but eager tasks, which 3.12 brought,
#: take their first step in whatever greenlet makes them, beside the one that runs the loop.
_TASK_CAN_BE_SWAPPED = sys.version_info >= (3, 12)

_UVLOOP = (
    "uvloop waits in libuv, which blocks all greenlets of the thread. Use asyncio's own event loop "
    "in a patched process, or gevent.aio, whose loop lets other greenlets run."
)

Replace = Callable[[ModuleType, str, Any], None]


class _RunningLoop(ThreadState):
    """The running loop of a native thread, where asyncio has no accelerator in C."""

    loop_pid: tuple[Any, int | None] = (None, None)


def follow_running_loops(events: ModuleType, replace: Replace = setattr) -> None:
    """Have the engine keep asyncio's running loop apart for each greenlet, from now on.

    :param events: The module :mod:`asyncio.events`.
    :param replace: Sets an attribute of a module.
    """
    original = events._set_running_loop
    if original is _core.set_running_loop:
        return
    accelerator = sys.modules.get("_asyncio")
    if original is events._py__set_running_loop:
        # Greenlet-local data would hide the running loop from a greenlet that a coroutine switches
        # to, so it is replaced by data of the thread.
        if not isinstance(events._running_loop, ThreadState):
            replace(events, "_running_loop", _RunningLoop())
        accelerator = None
    swap = accelerator._swap_current_task if accelerator and _TASK_CAN_BE_SWAPPED else None
    _core.follow_running_loops(events._get_running_loop, original, swap)
    for _, module, names in imported_modules():
        for name in ("_set_running_loop", "_c__set_running_loop"):
            if names.get(name) is original:
                replace(module, name, _core.set_running_loop)


def patch(events: ModuleType) -> None:
    """Make each greenlet a thread to asyncio, whose module *events* was imported."""
    from gevent.monkey.api import patch_item

    follow_running_loops(events, patch_item)
    policy = getattr(events, "_BaseDefaultEventLoopPolicy", None) or getattr(
        events, "BaseDefaultEventLoopPolicy", None
    )
    if policy is None or issubclass(policy._Local, local):
        return
    kept = policy._Local
    policy._Local = _policy_data(kept)
    current = events._event_loop_policy
    if isinstance(getattr(current, "_local", None), kept):
        current._local = policy._Local(current._local)


def _policy_data(kept: type) -> type:
    """Return the class of greenlet-local data that takes the place of *kept*."""
    defaults = {name: value for name, value in vars(kept).items() if not name.startswith("__")}

    class Data(local):
        def __init__(self, of_thread: Any = None) -> None:
            # The loop that a thread set before patching goes to the thread's bottom greenlet.
            if of_thread is not None and getcurrent().parent is None:
                vars(self).update(vars(of_thread))

    for name, value in defaults.items():
        setattr(Data, name, value)
    Data.__name__ = Data.__qualname__ = "_Local"
    return Data


def patch_loops(base_events: ModuleType) -> None:
    """Let greenlets that a coroutine switches to use its loop in debug mode too."""
    loop_class = base_events.BaseEventLoop
    check = loop_class._check_thread

    def _check_thread(self: Any) -> None:
        # Such a greenlet has another thread identity than the loop's, yet the loop runs in it.
        if base_events.events._get_running_loop() is not self:
            check(self)

    loop_class._check_thread = _check_thread


def patch_uvloop(uvloop: ModuleType) -> None:
    """Have *uvloop* warn, once, when it makes a loop."""
    from gevent.monkey import MonkeyPatchWarning

    original = uvloop.Loop.__init__
    warned = False

    def __init__(self: Any) -> None:
        nonlocal warned
        if not warned:
            warned = True
            warnings.warn(_UVLOOP, MonkeyPatchWarning, stacklevel=2)
        original(self)

    uvloop.Loop.__init__ = __init__
