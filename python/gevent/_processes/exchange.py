"""Calls of managers and executors, which the kill of a caller must not leave half done."""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import wraps
from types import ModuleType
from typing import Any

from gevent._processes.launch import complete
from gevent.monkey._state import saved

__all__ = ["patch_executor", "patch_managers"]


def patch_managers(module: ModuleType) -> None:
    """Have proxies of *module* drop a connection on which an answer is still to come.

    A greenlet that waits for it may be interrupted by a :class:`gevent.Timeout` and go on. Its next
    request would get the answer to this one.

    What managers make is to be patched, too, though they were imported before.
    """
    init = module.BaseManager.__init__

    @wraps(init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        registry = self._registry
        for typeid, (make, *rest) in registry.items():
            registry[typeid] = (_patched(make), *rest)
        init(self, *args, **kwargs)

    module.BaseManager.__init__ = __init__
    proxy = module.BaseProxy
    original = proxy._callmethod

    @wraps(original)
    def _callmethod(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return original(self, *args, **kwargs)
        except BaseException as error:
            if not _is_answer(error):
                connection = vars(self._tls).pop("connection", None)
                if connection is not None:
                    # It may have been closed for this error already.
                    with suppress(OSError):
                        connection.close()
            raise

    proxy._callmethod = _callmethod


def _patched(function: Any) -> Any:
    """Return what has taken the place of *function*, by default that itself."""
    for name, originals in saved.items():
        for attribute, original in originals.items():
            if original is function:
                return getattr(sys.modules[name], attribute, function)
    return function


def _is_answer(error: BaseException) -> bool:
    """Return true if *error* came from the manager: the wrapped function raised it itself."""
    here = error.__traceback__
    there = None if here is None else here.tb_next
    return there is not None and there.tb_next is None


def patch_executor(module: ModuleType) -> None:
    """Have the executor of *module* take a call in full, even if the caller is killed meanwhile.

    Processes and a thread that it starts then would not be known to it, and take part in its work.
    """
    executor = module.ProcessPoolExecutor
    original = executor.submit

    @wraps(original)
    def submit(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        return complete(lambda: original(self, fn, *args, **kwargs))

    executor.submit = submit
