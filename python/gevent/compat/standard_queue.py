"""Queues for a patched :mod:`queue` with the setting ``compat``: those of size 0 have no limit."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from gevent.queue import LifoQueue, PriorityQueue, Queue

__all__ = ["restore"]


def _without_channels(base: type[Any]) -> type[Any]:
    """Return a class like *base*, whose size 0 is none, as that of the standard library."""

    def __init__(self: Any, maxsize: Any = 0, *args: Any, **kwargs: Any) -> None:
        base.__init__(self, maxsize or None, *args, **kwargs)

    names = {"__init__": __init__, "__module__": "queue", "__doc__": base.__doc__}
    return type(base.__name__, (base,), names)


_CLASSES = {base.__name__: _without_channels(base) for base in (Queue, LifoQueue, PriorityQueue)}


def restore(module: ModuleType) -> None:
    """Have :mod:`queue`, in which our classes took the place of its own, mean what it means."""
    for name, queue in _CLASSES.items():
        if getattr(module, name) is queue.__base__:
            setattr(module, name, queue)
