"""The name that :mod:`gevent.resolver.cares` had before."""

from __future__ import annotations

from gevent.resolver.cares import channel

__all__ = ["channel"]
