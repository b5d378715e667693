"""Makes :mod:`asyncio` use :class:`gevent.aio.EventLoop` everywhere."""

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
def _policy_class() -> Any:
    # Reading the public name of the base class issues a warning since CPython 3.14.
    base = vars(asyncio.unix_events)["_UnixDefaultEventLoopPolicy"]
    doc = "asyncio's default policy, with :class:`gevent.aio.EventLoop` as the class of loops."
    names = {"_loop_factory": EventLoop, "__doc__": doc, "__module__": "gevent.aio"}
    return type("EventLoopPolicy", (base,), names)


def policy_class() -> Any:
    """Return ``gevent.aio.EventLoopPolicy``.

    :raises AttributeError: asyncio has no policies any more, as from Python 3.16 on.
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

    This affects the whole process, wherever a program does not choose a loop itself. It is best
    called once, at the start.
    """
    events: Any = asyncio.events
    if _PYTHON >= (3, 16):
        events.EventLoop = vars(asyncio)["EventLoop"] = EventLoop
    elif _PYTHON >= (3, 14):
        # The public function issues a DeprecationWarning.
        events._set_event_loop_policy(_policy_class()())
    else:
        events.set_event_loop_policy(_policy_class()())
