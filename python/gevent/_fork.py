"""Child processes in which none of the parent's greenlets runs.

After :func:`os.fork` the greenlets of the parent go on in the child, as gevent promises. Where a
child is to be a process of its own at once, because a program is executed or a process of
:mod:`multiprocessing` begins, they must not: what they write and send would come twice. There
the child's thread gets a new hub, whose parent is the greenlet that forked, and what waits in the
old one stays there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gevent._core import leave_hub as start_alone
from gevent._core import leave_hub_at_fork

__all__ = ["alone_in_child", "start_alone"]


@contextmanager
def alone_in_child() -> Iterator[None]:
    """Have a child that the calling thread forks within start alone."""
    leave_hub_at_fork(True)
    try:
        yield
    finally:
        leave_hub_at_fork(False)
