"""The signals of the supervisor, which are collected while it works and read when it waits."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress


def _do_nothing(*_: object) -> None:
    pass


class Signals:
    """Catches the signals *numbers*, and has a descriptor that is readable once one has come."""

    def __init__(self, numbers: Sequence[signal.Signals]) -> None:
        self.numbers = numbers
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)
        signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        for number in numbers:
            # The wakeup descriptor is written to only for signals with a handler.
            signal.signal(number, _do_nothing)

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._read.fileno()

    def take(self) -> list[int]:
        """Return the signals that came since the last call, in order."""
        with suppress(BlockingIOError):
            return list(self._read.recv(4096))
        return []

    @contextmanager
    def blocked(self) -> Iterator[None]:
        """Block all signals within the block.

        A signal that reached a forked child before :meth:`forget` would be written to the
        descriptor that it shares with its parent, and the parent would take it for its own.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def ignore(self) -> None:
        """Ignore the signals from now on.

        The process is about to end: the interpreter removes handlers before it exits, and a signal
        would then have its default action.
        """
        for number in self.numbers:
            signal.signal(number, signal.SIG_IGN)

    def forget(self, harmless: Sequence[signal.Signals]) -> None:
        """Stop catching signals, in a forked child that has them blocked.

        :param harmless: Signals that are to have no effect on the child. They get a handler that
            does nothing and are not ignored, as programs that the child starts would inherit that.
        """
        signal.set_wakeup_fd(-1)
        for number in self.numbers:
            signal.signal(number, _do_nothing if number in harmless else signal.SIG_DFL)
        self._read.close()
        self._write.close()
