"""The reports that the hub prints when something it runs fails."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from pprint import saferepr
from types import TracebackType
from typing import Any

from gevent._core import Greenlet

__all__ = ["gmctime", "print_failure"]


def gmctime() -> str:
    """Return the present time as ISO 8601 in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _formatter(format_context: Callable[[Any], str], context: Any) -> Callable[[Any], str]:
    describes_itself = (
        isinstance(context, Greenlet) and type(context).__str__ is not Greenlet.__str__
    )
    return str if describes_itself and format_context is saferepr else format_context


def print_failure(
    stream: Any,
    format_context: Callable[[Any], str],
    context: Any,
    kind: type[BaseException] | None,
    value: Any,
    tb: TracebackType | None,
) -> None:
    """Print a traceback to *stream*, then the time and the object that failed.

    *context* is that object; *format_context* turns it into a string, and ``None`` is left out.
    A subclass of Greenlet that has a ``__str__`` is shown by it, unless the formatter is not the
    usual one.
    """
    if value is None:
        stream.write(f"{getattr(kind, '__name__', kind)}\n")
    else:
        if not isinstance(value, BaseException):
            value = kind(value)  # type: ignore[misc]
        traceback.print_exception(kind, value, tb, file=stream)
    if context is None:
        stream.write(f"{gmctime()}\n")
        return
    if not isinstance(context, str):
        try:
            context = _formatter(format_context, context)(context)
        except Exception:
            traceback.print_exc(file=stream)
            context = object.__repr__(context)
    stream.write(f"{gmctime()} {context} failed with {getattr(kind, '__name__', kind)}\n\n")
