"""A pytest plugin: the tests of asyncio's libraries run with the loop that ASYNC_SUITES_LOOP names.

`stock` is asyncio's own selector loop, `own` that of gevent.aio.
"""

import asyncio
import os
import sys

__all__ = ["pytest_configure"]

# At the end, as some of these packages are in the environment too, in other versions.
sys.path += os.environ["ASYNC_SUITES_NEEDS"].split(os.pathsep)


def _use_own_loop() -> None:
    from gevent import aio

    if sys.version_info >= (3, 16):
        aio.install()
        return
    # Tests set and reset policies, so the class of the default one has to know the loop.
    policy = vars(asyncio.unix_events)["_UnixDefaultEventLoopPolicy"]
    policy._loop_factory = aio.EventLoop
    for module in asyncio, asyncio.unix_events:
        for name in "SelectorEventLoop", "_UnixSelectorEventLoop", "EventLoop":
            if name in vars(module):
                setattr(module, name, aio.EventLoop)


def _tell_uvloop() -> None:
    """Have uvloop's tests expect of the chosen loop what they expect of asyncio's."""
    from uvloop import _testbase

    _testbase.AIOTestCase.is_asyncio_loop = lambda self: True


def pytest_configure() -> None:
    """Choose the loop before any test is imported."""
    if os.environ["ASYNC_SUITES_LOOP"] == "own":
        _use_own_loop()
    if os.environ["ASYNC_SUITES_NAME"] == "uvloop":
        _tell_uvloop()
