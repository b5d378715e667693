"""asyncio beside greenlets, in one thread.

Coroutines and greenlets of a thread run in turn. A greenlet calls a coroutine with :func:`run`, and
a coroutine awaits a greenlet or :func:`to_greenlet`::

    from gevent import aio

    def handle(request):                            # in a greenlet
        return aio.run(client.get(request.url))     # an asyncio client

    async def answer(query):                        # in a coroutine
        return await aio.to_greenlet(database.execute, query)

There is one event loop for all greenlets of a thread, :func:`loop`, so that client sessions and
connection pools serve all of them. :func:`asyncio.run` in a greenlet runs a loop of its own there.
Either is an :class:`EventLoop`: the selector loop of :mod:`asyncio`, whose waits let greenlets run.

``docs/asyncio.md`` has more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gevent.aio._awaiting import to_greenlet
from gevent.aio._calls import run, spawn
from gevent.aio._iterate import iterate
from gevent.aio._loop import EventLoop, new_event_loop
from gevent.aio._policy import install
from gevent.aio._shared import loop

if TYPE_CHECKING:
    from asyncio import DefaultEventLoopPolicy as EventLoopPolicy

__all__ = [
    "EventLoop",
    "EventLoopPolicy",
    "install",
    "iterate",
    "loop",
    "new_event_loop",
    "run",
    "spawn",
    "to_greenlet",
]


def __getattr__(name: str) -> Any:
    if name == "EventLoopPolicy":
        from gevent.aio._policy import policy_class

        return policy_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
