"""A pytest plugin: the tests of asyncio's libraries run with the loop that ASYNC_SUITES_LOOP names.

`stock` is asyncio's own selector loop, `own` that of gevent.aio.
"""

import asyncio
import os
import sys

__all__ = ["pytest_configure"]


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


def _replace_uvloop() -> None:
    """Have the tests of uvloop, those for itself and those for asyncio, use the chosen loop."""
    from uvloop import _testbase

    if sys.version_info >= (3, 14):
        policy = vars(asyncio.unix_events)["_UnixDefaultEventLoopPolicy"]
    else:
        policy = asyncio.DefaultEventLoopPolicy

    class Test(_testbase.BaseTestCase):
        def new_loop(self):
            return asyncio.new_event_loop()

        def new_policy(self):
            return policy()

        def is_asyncio_loop(self):
            return True

    for case in _testbase.UVTestCase, _testbase.AIOTestCase:
        case.implementation = "asyncio"
        for name in "new_loop", "new_policy", "is_asyncio_loop":
            setattr(case, name, vars(Test)[name])


def pytest_configure() -> None:
    """Choose the loop before any test is imported."""
    if os.environ["ASYNC_SUITES_LOOP"] == "own":
        _use_own_loop()
    if os.environ["ASYNC_SUITES_NAME"] == "uvloop":
        _replace_uvloop()
