"""Answers whether a signal may still wake a program in which everything waits."""

from __future__ import annotations

import signal

# Bound before anything can be patched: these are the handlers that CPython calls.
_getsignal = signal.getsignal
_valid_signals = tuple(signal.valid_signals())


def program_handles_signals() -> bool:
    """Return true if the program has set a handler of its own for any signal.

    The one that raises :exc:`KeyboardInterrupt` is Python's: every program has it.
    """
    handlers = map(_getsignal, _valid_signals)
    return any(
        callable(handler) and handler is not signal.default_int_handler for handler in handlers
    )
