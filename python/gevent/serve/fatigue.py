"""Deciding when a worker has done its share and is to be replaced."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

from gevent.serve.options import Options


class Fatigue:
    """Counts requests and measures memory, and asks once for a new worker when one is too much.

    :param options: The settings, which have the limits.
    :param ask: Called with the reason. The worker goes on serving until the new one is there.
    """

    def __init__(self, options: Options, ask: Callable[[str], None]) -> None:
        self._ask = ask
        self._asked = False
        self._requests = 0
        self._max_requests = options.max_requests
        if self._max_requests:
            self._max_requests += random.randint(0, options.max_requests_jitter)
        self._max_memory = options.max_memory << 20

    def count(self, application: Any) -> Any:
        """Return *application* wrapped to count its calls, or as it is if there is no limit."""
        if not self._max_requests:
            return application

        def counted(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
            self._requests += 1
            if self._requests >= self._max_requests:
                self._ask_once(f"has had {self._requests} requests")
            return application(environ, start_response)

        return counted

    def look_at_memory(self) -> None:
        """Ask for another worker when this process occupies too much memory."""
        if not self._max_memory or self._asked:
            return
        with open("/proc/self/statm", "rb") as file:
            occupied = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        if occupied > self._max_memory:
            self._ask_once(f"occupies {occupied >> 20} MiB")

    def _ask_once(self, why: str) -> None:
        if not self._asked:
            self._asked = True
            self._ask(why)
