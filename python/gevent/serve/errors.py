"""The error that ends a start."""

from __future__ import annotations


class ServeError(Exception):
    """Why serving cannot start, in one line."""


def reason(error: OSError) -> str:
    """Return what the system says about *error*, without its number and file name."""
    return error.strerror or str(error)


def in_a_line(error: BaseException) -> str:
    """Return the type and the text of *error* in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
