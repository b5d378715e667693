"""The standard :mod:`os`, with children, and reading and writing, that block only a greenlet.

:func:`fork`, :func:`forkpty`, :func:`posix_spawn`, :func:`posix_spawnp`, :func:`waitpid`,
:func:`waitid` and :func:`close` take the place of their namesakes when :mod:`os` is patched. The
others have to be called by name: :func:`nb_read` and :func:`nb_write` for descriptors that
:func:`make_nonblocking` prepared, :func:`tp_read` and :func:`tp_write` for any.

The names of :mod:`os` not mentioned here are available in this module too.

Greenlets survive a fork: in the child they go on where they were, unlike native threads.
"""

from __future__ import annotations

import errno
import fcntl
import os as _os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from signal import SIGCHLD
from typing import Any, TypeVar

from gevent._config import config
from gevent._core import restarting
from gevent._hub_local import get_hub_if_exists
from gevent._module_getattr import names_of
from gevent._polling import poll_until
from gevent.event import AsyncResult
from gevent.hub import get_hub, getcurrent, reinit, sleep
from gevent.signal import _on_child_hook

__implements__: list[str] = [
    "close",
    "fork",
    "forkpty",
    "posix_spawn",
    "posix_spawnp",
    "waitid",
    "waitpid",
]
if config.disable_watch_children:
    # The environment variable GEVENT_NOWAITPID.
    __implements__ = ["close", "fork", "forkpty"]

__extensions__: list[str] = [
    "fork_and_watch",
    "fork_gevent",
    "forkpty_and_watch",
    "forkpty_gevent",
    "make_nonblocking",
    "nb_read",
    "nb_write",
    "tp_read",
    "tp_write",
]

__all__ = __implements__ + __extensions__

_read = _os.read
_write = _os.write
_close = _os.close
_fork = _os.fork
_forkpty = _os.forkpty
_posix_spawn = _os.posix_spawn
_posix_spawnp = _os.posix_spawnp
_waitpid = _os.waitpid
_waitid = _os.waitid

_READ, _WRITE = 1, 2
_AGAIN = (errno.EAGAIN, errno.EINTR)
#: The errors after which reading and writing are tried again.
ignored_errors: list[int] = list(_AGAIN)

_T = TypeVar("_T")
_Buffer = bytes | bytearray | memoryview


__getattr__: Callable[[str], Any] = names_of(_os, __name__)


def make_nonblocking(fd: int) -> bool:
    """Put *fd* into non-blocking mode; return true if it was not in it before."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    if flags & _os.O_NONBLOCK:
        return False
    fcntl.fcntl(fd, fcntl.F_SETFL, flags | _os.O_NONBLOCK)
    return True


def nb_read(fd: int, n: int) -> bytes:
    """Read up to *n* bytes from *fd*, which must be in non-blocking mode.

    Blocks the calling greenlet until there is something to read.

    :return: At least one byte, or none at the end of the file.
    """
    return _retry(_READ, fd, lambda: _read(fd, n))


def nb_write(fd: int, buf: _Buffer) -> int:
    """Write some of *buf* to *fd*, which must be in non-blocking mode.

    Blocks the calling greenlet until something can be written.

    :return: The number of bytes written.
    """
    return _retry(_WRITE, fd, lambda: _write(fd, buf))


def _retry(event: int, fd: int, operation: Callable[[], _T]) -> _T:
    hub = watcher = None
    try:
        while True:
            try:
                return operation()
            except OSError as error:
                if error.errno not in _AGAIN:
                    raise
            if hub is None:
                hub = get_hub()
                watcher = hub.loop.io(fd, event)
            hub.wait(watcher)  # type: ignore[arg-type]
    finally:
        if watcher is not None:
            watcher.close()


def tp_read(fd: int, n: int) -> bytes:
    """Read up to *n* bytes from *fd* in a thread of the hub's pool, as :func:`os.read` does."""
    return get_hub().threadpool.apply(_read, (fd, n))


def tp_write(fd: int, buf: _Buffer) -> int:
    """Write *buf* to *fd* in a thread of the hub's pool, as :func:`os.write` does."""
    return get_hub().threadpool.apply(_write, (fd, buf))


def close(fd: int) -> None:
    """Close *fd* as :func:`os.close` does, and wake the greenlets that wait for it."""
    hub = get_hub_if_exists()
    if hub is not None and isinstance(fd, int) and fd >= 0 and not _is_regular_file(fd):
        hub.loop.closing_fd(fd)
    _close(fd)


def _is_regular_file(fd: int) -> bool:
    try:
        return stat.S_ISREG(_os.fstat(fd).st_mode)
    except OSError:
        return True


