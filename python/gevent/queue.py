"""Queues between greenlets, with the interface of the standard library's :mod:`queue`.

Beside what the standard library's queues do, these can be iterated over, until an item that is
``StopIteration`` itself; :meth:`~SimpleQueue.peek` returns the next item without taking it;
:meth:`Queue.join` takes a timeout, and *maxsize* may be changed at any time. ``Queue(0)`` is
without limit, as ``Queue(None)``, but gives a :class:`DeprecationWarning`, for it once meant what
:class:`Channel` is.

A greenlet that waits in ``put`` or ``get`` and is killed, or runs out of time, leaves the queue as
it was: no item is lost, none is put.
"""

from __future__ import annotations

import queue as _stdlib
from collections.abc import Iterable
from queue import Empty, Full
from typing import Any, TypeVar

from gevent._config import config
from gevent._core import Channel, LifoQueue, PriorityQueue, Queue, SimpleQueue

__implements__: list[str] = ["Queue", "PriorityQueue", "LifoQueue", "SimpleQueue"]
__extensions__: list[str] = ["JoinableQueue", "Channel"]
__imports__: list[str] = ["Empty", "Full"]

if hasattr(_stdlib, "ShutDown"):  # since CPython 3.13
    ShutDown = _stdlib.ShutDown
    __imports__.append("ShutDown")
else:

    class ShutDown(Exception):  # type: ignore[no-redef]
        """Raised by ``put`` and ``get`` of a queue that was shut."""

    __extensions__.append("ShutDown")

__all__ = [
    "Channel",
    "Empty",
    "Full",
    "JoinableQueue",
    "LifoQueue",
    "PriorityQueue",
    "Queue",
    "ShutDown",
    "SimpleQueue",
]

_T = TypeVar("_T")

JoinableQueue = Queue


def _gevent_did_monkey_patch(target_module: Any, *args: Any, **kwargs: Any) -> None:
    if config.compat:
        # A standard queue of size 0 has no limit, also where ours is a channel.
        from gevent.compat.standard_queue import restore

        restore(target_module)


class UnboundQueue(Queue[_T]):
    """A :class:`Queue` without a limit, to which ``put`` never waits.

    *items* are the first items; *maxsize* must be ``None``, or :class:`ValueError` is raised.
    """

    def __init__(self, maxsize: None = None, items: Iterable[_T] = ()) -> None:
        if maxsize is not None:
            raise ValueError("UnboundQueue has no maxsize")
        super().__init__(maxsize, items)
