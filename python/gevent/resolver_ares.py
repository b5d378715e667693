"""The name that :mod:`gevent.resolver.ares` had before."""

from __future__ import annotations

import warnings

from gevent.resolver.ares import Resolver

__all__ = ["Resolver"]

warnings.warn(
    "gevent.resolver_ares is deprecated: use gevent.resolver.ares",
    DeprecationWarning,
    stacklevel=2,
)