class _Child:
    """A child process that a loop watches, or that has ended and was not asked for yet.

    The loop is that of the thread that started the child. That thread may end or be blocked, so
    greenlets of other threads watch the child with their own loops while they wait. The first
    of them to notice the end collects the status and notifies the others.
    """

    __slots__ = (
        "callback",
        "ended_at",
        "finisher",
        "is_over",
        "pid",
        "ref",
        "status",
        "waiting",
        "watchers",
    )

    def __init__(self, pid: int, callback: Callable[[Any], Any] | None, loop: Any, ref: bool):
        self.pid = pid
        self.callback = callback
        self.ref = ref
        #: The number of greenlets of the first watcher's thread that wait for it.
        self.waiting = 0
        #: The result that gets the status which :func:`waitpid` returns.
        self.status = AsyncResult()
        self.ended_at: float | None = None
        #: The hub of the thread that noticed the end first, and alone notifies of it.
        self.finisher: Any = None
        #: True if everybody has been notified of the end.
        self.is_over = False
        #: The watchers of the child. The first one stays until its end.
        self.watchers: list[Any] = []
        self._watch(loop, ref)

    def _watch(self, loop: Any, ref: bool) -> Any:
        watcher = loop.child(self.pid, ref=ref)
        self.watchers.append(watcher)
        watcher.start(restarting(self.finish_as_watched), watcher)
        return watcher

    def finish_as_watched(self, watcher: Any) -> None:
        """Notify of the end that *watcher* noticed."""
        self.finish(watcher.rstatus)

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Have the calling thread's loop watch for the end, which also keeps that loop running."""
        if self.ended_at is not None:
            yield
            return
        loop = get_hub().loop
        if self.watchers[0].loop is not loop:
            watcher = self._watch(loop, ref=True)
            try:
                yield
            finally:
                watcher.close()
                if watcher in self.watchers:
                    self.watchers.remove(watcher)
            return
        self._hold(1)
        try:
            yield
        finally:
            self._hold(-1)

    def _hold(self, by: int) -> None:
        self.waiting += by
        if self.ended_at is None:
            self.watchers[0].ref = self.ref or self.waiting > 0

    def is_foreign(self) -> bool:
        """Return true if it may have ended without the calling thread's loop having noticed."""
        return self.ended_at is None and self.watchers[0].loop is not get_hub().loop

    def probe(self) -> None:
        """Notice the end of a child that another thread started, if it has ended."""
        if self.is_foreign():
            with suppress(ChildProcessError):
                pid, status = _waitpid(self.pid, _os.WNOHANG)
                if pid:
                    restarting(self.finish)(status)

    def finish(self, status: int) -> None:
        """Notify all waiters and callbacks that the child has ended, with its wait status.

        It is called again when the error of a signal cut it short, so each step may be done twice.
        """
        global _next_end

        hub = get_hub()
        if self.is_over or self.finisher not in (None, hub):
            return
        self.finisher = hub
        first = self.watchers[0]
        first.rpid, first.rstatus = self.pid, status
        if self.ended_at is None:
            self.ended_at = time.monotonic()
        self.status.set(status)
        _next_end.set(self.pid)
        _next_end = AsyncResult()
        for watcher in self.watchers:
            _close_watcher(watcher)
        if self.callback is not None:
            self.callback(first)
        self.is_over = True
        _on_child_hook()
        _reap_children()

    def forget(self) -> None:
        """Stop watching a child whose status was collected elsewhere."""
        for watcher in self.watchers:
            _close_watcher(watcher)

    def is_lost(self) -> bool:
        """Return true if its status was collected elsewhere: by :func:`os.wait`, or in C."""
        if self.ended_at is not None or any(watcher.rpid for watcher in self.watchers):
            return False
        try:
            _waitid(_os.P_PID, self.pid, _os.WEXITED | _os.WNOHANG | _os.WNOWAIT)
        except ChildProcessError:
            return True
        return False


def _close_watcher(watcher: Any) -> None:
    loop = watcher.loop
    if loop is get_hub().loop:
        watcher.close()
    else:
        # That loop may have ended with its thread.
        with suppress(ValueError):
            loop.run_callback_threadsafe(watcher.close)


_children: dict[int, _Child] = {}
# The child of a fork does not have the parent's children.
_os.register_at_fork(after_in_child=_children.clear)
#: The result that gets the process number of the next child that ends.
_next_end = AsyncResult()


def _once(callback: Callable[[Any], Any] | None) -> Callable[[Any], Any]:
    """Return a callback for :func:`_watch_child` that calls a function of the program's once."""
    calls = [] if callback is None else [callback]

    def call(watcher: Any) -> None:
        if calls:
            calls.pop()(watcher)

    return call


