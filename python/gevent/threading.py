"""Replacements by which the standard :mod:`threading` runs its threads as greenlets.

This is a helper for :mod:`gevent.monkey`. The classes of :mod:`threading` stay as they are, and get
the primitives that they are built on from here.
"""

from __future__ import annotations

import os
import sys
import threading as _native
import weakref
from collections.abc import Callable
from contextvars import Context, copy_context
from functools import cache, partial, wraps
from types import ModuleType
from typing import Any

from gevent import monkey as _monkey  # noqa: F401
from gevent._condition import wait as wait_at_condition
from gevent._config import config
from gevent._core import ThreadRLock
from gevent.hub import getcurrent
from gevent.local import local as local
from gevent.lock import RLock as RLock
from gevent.thread import (
    LockType,
    _threads,
    get_ident,
    start_joinable_thread,
    start_new_thread,
)
from gevent.thread import _make_thread_handle as _make_thread_handle
from gevent.thread import _set_sentinel as _set_sentinel
from gevent.thread import _ThreadHandle as _ThreadHandle
from gevent.thread import allocate_lock as allocate_lock

if sys.version_info >= (3, 14):
    from gevent.thread import set_name as _set_native_name
else:
    _set_native_name: Callable[[str], None]

PY313 = sys.version_info >= (3, 13)
PY314 = sys.version_info >= (3, 14)
#: The attribute in which a :class:`threading.Thread` keeps its handle, since CPython 3.13. Programs
#: subclass that class, and may have attributes of the other name: the version decides.
HANDLE = "_os_thread_handle" if PY314 else "_handle"

__implements__: list[str] = [
    "Lock",
    "_CRLock",
    "_DummyThread",
    "_allocate_lock",
    "get_ident",
    "local",
]
if PY313:
    __implements__ += [
        "_ThreadHandle",
        "_get_main_thread_ident",
        "_make_thread_handle",
        "_start_joinable_thread",
        "_thread_shutdown",
    ]
else:
    __implements__ += ["_set_sentinel", "_start_new_thread"]
if PY314:
    __implements__.append("_set_name")

__extensions__: list[str] = []

# The module under another name, for attributes that are private to it.
_inside: Any = _native

Lock = _allocate_lock = LockType
_get_main_thread_ident = get_ident
_start_joinable_thread = start_joinable_thread
_start_new_thread = start_new_thread
#: The class of the locks that :func:`threading.RLock` makes.
_CRLock = ThreadRLock


def _set_name(name: str) -> None:
    """Name the native thread, as the system's tools show it, for the thread that calls.

    A thread that runs in a greenlet must not be named so: its native thread is shared by all its
    greenlets, and in most programs is the main one, whose name is the program's.
    """
    if getcurrent().parent is None:
        _set_native_name(name)


class LazyOnClass:
    """An attribute whose value is made when an instance first reads it, for the whole class.

    :param func: A function of the instance, which returns the value.
    :param name: The attribute, by default the function's name.
    """

    def __init__(self, func: Callable[[Any], Any], name: str | None = None) -> None:
        self.func = func
        self.name: str = name or func.__name__

    @classmethod
    def lazy(cls, cls_dict: dict[str, Any], func: Callable[[Any], Any]) -> None:
        """Put the attribute that *func* makes into *cls_dict*, the namespace of a class."""
        cls_dict[func.__name__] = cls(func)

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        value = self.func(instance)
        setattr(owner, self.name, value)
        return value


class Thread(_native.Thread):
    """A :class:`threading.Thread`; in a patched process, as any other, it runs in a greenlet."""


class Timer(_native.Timer):
    """A :class:`threading.Timer`; in a patched process, as any other, it runs in a greenlet."""


def main_native_thread() -> _native.Thread:
    """Return the object that stands for the main thread of the process."""
    return _native.main_thread()


class _DummyThread(_native._DummyThread):
    """Stands for a greenlet that :mod:`threading` did not start, for as long as that lives."""

    def __init__(self) -> None:
        super().__init__()
        tracker = getattr(_native, "_thread_local_info", None)
        if tracker is not None:
            # CPython would remove this object when the next greenlet of the native thread gets one.
            del tracker._track_dummy_thread_ref
            _inside._active[self._ident] = self
        greenlet = getcurrent()
        forget = partial(_forget, self)
        if hasattr(greenlet, "rawlink"):
            greenlet.rawlink(forget)
        else:
            self._greenlet = weakref.ref(greenlet, forget)

    def _set_ident(self) -> None:
        self._ident = get_ident()


def _forget(thread: _native.Thread, greenlet: Any = None) -> None:
    if _inside._active.get(thread.ident) is thread:
        del _inside._active[thread.ident]


def _thread_shutdown() -> None:
    """Wait for all threads that are not daemons, the native ones included, as the program ends."""
    from gevent.monkey import get_original

    while waiting := [
        thread
        for thread in _native.enumerate()
        if thread is not _native.main_thread() and not thread.daemon and thread.is_alive()
    ]:
        for thread in waiting:
            getattr(thread, HANDLE).join()
    get_original("threading", "_thread_shutdown")()


