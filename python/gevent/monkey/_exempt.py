"""Importing modules that keep native threads, sockets and waits in a patched process."""

from __future__ import annotations

import atexit
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

from gevent.monkey._state import saved
from gevent.monkey._table import TABLE

__all__ = ["unpatched"]

#: Modules that have no blocking Python code of their own. A copy with the originals is enough.
_COPIED = ("os", "_thread", "time", "select", "signal")
#: Modules whose code calls blocking functions of its globals. They are executed a second time, in
#: this order.
_RUN_AGAIN = (
    "threading",
    "_threading_local",
    "socket",
    "selectors",
    "ssl",
    "subprocess",
    "queue",
    "concurrent.futures",
    "concurrent.futures.thread",
)
_ALL = (*_COPIED, *_RUN_AGAIN)
#: The modules as they are without patching. It is empty until :func:`unpatched` is used.
_native: dict[str, ModuleType] = {}


@contextmanager
def unpatched() -> Iterator[None]:
    """Have modules that are imported within get the standard library without gevent::

        with monkey.unpatched():
            import profiler

    The modules keep it: their threads are native threads, and their waits block only these threads.
    It is meant for agents, profilers and clients with threads in C, such as ``ddtrace`` or
    ``grpc.aio``. It may be used before or after patching, in any thread.

    There are limits. A module that is imported already stays as it is, also when another one
    imports it within. A module that is imported later, by a function of such a module, is patched;
    call such functions within the block as well. Objects do not mix: a native thread may give
    things to greenlets through :class:`gevent.threadpool.ThreadPool`, an ``async`` watcher, or
    locks and queues of gevent, but a greenlet that waits for a native lock or thread blocks all
    others. :mod:`logging` and :mod:`asyncio` are shared. Patching that comes later does not reach
    the modules either.

    Other threads that import at the same time get native modules too.
    """
    if not _native:
        _make()
    shown = {name: sys.modules.get(name) for name in _native}
    _show(_native)
    try:
        yield
    finally:
        _show(shown)


def _show(modules: Mapping[str, ModuleType | None]) -> None:
    """Have imports find *modules*, by name. ``None`` stands for a module that is not imported."""
    for name, module in modules.items():
        parent, _, child = name.rpartition(".")
        if module is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = module
            if parent in sys.modules:
                setattr(sys.modules[parent], child, module)


def _make() -> None:
    """Make the native modules, and then have imports find the patched ones again."""
    before = {name: sys.modules.get(name) for name in _ALL}
    try:
        for name in _COPIED:
            module = __import__(name)
            copy = ModuleType(name, module.__doc__)
            vars(copy).update(vars(module) | saved.get(name, {}))
            _native[name] = sys.modules[name] = copy
        for name in _RUN_AGAIN:
            spec: Any = find_spec(name) if before[name] is None else before[name].__spec__  # type: ignore[union-attr]
            copy = module_from_spec(spec)
            _show({name: copy})
            try:
                spec.loader.exec_module(copy)
            except ImportError:
                # The interpreter was built without this module, as without ssl.
                _show({name: before[name]})
            else:
                _native[name] = copy
    finally:
        _show(before)
    # The module imports these by name when they are first read, and would get the patched ones.
    futures: Any = _native["concurrent.futures"]
    futures.thread = _native["concurrent.futures.thread"]
    futures.ThreadPoolExecutor = futures.thread.ThreadPoolExecutor
    # The interpreter waits for the threads of the module that it finds by name only, and calls only
    # what is registered there. Since Python 3.13 it waits for all native threads before it calls
    # functions of atexit, so executors have to end theirs sooner.
    with suppress(RuntimeError):
        # The interpreter refuses this if it is ending already.
        threading._register_atexit(_end_executors)  # type: ignore[attr-defined]
    atexit.register(_native["threading"]._shutdown)


def _end_executors() -> None:
    """Call the functions that the native threading module has to call before threads are joined."""
    native: Any = _native["threading"]
    callbacks, native._threading_atexits = native._threading_atexits, []
    for callback in reversed(callbacks):
        callback()


#: Every module of the table has its native copy.
assert {row.target for row in TABLE} <= set(_ALL)
