"""The name that :mod:`gevent.resolver.thread` had before."""

from __future__ import annotations

import warnings

from gevent.resolver.thread import Resolver

__all__ = ["Resolver"]

warnings.warn(
    "gevent.resolver_thread is deprecated: use gevent.resolver.thread",
    DeprecationWarning,
    stacklevel=2,
)