class _ForkHooks:
    """Correct the state of :mod:`threading` in a forked child, where only one thread is left.

    The greenlets of the others still exist there and may run to their end, unlike native threads.
    """

    def __init__(self) -> None:
        self._active: list[_native.Thread] = []
        self._starting: list[_native.Thread] = []

    def before_fork_in_parent(self) -> None:
        """Note the threads, as the child loses all but the calling one."""
        self._active = list(_inside._active.values())
        self._starting = list(_inside._limbo.values())

    def after_fork_in_parent(self) -> None:
        """Forget the threads that were noted."""
        self._active = []
        self._starting = []

    def after_fork_in_child(self) -> None:
        """Do what :func:`threading._after_fork` leaves undone for threads in greenlets."""
        main: Any = _native.main_thread()
        if isinstance(main, _DummyThread):
            # An unknown thread forked and is the main thread now. Since CPython 3.11.8, 3.12.2 and
            # 3.13 threading itself does this.
            adopted: Any = main
            adopted.__class__ = _inside._MainThread
            adopted._name = "MainThread"
            adopted._daemonic = False
            if not PY313:
                adopted._tstate_lock = allocate_lock()
                adopted._tstate_lock.acquire()
        for thread in self._active:
            if thread is not main:
                # It is not in the list any more, so the end of its greenlet must not remove it.
                thread._delete = _nothing  # type: ignore[attr-defined]
                if PY313:
                    getattr(thread, HANDLE)._set_done()
        self._active = []
        for thread in self._starting:
            _end_start(thread)
        self._starting = []
        if not PY313:
            # The end of the program must not wait for this lock unless something releases it.
            sentinel = main._tstate_lock
            if _threads.get(main.ident) is not sentinel:
                _inside._shutdown_locks.discard(sentinel)


def _end_start(thread: _native.Thread) -> None:
    """Have a thread that another greenlet was starting at a fork not begin in the child.

    The greenlet that starts it goes on in the child, and finds a thread that has ended.
    """
    if thread.ident is None:
        thread._bootstrap_inner = _nothing  # type: ignore[attr-defined]
    else:
        # The thread has begun, and is about to remove itself from this dictionary.
        _inside._limbo[thread] = thread
    thread._started.set()  # type: ignore[attr-defined]


def _nothing() -> None:
    pass


@cache
def _register_fork_hooks() -> None:
    hooks = _ForkHooks()
    os.register_at_fork(
        before=hooks.before_fork_in_parent,
        after_in_parent=hooks.after_fork_in_parent,
        after_in_child=hooks.after_fork_in_child,
    )


def _gevent_did_monkey_patch(
    target: ModuleType, items: list[str], warn: Callable[[str], None], **kwargs: Any
) -> None:
    _register_fork_hooks()
    # Methods are replaced on the classes, as instances and derived classes may exist already.
    for condition in _defined_classes(target, "Condition"):
        condition.wait = wait_at_condition
    for thread in _defined_classes(target, "Thread"):
        if not PY313:
            thread._wait_for_tstate_lock = _wait_for_tstate_lock
        if PY314:
            thread.start = _inheriting_start(thread.start)


def _defined_classes(module: ModuleType, name: str) -> list[Any]:
    """Return the class that *module* has defined as *name*, and further ones if it was reloaded.

    The module's attribute may be something else: profilers of locks put an object there that makes
    instances which they watch (ddtrace), and others a derived class. Single methods may have been
    replaced, too.
    """
    return [
        found
        for found in object.__subclasses__()
        if found.__name__ == name
        and any(
            getattr(method, "__globals__", None) is vars(module) for method in vars(found).values()
        )
    ]


def _wait_for_tstate_lock(self: Any, block: bool = True, timeout: float = -1) -> None:
    """Wait for the lock that is free once the thread has ended, and note its end.

    Where waiting ends by an exception, the standard library's takes a lock that is held for one
    that the caller has just got. Here it is usually the thread's own still, as a kill or a timeout
    does not come between: such a thread would count as ended from then on.
    """
    lock = self._tstate_lock
    if lock is None:
        return
    try:
        if lock.acquire(block, timeout):
            lock.release()
            self._stop()
    except BaseException:
        if lock.locked() and _inside._active.get(self._ident) is not self:
            # A signal's handler raised between the calls above.
            lock.release()
            self._stop()
        raise


def _inheriting_start(start: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return *start*, of a thread, with the setting ``inherit_context`` in place of Python's flag.

    Since CPython 3.14 a thread runs in a context of its own, given to its class, copied or empty,
    and so hides that of its greenlet.
    """

    @wraps(start)
    def inheriting(self: Any) -> None:
        if getattr(self, "_context", self) is None:
            self._context = copy_context() if config.inherit_context else Context()
        start(self)

    return inheriting
