"""Limits on how long a block of code, or a call, may take."""

from __future__ import annotations

from gevent._core import Timeout, with_timeout

__all__ = ["Timeout", "with_timeout"]
