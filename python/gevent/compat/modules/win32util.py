"""The texts of errors of the operating system, by their numbers."""

from __future__ import annotations

import os

from gevent.compat import warn

__all__ = ["formatError"]

warn("gevent.win32util", "os.strerror()")


def formatError(errorcode: int) -> str:
    """Return the text of an error of the operating system by its number."""
    return os.strerror(errorcode)
