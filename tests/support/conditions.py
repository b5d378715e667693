"""Waiting for what a test expects, however long a busy machine takes for it."""

import time
from collections.abc import Callable

import gevent


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Let other greenlets run until a condition holds; fail if it does not within *seconds*.

    A sleep of some milliseconds is no such wait: after a stall its deadline has passed, and what
    has passed is served before the descriptors and signals that the same poll finds.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        gevent.sleep(0.001)


def settle() -> None:
    """Let the loop serve all that is in the kernel by now: what this process has sent to itself.

    For tests in which nothing shows that it has been served. It takes turns of the loop, no time.
    """
    for _ in range(20):
        gevent.sleep(0.0005)
