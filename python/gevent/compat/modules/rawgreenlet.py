"""Waiting for greenlets of any kind by polling them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gevent._core import sleep
from gevent.compat import warn
from gevent.exceptions import GreenletExit
from gevent.greenlet import killall as _killall

__all__ = ["join", "joinall", "kill", "killall"]

warn("gevent.rawgreenlet", "gevent.Greenlet, gevent.joinall() and gevent.killall()")


def join(greenlet: Any, polling_period: float = 0.2) -> None:
    """Wait until *greenlet* is over, polling it every *polling_period* seconds."""
    delay = 0.002
    while not greenlet.dead:
        sleep(delay)
        delay = min(polling_period, delay * 1.05)


def joinall(greenlets: Iterable[Any], polling_period: float = 0.2) -> None:
    """Wait until all *greenlets* are over, polling them every *polling_period* seconds."""
    for greenlet in list(greenlets):
        join(greenlet, polling_period)


def kill(
    greenlet: Any,
    exception: Any = GreenletExit,
    block: bool = True,
    polling_period: float = 0.2,
) -> None:
    """Raise *exception* in *greenlet*; with *block*, wait until it is over."""
    killall([greenlet], exception, block, polling_period)


def killall(
    greenlets: Iterable[Any],
    exception: Any = GreenletExit,
    block: bool = True,
    polling_period: float = 0.2,
) -> None:
    """Raise *exception* in all *greenlets*; with *block*, wait until they are over."""
    greenlets = list(greenlets)
    _killall(greenlets, exception, block=False)
    if block:
        joinall(greenlets, polling_period)
