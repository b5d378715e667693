"""How :mod:`asyncio` comes to use :class:`gevent.aio.EventLoop` everywhere."""

from __future__ import annotations

import asyncio
import sys
import warnings
from functools import cache
from typing import Any

from gevent.aio._loop import EventLoop

__all__ = ["install", "policy_class"]

_PYTHON = sys.version_info[:2]


@cache
def _policy_class() -> type:
    # The name is private where the public one warns: CPython 3.14 and 3.15.
    base: Any = getattr(asyncio.events, "_DefaultEventLoopPolicy", None)
    if base is None:
        base = getattr(asyncio.unix_events, "_UnixDefaultEventLoopPolicy", None)

    class EventLoopPolicy(base):
        """asyncio's default policy, with :class:`gevent.aio.EventLoop` as the class of loops."""

        _loop_factory = EventLoop

    EventLoopPolicy.__module__ = "gevent.aio"
    EventLoopPolicy.__qualname__ = "EventLoopPolicy"
    return EventLoopPolicy


def policy_class() -> type:
    """Return ``gevent.aio.EventLoopPolicy``.

    :raises AttributeError: asyncio has no policies any more.
    """
    if _PYTHON >= (3, 16):
        raise AttributeError(
            "asyncio has no event loop policies since Python 3.16: "
            "pass loop_factory=gevent.aio.EventLoop to asyncio.run()"
        )
    if _PYTHON >= (3, 14):
        warnings.warn(
            "gevent.aio.EventLoopPolicy is deprecated, as asyncio's policies are, and gone in "
            "Python 3.16: pass loop_factory=gevent.aio.EventLoop to asyncio.run()",
            DeprecationWarning,
            stacklevel=3,
        )
    return _policy_class()


def install() -> None:
    """Have :func:`asyncio.run` and :func:`asyncio.new_event_loop` use :class:`EventLoop`.

    That holds for the whole process, where no loop is named: best called once, at the start.
    """
    if _PYTHON >= (3, 16):
        asyncio.events.EventLoop = asyncio.EventLoop = EventLoop
    elif _PYTHON >= (3, 14):
        # The public function warns.
        asyncio.events._set_event_loop_policy(_policy_class()())
    else:
        asyncio.set_event_loop_policy(_policy_class()())
