"""Reading and writing a descriptor in blocking mode without blocking the thread.

Other processes have the same pipes and sockets and expect them to block, so ``O_NONBLOCK``, which
all of them would share, is no way to do it.
"""

from __future__ import annotations

import errno
import os
from select import PIPE_BUF, POLLIN, POLLOUT
from select import poll as _native_poll
from typing import Any

from gevent._core import get_hub, getcurrent, wait_descriptor

__all__ = ["GRACE", "READ", "WRITE", "read_some", "wait", "write_some"]

READ, WRITE = 1, 2
#: The seconds for which a greenlet that is to end goes on with what others count on: a message
#: without any progress, a lock that another process does not give back.
GRACE = 5.0
_POLL_EVENTS = {READ: POLLIN, WRITE: POLLOUT}
#: The most bytes that one call moves: what a pipe takes unless its size was changed.
_MOST = 1 << 16
#: Has the call of :func:`os.preadv` or :func:`os.pwritev` fail where it would block.
_NOWAIT = getattr(os, "RWF_NOWAIT", None)
#: The errors of a kernel that cannot promise this for the descriptor.
_UNABLE = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ESPIPE)
#: As the current position.
_HERE = -1


def wait(fd: int, event: int) -> None:
    """Wait until *fd* is ready for *event*, :data:`READ` or :data:`WRITE`.

    In the hub, which cannot wait for others, that blocks the thread.
    """
    if getcurrent() is get_hub():
        _poll(fd, event, None)
    else:
        wait_descriptor(fd, event)


def _poll(fd: int, event: int, timeout: float | None) -> bool:
    poll = _native_poll()
    poll.register(fd, _POLL_EVENTS[event])
    return bool(poll.poll(timeout))


def read_some(fd: int, size: int) -> bytes:
    """Read up to *size* bytes that are there; none at the end of the file.

    :raises BlockingIOError: if nothing is there.
    """
    if _NOWAIT is not None:
        data = bytearray(min(size, _MOST))
        try:
            del data[os.preadv(fd, [data], _HERE, _NOWAIT) :]
        except OSError as error:
            if error.errno not in _UNABLE:
                raise
        else:
            return bytes(data)
    # Nobody else reads between the two calls: multiprocessing's locks see to that.
    if not _poll(fd, READ, 0):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return os.read(fd, size)


def write_some(fd: int, data: Any) -> int:
    """Write as much of the memoryview *data* as there is room for, and return how many bytes.

    :raises BlockingIOError: if there is none.
    """
    if _NOWAIT is not None:
        try:
            return os.pwritev(fd, [data[:_MOST]], _HERE, _NOWAIT)
        except OSError as error:
            if error.errno not in _UNABLE:
                raise
    # A pipe that is writable has room for this much.
    if not _poll(fd, WRITE, 0):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return os.write(fd, data[:PIPE_BUF])