def _watch_child(
    pid: int, callback: Callable[[Any], Any] | None = None, loop: Any = None, ref: bool = False
) -> _Child:
    """Have the loop watch for the end of the child *pid*, for :func:`waitpid` and *callback*.

    The callback may be called again if the error of a signal cut it short; see :func:`_once`.
    """
    child = _children[pid] = _Child(pid, callback, loop or get_hub().loop, ref)
    return child


def _reap_children(timeout: float = 60) -> None:
    """Forget the children that ended more than *timeout* seconds ago."""
    limit = time.monotonic() - timeout
    for pid in [
        pid
        for pid, child in _children.items()
        if child.ended_at is not None and child.ended_at <= limit
    ]:
        del _children[pid]


def fork_gevent() -> int:
    """Fork as :func:`os.fork` does, and have the child's hub start afresh.

    The parent does not watch the child: :func:`waitpid` works, but no ``SIGCHLD`` handler runs.
    """
    pid = _fork()
    if not pid:
        reinit()
    return pid


def forkpty_gevent() -> tuple[int, int]:
    """Fork as :func:`os.forkpty` does; see :func:`fork_gevent`.

    :return: The process identifier, and the descriptor of the terminal, which is blocking.
    """
    pid, fd = _forkpty()
    if not pid:
        reinit()
    return pid, fd


def fork_and_watch(
    callback: Callable[[Any], Any] | None = None,
    loop: Any = None,
    ref: bool = False,
    fork: Callable[[], int] = fork_gevent,
) -> int:
    """Fork, and have the parent's loop watch the child.

    So :func:`waitpid` for it blocks only the calling greenlet, and ``SIGCHLD`` handlers run.

    :param callback: Called in the hub, with the child watcher, when the child has ended.
    :param loop: The loop to use; by default that of the calling thread.
    :param ref: True if the watched child keeps the loop running.
    :param fork: The function that forks.
    """
    _prepare_to_watch(loop)
    pid = fork()
    if pid:
        _watch_child(pid, _once(callback), loop, ref)
    return pid


def forkpty_and_watch(
    callback: Callable[[Any], Any] | None = None,
    loop: Any = None,
    ref: bool = False,
    forkpty: Callable[[], tuple[int, int]] = forkpty_gevent,
) -> tuple[int, int]:
    """Do as :func:`fork_and_watch` does, with :func:`forkpty_gevent`."""
    _prepare_to_watch(loop)
    pid, fd = forkpty()
    if pid:
        _watch_child(pid, _once(callback), loop, ref)
    return pid, fd


def _prepare_to_watch(loop: Any) -> None:
    # A watch that relies on the signal must not miss a child that ends immediately.
    (loop or get_hub().loop).install_sigchld()


def posix_spawn(*args: Any, **kwargs: Any) -> int:
    """Start a program as :func:`os.posix_spawn` does, and have the loop watch it."""
    _prepare_to_watch(None)
    pid = _posix_spawn(*args, **kwargs)
    _watch_child(pid)
    return pid


def posix_spawnp(*args: Any, **kwargs: Any) -> int:
    """Start a program as :func:`os.posix_spawnp` does, and have the loop watch it."""
    _prepare_to_watch(None)
    pid = _posix_spawnp(*args, **kwargs)
    _watch_child(pid)
    return pid


def waitpid(pid: int, options: int) -> tuple[int, int]:
    """Wait for a child as :func:`os.waitpid` does, blocking only the calling greenlet.

    That holds for the child *pid*, and for -1, any of the children that are watched. Waiting for
    a process group, or with ``WUNTRACED`` or ``WCONTINUED``, blocks the thread.

    :param options: ``WNOHANG`` to return ``(0, 0)`` without waiting, after the other greenlets had
        their turn, where no child has ended yet.
    :return: The process identifier and the status.
    :raises ChildProcessError: if there is no such child.
    """
    if options not in (0, _os.WNOHANG) or pid == 0 or pid < -1:
        return _waitpid(pid, options)
    if pid == -1:
        return _wait_for_any(options)

    child = _watched(pid)
    if child is None:
        # gevent did not start this child. If it has ended already, or is no child of this process,
        # the call returns or raises here.
        result = _waitpid(pid, _os.WNOHANG)
        if result[0] or options:
            return result
        child = _watch_child(pid)
    if child.ended_at is None and options:
        _yield()
        child.probe()
        if child.ended_at is None:
            return 0, 0
    return _take(pid, child)


