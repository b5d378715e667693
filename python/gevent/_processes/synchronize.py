"""Semaphores shared by processes, waited for by greenlets."""

from __future__ import annotations

import time
from types import ModuleType
from typing import Any, Self

from gevent._core import get_hub, getcurrent
from gevent._polling import poll_until
from gevent._processes.transfer import GRACE
from gevent.monkey.api import patch_item
from gevent.thread import get_ident

__all__ = ["SemLockBase", "patch"]

_RECURSIVE_MUTEX, _SEMAPHORE = 0, 1


class SemLockBase:
    """A named semaphore of the system; see ``_multiprocessing.SemLock``, which it wraps.

    :meth:`acquire` blocks only the calling greenlet, and a recursive lock belongs to a greenlet.
    Below is the same semaphore, so other processes may use the original class.
    """

    #: The original class; set by a subclass.
    _original: Any

    def __init__(self, kind: int, value: int, maxvalue: int, *name_and_unlink: Any) -> None:
        if kind not in (_RECURSIVE_MUTEX, _SEMAPHORE):
            raise ValueError("unrecognized kind")
        self._take(kind, self._original(_SEMAPHORE, value, maxvalue, *name_and_unlink))

    @classmethod
    def _rebuild(cls, handle: int, kind: int, *rest: Any) -> Self:
        self = cls.__new__(cls)
        self._take(kind, cls._original._rebuild(handle, _SEMAPHORE, *rest))
        return self

    def _take(self, kind: int, lock: Any) -> None:
        self._lock = lock
        self.kind = kind
        self._owner: int | None = None
        self._held = 0
        self.release = self._release_recursive if kind == _RECURSIVE_MUTEX else lock.release

    def __getattr__(self, name: str) -> Any:
        # handle, maxvalue, name, and the methods that ask for the value.
        if name == "_lock":
            raise AttributeError(name)
        return getattr(self._lock, name)

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Take a permit, waiting up to *timeout* seconds if *block* is true; return success."""
        ident = get_ident()
        recursive = self.kind == _RECURSIVE_MUTEX
        if recursive and self._held and self._owner == ident:
            self._held += 1
            return True
        if not self._lock.acquire(False) and not (block and self._wait(timeout)):
            return False
        self._owner = ident
        if recursive:
            self._held = 1
        return True

    def acquire_in_any_case(self) -> BaseException | None:
        """Take a permit even if errors are thrown into the greenlet meanwhile; return the last one.

        If nobody gives a permit back for :data:`GRACE` seconds after the first of them, as when the
        process that holds it was killed, the error is raised.
        """
        thrown: BaseException | None = None
        deadline = 0.0
        while True:
            left = None if thrown is None else deadline - time.monotonic()
            try:
                acquired = self.acquire(True, left)
            except BaseException as error:
                if thrown is None:
                    deadline = time.monotonic() + GRACE
                thrown = error
                if time.monotonic() >= deadline:
                    raise
            else:
                if thrown is not None and not acquired:
                    raise thrown
                return thrown

    def _wait(self, timeout: float | None) -> bool:
        if getcurrent() is get_hub():
            # The hub cannot wait for other greenlets.
            acquired: bool = self._lock.acquire(True, timeout)
            return acquired
        # No loop is notified when a POSIX semaphore is released.
        return poll_until(lambda: self._lock.acquire(False), timeout)

    def _release_recursive(self) -> None:
        if not self._is_mine():
            raise AssertionError("attempt to release recursive lock not owned by thread")
        if self._held == 1:
            self._lock.release()
        self._held -= 1

    def _count(self) -> int:
        return self._held if self.kind == _RECURSIVE_MUTEX else self._lock._count()

    def _is_mine(self) -> bool:
        return self._count() > 0 and self._owner == get_ident()

    def _after_fork(self) -> None:
        self._held = 0
        self._lock._after_fork()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()


def patch(module: ModuleType) -> None:
    """Make the semaphores of *module* cooperative from now on.

    :param module: ``_multiprocessing`` or ``_billiard``.
    """
    original = getattr(module, "SemLock", None)
    if original is None:
        return
    names = {"_original": original, "__module__": module.__name__}
    for name in ("SEM_VALUE_MAX", "sem_unlink"):
        if hasattr(original, name):
            names[name] = getattr(original, name)
    patch_item(module, "SemLock", type("SemLock", (SemLockBase,), names))
