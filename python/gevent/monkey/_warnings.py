"""The warning about patching that may not have the intended effect, and its delivery."""

from __future__ import annotations

import sys
import warnings

__all__ = ["MonkeyPatchWarning", "process_warnings", "queue_warning"]


class MonkeyPatchWarning(RuntimeWarning):
    """Patching happened too late, twice, or in a combination that does not work."""


def queue_warning(message: str, pending: list[str] | None) -> None:
    """Add *message* to *pending*, or issue it immediately if *pending* is ``None``."""
    if pending is None:
        process_warnings([message])
    else:
        pending.append(message)


def process_warnings(pending: list[str]) -> None:
    """Issue each message as a :class:`MonkeyPatchWarning` of the line that asked for patching."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals["__name__"].startswith("gevent.monkey"):
        level, frame = level + 1, frame.f_back
    for message in pending:
        warnings.warn(message, MonkeyPatchWarning, stacklevel=level)
