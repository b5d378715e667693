"""The error that ends a start."""

from __future__ import annotations


class ServeError(Exception):
    """Serving cannot start. The message is one line that says why."""


def reason(error: OSError) -> str:
    """Return the text of the system for *error*, without its number and file name."""
    return error.strerror or str(error)


def in_a_line(error: BaseException) -> str:
    """Return the type and the text of *error* in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
