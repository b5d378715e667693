"""Patching :mod:`threading` in a running process: its threads, its locks, its identities."""

from __future__ import annotations

import sys
import time
from importlib import import_module
from types import ModuleType
from typing import Any

from gevent import events
from gevent._fork import call_when_alone
from gevent.hub import getcurrent, sleep
from gevent.monkey._state import is_object_patched
from gevent.monkey._table import ROWS
from gevent.monkey._warnings import queue_warning
from gevent.monkey.api import (
    get_original,
    notify_did_patch,
    notify_will_patch,
    patch_item,
    patch_module,
)
from gevent.threading import HANDLE, PY313

__all__ = ["patch"]

_NOT_MAIN = (
    "Monkey-patching outside the main native thread. Some APIs will not be available. Expect a "
    "KeyError to be printed at shutdown.",
    "Monkey-patching not on the main thread; threading.main_thread().join() will hang from a "
    "greenlet",
)


def patch(
    *,
    threading: bool,
    threading_local: bool,
    event: bool,
    logging: bool,
    existing_locks: bool,
    warnings: list[str] | None,
) -> None:
    """Do what :func:`gevent.monkey.patch_thread` promises."""
    first_time = not is_object_patched("_thread", "get_ident")
    thread, gthread = ROWS["_thread"].modules()
    library, source = ROWS["threading"].modules()
    native_ident = get_original("_thread", "get_ident")()
    # gevent.core is imported now: otherwise the first hub could wait for another thread's import of
    # it, which itself needs a hub.
    import_module("gevent.core")
    # The locks of imports call this once it is patched: its own globals must not wait for an import
    # then, as they would where imports are lazy (PEP 810).
    gthread.get_ident()
    if existing_locks and first_time:
        # If it were imported later, its hooks would take a cooperative lock around each fork, which
        # must not switch greenlets.
        import_module("concurrent.futures.thread")

    pairs = [(thread, gthread)] + ([(library, source)] if threading else [])
    try:
        for target, replacements in pairs:
            notify_will_patch(target, replacements, replacements.__implements__)
    except events.DoNotPatch:
        return
    for target, replacements in pairs:
        patch_module(
            target,
            replacements,
            _warnings=warnings,
            _notify_will_subscribers=False,
            _notify_did_subscribers=False,
        )

    if threading:
        if event:
            patch_item(library, "Event", import_module("gevent.event").Event)
        if first_time:
            _adopt_running_threads(library, native_ident, warnings)
        if logging:
            _replace_logging_locks(library)
    if threading_local:
        patch_item(import_module("_threading_local"), "local", source.local)
    if existing_locks and first_time:
        _hand_over_held_locks(native_ident, thread.get_ident())

    for target, replacements in pairs:
        notify_did_patch(target, replacements)


def _adopt_running_threads(threading: ModuleType, ident: int, warnings: list[str] | None) -> None:
    main = threading.main_thread()
    if main.ident == ident:
        del threading._active[ident]
        main._ident = threading.get_ident(_bottom_greenlet())
        threading._active[main._ident] = main
        if PY313:
            setattr(main, HANDLE, threading._make_thread_handle(main._ident))
        else:
            _replace_sentinel(threading, main, threading._allocate_lock())
            main._tstate_lock.acquire()
    else:
        for message in _NOT_MAIN:
            queue_warning(message, warnings)
        if not PY313:
            # The main thread would not recognize its own lock at the end of the program, and would
            # wait for itself.
            threading._shutdown_locks.discard(main._tstate_lock)

    for native, thread in list(threading._active.items()):
        if thread is not main and not isinstance(thread, get_original("threading", "_DummyThread")):
            # When the thread ends, it removes itself by the identity of its greenlet, which is not
            # the key that it is listed under.
            thread._delete = _Forget(threading._active, native)
            if PY313:
                setattr(thread, HANDLE, _NativeHandle(getattr(thread, HANDLE)))
            elif thread._tstate_lock is not None:
                _replace_sentinel(threading, thread, _NativeLock(thread._tstate_lock))


def _bottom_greenlet() -> Any:
    """Return the greenlet that the calling thread itself is, and in which it ends."""
    greenlet = getcurrent()
    while greenlet.parent is not None:
        greenlet = greenlet.parent
    return greenlet


def _replace_sentinel(threading: ModuleType, thread: Any, sentinel: Any) -> None:
    old, thread._tstate_lock = thread._tstate_lock, sentinel
    if old in threading._shutdown_locks:
        threading._shutdown_locks.remove(old)
        threading._shutdown_locks.add(sentinel)


class _Forget:
    """Removes a native thread from the active threads when it ends."""

    def __init__(self, active: dict[int, Any], ident: int) -> None:
        self._active = active
        self._ident = ident

    def __call__(self) -> None:
        self._active.pop(self._ident, None)


class _NativeLock:
    """A native lock that the interpreter releases as a thread ends, for greenlets to wait for."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self.locked = lock.locked
        self.release = lock.release
        self._at_fork_reinit = lock._at_fork_reinit

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        return _poll(lambda: self._lock.acquire(False), timeout if blocking else 0)


class _NativeHandle:
    """The handle of a native thread, for greenlets to wait for."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self.is_done = handle.is_done
        self._set_done = handle._set_done

    @property
    def ident(self) -> int:
        ident: int = self._handle.ident
        return ident

    def join(self, timeout: float | None = -1) -> None:
        _poll(self._handle.is_done, -1 if timeout is None else timeout)


def _poll(done: Any, timeout: float) -> bool:
    """Call *done* until it returns true, or for *timeout* seconds; negative means no limit."""
    deadline = time.monotonic() + timeout
    while not done():
        if timeout >= 0 and time.monotonic() >= deadline:
            return False
        sleep(0.01)
    return True


def _replace_logging_locks(threading: ModuleType) -> None:
    logging = sys.modules.get("logging")
    if logging is None or is_object_patched("logging", "_lock"):
        return
    patch_item(logging, "_lock", threading.RLock())
    for reference in logging._handlerList:
        handler = reference() if callable(reference) else reference
        if getattr(handler, "lock", None) is not None:
            handler.lock = threading.RLock()


def _hand_over_held_locks(native_ident: int, ident: int) -> None:
    """Make the greenlet of this thread the owner of the locks that the thread holds."""
    for reference in list(import_module("importlib._bootstrap")._module_locks.values()):
        lock = reference()
        if lock is not None and lock.owner == native_ident:
            lock.owner = ident
    # The hooks around a fork keep the native lock, which no other code takes from now on.
    pool = import_module("concurrent.futures.thread")
    lock = import_module("gevent.thread").LockType()
    patch_item(pool, "_global_shutdown_lock", lock)
    call_when_alone(lock._at_fork_reinit)
