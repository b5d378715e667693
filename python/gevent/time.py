"""The standard library's :mod:`time`, with a :func:`sleep` that lets other greenlets run."""

from __future__ import annotations

import time as _time
from time import *  # noqa: F403

from gevent.hub import sleep  # type: ignore[assignment]

__all__ = ["sleep"]
__implements__ = __all__
__imports__: list[str] = [
    name for name in dir(_time) if name[0] != "_" and name not in __implements__
]
