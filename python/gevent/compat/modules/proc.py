"""Greenlets as they were before gevent 0.10 had :class:`gevent.Greenlet`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gevent.compat import warn
from gevent.compat.links import (
    GreenletSet,
    LinkedCompleted,
    LinkedExited,
    LinkedFailed,
    LinkedKilled,
)
from gevent.exceptions import GreenletExit as ProcExit
from gevent.greenlet import Greenlet, joinall, killall
from gevent.util import wrap_errors

__all__ = [
    "LinkedCompleted",
    "LinkedExited",
    "LinkedFailed",
    "LinkedKilled",
    "Proc",
    "ProcExit",
    "ProcSet",
    "RunningProcSet",
    "killall",
    "spawn",
    "spawn_link",
    "spawn_link_exception",
    "spawn_link_value",
    "waitall",
    "wrap_errors",
]

warn("gevent.proc", "gevent.Greenlet, gevent.pool.Group and gevent.joinall()")


class Proc(Greenlet):
    """A greenlet whose result is asked for with :meth:`wait`."""

    def wait(self, timeout: float | None = None) -> Any:
        """Return what the function returned, or raise what it raised.

        :raises gevent.Timeout: It was not over within *timeout* seconds.
        """
        return self.get(timeout=timeout)


class ProcSet(GreenletSet):
    """A collection of greenlets that lets go of those that are over."""

    greenlet_class: type[Greenlet] = Proc


RunningProcSet = ProcSet

spawn: Callable[..., Proc] = Proc.spawn
spawn_link: Callable[..., Greenlet] = Proc.spawn_link
spawn_link_value: Callable[..., Greenlet] = Proc.spawn_link_value
spawn_link_exception: Callable[..., Greenlet] = Proc.spawn_link_exception


def waitall(procs: Iterable[Any], timeout: float | None = None) -> list[Any]:
    """Return the results of all *procs*, in their order, or raise the first error one ends with.

    :param timeout: The most seconds to wait.
    :raises gevent.Timeout: They were not over by then.
    """
    procs = list(procs)
    joinall(procs, timeout, raise_error=True)
    return [proc.get(timeout=0) for proc in procs]
