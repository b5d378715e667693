"""Waiting for what no event tells of: it is tried repeatedly, and other greenlets run between."""

from __future__ import annotations

import time
from collections.abc import Callable

from gevent._core import sleep

__all__ = ["poll_until"]

#: The least and the most seconds between two attempts.
_SHORTEST, _LONGEST = 0.0005, 0.02
#: The pause grows with the time waited so far, of which it is this part.
_PART = 0.1


def poll_until(attempt: Callable[[], bool], timeout: float | None) -> bool:
    """Call *attempt* until it returns true, at most for *timeout* seconds; ``None``: for ever.

    :returns: True if it has, false if the time is over.
    """
    began = now = time.monotonic()
    deadline = None if timeout is None else began + timeout
    while not attempt():
        now = time.monotonic()
        if deadline is not None and now >= deadline:
            return False
        pause = min(max((now - began) * _PART, _SHORTEST), _LONGEST)
        sleep(pause if deadline is None else min(pause, deadline - now))
    return True
