"""Importing modules that keep native threads, sockets and waits in a patched process.

Imports find either the usual modules of the standard library, which are patched or may be, or
native copies of them. They find the copies as long as a block of :func:`unpatched` is entered,
except while a module of this package is imported: those need the usual ones.
"""

from __future__ import annotations

import atexit
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

from gevent._core import RLock
from gevent.monkey._imports import import_within
from gevent.monkey._state import native, saved
from gevent.monkey._table import ROWS, TABLE
from gevent.monkey._warnings import process_warnings
from gevent.monkey.api import get_original

__all__ = ["exempt_modules", "unpatched"]

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
#: The names that :func:`exempt_modules` was given.
_exempt: set[str] = set()


@contextmanager
def unpatched() -> Iterator[None]:
    """Have modules that are imported within get the standard library without gevent::

        with monkey.unpatched():
            import profiler

    The modules keep it: their threads are native threads, and their waits block only these threads.
    It is meant for agents, profilers and clients with threads in C, such as ``ddtrace`` or
    ``grpc.aio``. It may be used before or after patching, in any thread, and within itself.

    ``patch_all(exempt=["profiler"])`` does the same wherever the module is imported, and for parts
    of it that its functions import, as those of :mod:`grpc` do.

    There are limits:

    - A module that is imported already stays as it is, also when another one imports it within.
    - A module that is imported within for the first time stays native for whatever imports it
      later: ``http.client``, say, if it is an agent that imports it first. What the program uses
      too is imported before the block.
    - A module that is imported later, by a function of such a module, is patched, unless its name
      is exempt. Call such functions within the block as well.
    - Objects do not mix: a native thread may give things to greenlets through
      :class:`gevent.threadpool.ThreadPool`, an ``async`` watcher, or locks and queues of gevent,
      but a greenlet that waits for a native lock or thread blocks all others.
    - :mod:`logging`, :mod:`asyncio` and :mod:`multiprocessing` are shared.
    - Patching that comes later does not reach the modules, and within the block there is none: it
      raises :exc:`RuntimeError`.

    Other threads and greenlets that import at the same time get native modules too. Modules of
    gevent always get the usual ones.
    """
    _found.want(native_blocks=+1)
    try:
        yield
    finally:
        _found.want(native_blocks=-1)


def exempt_modules(names: Iterable[str]) -> None:
    """Have the modules *names*, and their submodules, imported as within :func:`unpatched`.

    A :class:`gevent.monkey.MonkeyPatchWarning` names those that are imported already, which stay
    as they are.

    :raises TypeError: if *names* is one name, or holds something else than names.
    :raises ValueError: if a module is one of those that patching replaces.
    """
    if isinstance(names, str):
        raise TypeError(f"exempt must be a list of names, not {names!r}")
    new = [name for name in names if name not in _exempt]
    for name in new:
        if not isinstance(name, str):
            raise TypeError(f"exempt must be a list of names, and has {name!r}")
        if name in ROWS:
            raise ValueError(f"{name} cannot be exempt: an argument of its own leaves it unpatched")
    if not new:
        return
    if not _exempt:
        import_within(_is_exempt, unpatched)
    _exempt.update(new)
    if imported := sorted(name for name in new if name in sys.modules):
        process_warnings([f"Modules that were imported before they became exempt: {imported}"])


def _is_exempt(name: str) -> bool:
    while name not in _exempt:
        name, dot, _ = name.rpartition(".")
        if not dot:
            return False
    return True


class _FoundModules:
    """The modules that imports find: the usual ones, or the native ones."""

    def __init__(self) -> None:
        self._native_blocks = 0
        self._usual_blocks = 0
        #: The usual modules, while the native ones are found; otherwise empty.
        self._usual: dict[str, ModuleType | None] = {}
        # Blocks of several threads may overlap. Nothing that is done with this lock held lets
        # another greenlet run.
        self._lock = get_original("_thread", "RLock")()

    def want(self, *, native_blocks: int = 0, usual_blocks: int = 0) -> None:
        """Count blocks that begin or end, and have imports find what they want."""
        if native_blocks > 0:
            _make_once()
        with self._lock:
            self._native_blocks += native_blocks
            self._usual_blocks += usual_blocks
            if not self._native_blocks or self._usual_blocks:
                _show(self._usual)
                self._usual = {}
            elif not self._usual:
                self._usual = {name: sys.modules.get(name) for name in native}
                _show(native)

    def are_native(self) -> bool:
        """Return true if a block wants the native ones."""
        return self._native_blocks > 0


_found = _FoundModules()


@contextmanager
def _usual_modules() -> Iterator[None]:
    _found.want(usual_blocks=+1)
    try:
        yield
    finally:
        _found.want(usual_blocks=-1)


def _needs_usual_modules(name: str) -> bool:
    return _found.are_native() and name.partition(".")[0] == "gevent"


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


_making = RLock()


def _make_once() -> None:
    with _making:
        if not native:
            made = _make()
            _call_at_exit(made)
            import_within(_needs_usual_modules, _usual_modules)
            native.update(made)


def _make() -> dict[str, ModuleType]:
    """Make the native modules, and then have imports find the usual ones again."""
    made: dict[str, ModuleType] = {}
    before = {name: sys.modules.get(name) for name in _ALL}
    try:
        for name in _COPIED:
            module = __import__(name)
            copy = ModuleType(name, module.__doc__)
            vars(copy).update(vars(module) | saved.get(name, {}))
            made[name] = sys.modules[name] = copy
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
                made[name] = copy
    finally:
        _show(before)
    # The module imports these by name when they are first read, and would get the patched ones.
    futures: Any = made["concurrent.futures"]
    futures.thread = made["concurrent.futures.thread"]
    futures.ThreadPoolExecutor = futures.thread.ThreadPoolExecutor
    return made


def _call_at_exit(made: dict[str, ModuleType]) -> None:
    """Have the interpreter wait for native threads as it ends."""
    # The interpreter waits for the threads of the module that it finds by name only, and calls only
    # what is registered there. Since Python 3.13 it waits for all native threads before it calls
    # functions of atexit, so executors have to end theirs sooner.
    with suppress(RuntimeError):
        # The interpreter refuses this if it is ending already.
        threading._register_atexit(partial(_end_executors, made["threading"]))  # type: ignore[attr-defined]
    atexit.register(made["threading"]._shutdown)


def _end_executors(threads: Any) -> None:
    """Call the functions that *threads*, a threading module, calls before threads are joined."""
    callbacks, threads._threading_atexits = threads._threading_atexits, []
    for callback in reversed(callbacks):
        callback()


#: Every module of the table has its native copy.
assert {row.target for row in TABLE} <= set(_ALL)
