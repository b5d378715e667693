"""Starting processes: a child has none of the parent's threads, so it runs no greenlet of it."""

from __future__ import annotations

import signal
from functools import wraps
from types import ModuleType, SimpleNamespace
from typing import Any

from gevent._fork import alone_in_child, start_alone
from gevent.local import local
from gevent.monkey.api import patch_item
from gevent.socket import socket

__all__ = ["patch_forkserver", "patch_popen", "patch_reduction", "patch_sharer", "patch_util"]


def patch_popen(module: ModuleType) -> None:
    """Have the children that the ``Popen`` of *module* forks start alone."""
    original = module.Popen._launch

    @wraps(original)
    def _launch(self: Any, process_obj: Any) -> None:
        with alone_in_child():
            original(self, process_obj)

    module.Popen._launch = _launch


def patch_forkserver(module: ModuleType) -> None:
    """Have the children that a fork server forks start alone; it may have greenlets of its own."""
    original = module._serve_one

    @wraps(original)
    def _serve_one(*args: Any) -> Any:
        start_alone()
        return original(*args)

    patch_item(module, "_serve_one", _serve_one)


def patch_util(module: ModuleType) -> None:
    """Have proxies of managers keep one connection for each greenlet, not for each thread."""

    class ForkAwareLocal(local):
        """Data of a greenlet that is empty in a child after a fork."""

        def __init__(self) -> None:
            module.register_after_fork(self, lambda self: self.__dict__.clear())

        def __reduce__(self) -> tuple[type, tuple[()]]:
            return type(self), ()

    if not issubclass(module.ForkAwareLocal, local):
        ForkAwareLocal.__module__ = module.__name__
        ForkAwareLocal.__qualname__ = "ForkAwareLocal"
        patch_item(module, "ForkAwareLocal", ForkAwareLocal)


def patch_reduction(module: ModuleType) -> None:
    """Have sockets of ours travel to other processes like those of the standard library."""
    module.register(socket, module._reduce_socket)


def patch_sharer(module: ModuleType) -> None:
    """Keep the thread that hands out descriptors, a greenlet now, from blocking all signals."""
    names = {name: value for name, value in vars(signal).items() if name != "pthread_sigmask"}
    patch_item(module, "signal", SimpleNamespace(**names))
