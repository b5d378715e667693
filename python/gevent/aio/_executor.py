"""Native threads for calls that would block the loop."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gevent.hub import get_hub
from gevent.monkey import unpatched
from gevent.monkey._state import is_module_patched

__all__ = ["make_executor"]


def make_executor() -> ThreadPoolExecutor:
    """Return an executor of native threads, also in a patched process.

    In a patched process the threads of an ordinary executor are greenlets, all of which a call that
    blocks in C would block.
    """
    if not is_module_patched("threading"):
        return ThreadPoolExecutor(thread_name_prefix="asyncio")
    with unpatched():
        from concurrent.futures.thread import ThreadPoolExecutor as Native

    class NativeExecutor(Native):
        def shutdown(self, wait: bool = True, **kwargs: Any) -> None:
            super().shutdown(wait=False, **kwargs)
            if wait:
                # The threads may be waiting for a greenlet of this one, so only this greenlet waits
                # for them.
                get_hub().threadpool.apply(super().shutdown)

    return NativeExecutor(thread_name_prefix="asyncio")
