"""Starting processes: a child has none of the parent's threads, so it runs no greenlet of it."""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any, Self

from gevent import spawn
from gevent._core import get_hub, getcurrent
from gevent._fork import alone_in_child, start_alone
from gevent._processes.transfer import READ, WRITE, wait, write_some
from gevent.local import local
from gevent.monkey.api import patch_item
from gevent.os import _watch_child, close
from gevent.socket import socket

__all__ = [
    "complete",
    "patch_forkserver",
    "patch_popen",
    "patch_reduction",
    "patch_served",
    "patch_sharer",
    "patch_spawn",
    "patch_util",
]


def complete(function: Callable[[], Any]) -> Any:
    """Return what *function* returns, which is called in a greenlet of its own.

    An error that is thrown into the calling greenlet meanwhile is raised when the call is over.
    """
    if getcurrent() is get_hub():
        # The hub cannot wait.
        return function()
    outcome: list[tuple[Any, BaseException | None]] = []

    def call() -> None:
        try:
            outcome.append((function(), None))
        except BaseException as error:
            outcome.append((None, error))

    greenlet = spawn(call)
    thrown: BaseException | None = None
    while not greenlet.ready():
        try:
            greenlet.join()
        except BaseException as error:
            thrown = error
    result, failure = outcome.pop()
    if thrown is not None:
        raise thrown
    if failure is not None:
        raise failure
    return result


class _PipeWriter:
    """A file that a child reads what it is to run from, as soon as it is there to read it."""

    def __init__(self, file: int, mode: str, closefd: bool = True) -> None:
        self._file = file
        self._closefd = closefd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._closefd:
            close(self._file)

    def write(self, data: Any) -> None:
        """Write all of *data*, which supports the buffer protocol."""
        with memoryview(data) as rest:
            written = 0
            while written < len(rest):
                try:
                    written += write_some(self._file, rest[written:])
                except BlockingIOError:
                    wait(self._file, WRITE)


def patch_popen(module: ModuleType) -> None:
    """Have the children that the ``Popen`` of *module* forks start alone."""
    original = module.Popen._launch

    @wraps(original)
    def _launch(self: Any, process_obj: Any) -> None:
        with alone_in_child():
            original(self, process_obj)

    module.Popen._launch = _launch


def patch_spawn(module: ModuleType) -> None:
    """Have *module* wait cooperatively until the child that it starts takes its arguments."""
    if module.__name__.startswith("billiard."):
        patch_item(module, "io", SimpleNamespace(BytesIO=io.BytesIO, open=_PipeWriter))
    else:
        # It takes the place of the built-in function.
        patch_item(module, "open", _PipeWriter)

    def end(popen: Any) -> None:
        if (child := getattr(popen, "pid", None)) is not None:
            os.kill(child, signal.SIGKILL)
            _watch_child(child)

    _end_if_interrupted(module.Popen, end)


def patch_served(module: ModuleType) -> None:
    """Have *module* wait cooperatively until the child that it starts takes its arguments.

    The exit code can be read once, so of many greenlets that wait for the end one reads it.
    """
    patch_item(module, "open", _PipeWriter)

    def poll(self: Any, flag: int = os.WNOHANG) -> int | None:
        connection = import_module("multiprocessing.connection")
        if self.returncode is None:
            ready = connection.wait([self.sentinel], 0 if flag == os.WNOHANG else None)
            if ready and self.returncode is None:
                read = module.forkserver.read_signed
                # The original, during which no other greenlet runs.
                read = getattr(read, "__wrapped__", read)
                try:
                    self.returncode = read(self.sentinel)
                except (OSError, EOFError):
                    # The standard library says so where the server was killed.
                    self.returncode = 255
        code: int | None = self.returncode
        return code

    module.Popen.poll = poll

    def kill(popen: Any) -> None:
        # The server sends the number, unless it has ended.
        with suppress(OSError, EOFError):
            os.kill(module.forkserver.read_signed(popen.sentinel), signal.SIGKILL)

    def end(popen: Any) -> None:
        if hasattr(popen, "sentinel"):
            spawn(kill, popen)

    _end_if_interrupted(module.Popen, end)


def _end_if_interrupted(popen: Any, end: Callable[[Any], None]) -> None:
    """Have *end* called for a child whose start fails, as by a kill of the greenlet that starts it.

    Nothing would remain by which the child could be known, and waited for.
    """
    original = popen._launch

    @wraps(original)
    def _launch(self: Any, process_obj: Any) -> None:
        try:
            original(self, process_obj)
        except BaseException:
            end(self)
            raise

    popen._launch = _launch


def patch_forkserver(module: ModuleType) -> None:
    """Have the children that a fork server forks start alone; it may have greenlets of its own.

    The server's answers, the first of which comes when it has started, are waited for.
    """
    original = module._serve_one
    read_signed = module.read_signed

    @wraps(read_signed)
    def read(fd: int) -> Any:
        wait(fd, READ)
        return read_signed(fd)

    patch_item(module, "read_signed", read)
    _renew_lock(module._forkserver)

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
    patch_item(module, "send_handle", _in_blocking_mode(module.send_handle))
    patch_item(module, "recv_handle", _in_blocking_mode(module.recv_handle))


def _in_blocking_mode(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function that makes a socket of ours, which does not block, of a connection.

    Both have one mode, and other processes may have the connection as well.
    """

    @wraps(function)
    def exchange(conn: Any, *args: Any) -> Any:
        try:
            return function(conn, *args)
        finally:
            os.set_blocking(conn.fileno(), True)

    return exchange


def patch_sharer(module: ModuleType) -> None:
    """Keep the thread that hands out descriptors, a greenlet now, from blocking all signals."""
    _renew_lock(module._resource_sharer)
    names = {name: value for name, value in vars(signal).items() if name != "pthread_sigmask"}
    patch_item(module, "signal", SimpleNamespace(**names))


def _renew_lock(holder: Any) -> None:
    """Give *holder* a lock of greenlets, in place of one that was made before patching."""
    if not holder._lock.locked():
        holder._lock = threading.Lock()
