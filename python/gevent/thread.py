"""The standard :mod:`_thread` module over greenlets: a thread is a greenlet, a lock parks one.

A helper for :mod:`gevent.monkey`. Programs that know of greenlets spawn them with
:func:`gevent.spawn` and lock with :mod:`gevent.lock`.
"""

from __future__ import annotations

import sys
from _thread import (
    TIMEOUT_MAX,
    RLock,
    allocate,
    error,
    exit_thread,
    get_native_id,
    interrupt_main,
    start_new,
)
from _thread import get_ident as _original_get_ident
from _thread import stack_size as _original_stack_size
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from gevent import lock as _lock  # noqa: F401
from gevent._core import LockType
from gevent.event import Event
from gevent.exceptions import GreenletExit
from gevent.greenlet import Greenlet
from gevent.hub import getcurrent
from gevent.local import local

__implements__: list[str] = [
    "LockType",
    "_local",
    "allocate_lock",
    "exit",
    "get_ident",
    "stack_size",
    "start_new_thread",
]

__imports__: list[str] = [
    "RLock",
    "TIMEOUT_MAX",
    "allocate",
    "error",
    "exit_thread",
    "get_native_id",
    "interrupt_main",
    "start_new",
]

__all__ = [
    "TIMEOUT_MAX",
    "LockType",
    "RLock",
    "allocate",
    "allocate_lock",
    "error",
    "exit",
    "exit_thread",
    "get_ident",
    "get_native_id",
    "interrupt_main",
    "stack_size",
    "start_new",
    "start_new_thread",
]

if sys.version_info >= (3, 12):
    from _thread import daemon_threads_allowed as daemon_threads_allowed

    __imports__.append("daemon_threads_allowed")
    __all__.append("daemon_threads_allowed")
if sys.version_info >= (3, 13):
    _NEW = ["_ThreadHandle", "_make_thread_handle", "lock", "start_joinable_thread"]
    __implements__ += _NEW
    __all__ += _NEW
if sys.version_info >= (3, 14):
    from _thread import set_name as set_name

    __imports__.append("set_name")
    __all__.append("set_name")

allocate_lock = lock = LockType
_local = local

#: The identities of the greenlets that were started as threads, and the lock that
#: :mod:`threading` (before CPython 3.13) wants released when each of them ends.
_threads: dict[int, LockType | None] = {}


def get_ident(gr: Any = None) -> int:
    """Return the identity of the greenlet *gr*, by default of the calling one.

    A positive integer that no other living greenlet has. The standard library's identifies the
    thread.
    """
    try:
        return id(getcurrent() if gr is None else gr)
    except RuntimeError:
        # The interpreter is ending, and greenlets with it.
        return _original_get_ident()


def start_new_thread(
    function: Callable[..., Any], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
) -> int:
    """Call *function* in a new greenlet, and return the identity of that.

    :raises TypeError: for arguments of wrong types.
    """
    if not callable(function):
        raise TypeError("first arg must be callable")
    if not isinstance(args, tuple):
        raise TypeError("2nd arg must be a tuple")
    if kwargs is not None and not isinstance(kwargs, dict):
        raise TypeError("optional 3rd arg must be a dictionary")
    return id(Greenlet.spawn(_run, function, args, kwargs or {}))


def _run(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    ident = id(getcurrent())
    _threads[ident] = None
    try:
        function(*args, **kwargs)
    except SystemExit:
        # It ends the thread, as in the standard library; from a greenlet it would end the program.
        pass
    finally:
        sentinel = _threads.pop(ident, None)
        if sentinel is not None and sentinel.locked():
            sentinel.release()


def _set_sentinel() -> LockType:
    """Return a lock that is released when the calling greenlet, started as a thread, ends."""
    sentinel = LockType()
    ident = id(getcurrent())
    if ident in _threads:
        _threads[ident] = sentinel
    return sentinel


class _ThreadHandle:
    """The handle of a thread that :mod:`threading` keeps since CPython 3.13: identity and end."""

    __slots__ = ("_done", "ident")

    def __init__(self) -> None:
        self.ident: int = 0
        self._done = Event()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} object: ident={self.ident}>"

    def is_done(self) -> bool:
        """Return true if the thread has ended."""
        return self._done.is_set()

    def join(self, timeout: float | None = -1) -> None:
        """Wait until the thread has ended, or for *timeout* seconds; negative means no limit.

        :raises RuntimeError: if it was not started, or is the calling one.
        """
        if not self.ident:
            raise RuntimeError("thread not started")
        if self._done.is_set():
            return
        if self.ident == get_ident():
            raise RuntimeError("Cannot join current thread")
        # Reports follow the wait from the handle to the greenlet of the thread.
        limit = None if timeout is None or timeout < 0 else timeout
        self._done._wait_as_part_of(self, limit)

    def _set_done(self) -> None:
        if not self.ident:
            raise RuntimeError("thread not started")
        self._done.set()


def _make_thread_handle(ident: int) -> _ThreadHandle:
    """Return the handle of a running thread."""
    handle = _ThreadHandle()
    handle.ident = ident
    return handle


def start_joinable_thread(
    function: Callable[[], Any], handle: _ThreadHandle | None = None, daemon: bool = True
) -> _ThreadHandle:
    """Call *function* in a new greenlet, and return the handle of that.

    For :mod:`threading` of CPython 3.13 and later only.

    :param handle: A new handle to use.
    :param daemon: Accepted for compatibility: :mod:`threading` itself knows whom to wait for.
    :raises RuntimeError: if *handle* was used before.
    """
    if not callable(function):
        raise TypeError("thread function must be callable")
    if handle is None:
        handle = _ThreadHandle()
    elif not isinstance(handle, _ThreadHandle):
        raise TypeError("'handle' must be a _ThreadHandle")
    if handle.ident:
        raise RuntimeError("thread already started")
    handle.ident = id(Greenlet.spawn(_run_joinable, function, handle))
    return handle


def _run_joinable(function: Callable[[], Any], handle: _ThreadHandle) -> None:
    try:
        _run(function, (), {})
    finally:
        handle._set_done()


def exit() -> NoReturn:
    """End the calling thread, or the calling greenlet where it was not started as a thread.

    :raises SystemExit: in a thread.
    :raises GreenletExit: in any other greenlet.
    """
    raise SystemExit if id(getcurrent()) in _threads else GreenletExit


def stack_size(size: int | None = None) -> int:
    """Return the stack size of new native threads in bytes, and set it where *size* is given.

    Greenlets share the stack of their thread, so it does not matter to them.
    """
    return _original_stack_size() if size is None else _original_stack_size(size)
