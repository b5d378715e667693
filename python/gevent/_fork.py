"""Child processes in which none of the parent's greenlets runs.

After :func:`os.fork` the greenlets of the parent go on in the child, as gevent promises. Where a
child is to execute a program, or to be a process of :mod:`multiprocessing`, they must not: both
processes would write and send the same. There the child's thread gets a new hub, whose parent is
the greenlet that forked, and the greenlets that wait in the old hub never run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gevent._core import close_left_hub, leave_hub, leave_hub_at_fork
from gevent._hub_local import ThreadState

__all__ = ["alone_in_child", "call_when_alone", "start_alone"]


class _Forking(ThreadState):
    """Tells what the child of the calling thread's next fork is to be."""

    alone = False


_forking = _Forking()
_functions: list[Callable[[], object]] = []


@contextmanager
def alone_in_child() -> Iterator[None]:
    """Have a child that the calling thread forks within start alone."""
    leave_hub_at_fork(True)
    _forking.alone = True
    try:
        yield
    finally:
        _forking.alone = False
        leave_hub_at_fork(False)


def call_when_alone(function: Callable[[], object]) -> None:
    """Have *function* called in each child that starts alone.

    It may free what a greenlet of the parent holds: that greenlet never goes on there.
    """
    _functions.append(function)


def start_alone() -> None:
    """Start alone in a child that was forked."""
    leave_hub()
    _call_all()


def _call_all() -> None:
    close_left_hub()
    for function in _functions:
        function()


def _after_in_child() -> None:
    if _forking.alone:
        # Its own children are to have its greenlets.
        _forking.alone = False
        _call_all()


os.register_at_fork(after_in_child=_after_in_child)
