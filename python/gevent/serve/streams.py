"""The standard streams, which a process may be started without."""

from __future__ import annotations

import os
import sys

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def open_standard_streams() -> None:
    """Open the null device in the place of each standard stream that is closed.

    The next socket would get its descriptor otherwise, and be sent what is meant for the stream: a
    client would receive lines of the log.
    """
    for descriptor, (name, mode) in enumerate(_STREAMS):
        null = None
        try:
            os.fstat(descriptor)
        except OSError:
            # It gets the lowest free number, which is this one, as those below are in use.
            null = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(null, True)
        if getattr(sys, name) is None:
            # A library that was loaded meanwhile may have the number, and keeps it.
            null = os.open(os.devnull, os.O_RDWR) if null is None else null
            setattr(sys, name, os.fdopen(null, mode, closefd=False))
