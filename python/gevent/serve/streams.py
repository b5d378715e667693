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
        try:
            os.fstat(descriptor)
        except OSError:
            # It gets the lowest free number, which is this one, as those below are in use.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            if getattr(sys, name) is None:
                setattr(sys, name, os.fdopen(descriptor, mode, closefd=False))