def _watched(pid: int) -> _Child | None:
    """Return the child *pid*, if its status was or will be collected here."""
    child = _children.get(pid)
    if child is not None and child.is_lost():
        _children.pop(pid).forget()
        return None
    return child


def _wait_for_any(options: int) -> tuple[int, int]:
    while True:
        for pid, child in _children.items():
            if child.ended_at is not None:
                return _take(pid, child)
        for pid in [pid for pid, child in _children.items() if child.is_lost()]:
            _children.pop(pid).forget()
        if not _children:
            return _waitpid(-1, options)
        if options:
            _yield()
            for child in list(_children.values()):
                child.probe()
            ended = [pid for pid, child in _children.items() if child.ended_at is not None]
            return waitpid(ended[0], options) if ended else (0, 0)
        _wait(list(_children.values()), _next_end)


def _wait(children: list[_Child], result: AsyncResult) -> Any:
    with ExitStack() as stack:
        for child in children:
            stack.enter_context(child.awaited())
        return result.get()


def _take(pid: int, child: _Child) -> tuple[int, int]:
    status = _wait([child], child.status)
    if _children.get(pid) is not child:
        # Another greenlet waited for the child too, and has collected its status first.
        raise ChildProcessError(errno.ECHILD, _os.strerror(errno.ECHILD))
    del _children[pid]
    return pid, status


#: Some builds of CPython do not have the name.
_P_PIDFD: int = getattr(_os, "P_PIDFD", 3)


def waitid(idtype: int, id: int, options: int, /) -> _os.waitid_result | None:
    """Wait for a child as :func:`os.waitid` does, blocking only the calling greenlet.

    That holds for one child (``P_PID``, ``P_PIDFD``). Waiting for a process group or for any child
    blocks the thread. The status of a child that :func:`fork` or :mod:`gevent.subprocess` started
    is collected as it ends, so ``WNOWAIT`` leaves it to :func:`waitpid`, but not to other programs.
    A descriptor no longer tells which child that was, so it is asked for by ``P_PID`` then.

    :param options: As for :func:`os.waitid`.
    :return: What happened to the child, or ``None`` if nothing has and *options* has ``WNOHANG``.
    :raises ChildProcessError: if there is no such child.
    """
    is_for_one = idtype in (_os.P_PID, _P_PIDFD)
    if is_for_one and options & ~(_os.WNOHANG | _os.WNOWAIT) == _os.WEXITED:
        child = _watched(id if idtype == _os.P_PID else _pid_of(id))
        if child is not None:
            return _waitid_watched(child, options)
    if not is_for_one or options & _os.WNOHANG:
        return _waitid(idtype, id, options)
    found: _os.waitid_result | None = None

    def attempt() -> bool:
        nonlocal found
        found = _waitid(idtype, id, options | _os.WNOHANG)
        return found is not None

    # No loop watches the child.
    poll_until(attempt, None)
    return found


def _pid_of(fd: int) -> int:
    """Return the process that the descriptor *fd* stands for, or -1 if it is no such descriptor."""
    with suppress(OSError), open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as lines:
        for line in lines:
            if line.startswith("Pid:"):
                return int(line.removeprefix("Pid:"))
    return -1


def _waitid_watched(child: _Child, options: int) -> _os.waitid_result | None:
    if child.ended_at is None and options & _os.WNOHANG:
        _yield()
        child.probe()
        if child.ended_at is None:
            return None
    if options & _os.WNOWAIT:
        status = _wait([child], child.status)
    else:
        _, status = _take(child.pid, child)
    if _os.WIFEXITED(status):
        code, number = _os.CLD_EXITED, _os.WEXITSTATUS(status)
    else:
        code = _os.CLD_DUMPED if _os.WCOREDUMP(status) else _os.CLD_KILLED
        number = _os.WTERMSIG(status)
    return _os.waitid_result((child.pid, _os.getuid(), SIGCHLD, number, code))


def _yield() -> None:
    if getcurrent() is not get_hub():
        sleep()


if config.disable_watch_children:
    fork, forkpty = fork_gevent, forkpty_gevent
else:

    def fork(*args: Any, **kwargs: Any) -> int:
        """Fork a child process that :func:`waitpid` waits for: :func:`fork_and_watch`.

        Where the environment variable ``GEVENT_NOWAITPID`` is set, :func:`fork_gevent`.
        """
        return fork_and_watch(*args, **kwargs)

    def forkpty(*args: Any, **kwargs: Any) -> tuple[int, int]:
        """Fork a child process with a terminal: :func:`forkpty_and_watch`.

        Where the environment variable ``GEVENT_NOWAITPID`` is set, :func:`forkpty_gevent`.
        """
        return forkpty_and_watch(*args, **kwargs)
