"""The name that :mod:`gevent.resolver.thread` had before."""

from __future__ import annotations

from gevent.resolver.thread import Resolver

__all__ = ["Resolver"]
