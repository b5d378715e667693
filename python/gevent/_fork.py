"""Child processes in which none of the parent's greenlets runs.

After :func:`os.fork` the greenlets of the parent go on in the child, as gevent promises. Where a
child is to execute a program, or to be a process of :mod:`multiprocessing`, they must not: both
processes would write and send the same. There the child's thread gets a new hub, whose parent is
the greenlet that forked, and the greenlets that wait in the old hub never run.
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
