"""The log files: each line is written immediately, and files are opened anew on request."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from gevent.serve.converters import LEVELS
from gevent.serve.errors import ServeError, reason

STANDARD_OUTPUT = "-"


class LogFile:
    """A file, or the standard output or error, that takes the place of a log of `WSGIServer`.

    Each text is written by a system call of its own and not kept in a buffer, so it is in the
    file once the request was answered, survives a crash, and stays whole though several processes
    append to the file. A text that cannot be written is lost: a full disk ends no connection.

    :param path: The file's name, or ``-`` for the standard output, or None for the standard error.
    :param complain: Called once with a line when writing fails, and once when it works again.
    :raises ServeError: The file cannot be opened.
    """

    def __init__(self, path: str | None, complain: Callable[[str], object] | None = None) -> None:
        self.path = path
        self._complain = complain or (lambda line: None)
        self._lost = 0
        self._descriptor = self._open()

    def _open(self) -> int:
        if self.path is None:
            return 2
        if self.path == STANDARD_OUTPUT:
            return 1
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            # A named pipe that nobody reads from would be waited for, and no request be answered.
            flags |= os.O_NONBLOCK
            return os.open(self.path, flags, 0o666)
        except OSError as error:
            raise ServeError(f"cannot log to {self.path}: {reason(error)}") from error

    def write(self, text: str) -> int:
        """Append *text*; return its length."""
        left = text.encode("utf-8", "backslashreplace")
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError as error:
            self._lost += 1
            if self._lost == 1:
                name = "the standard output" if self.path == STANDARD_OUTPUT else self.path
                self._complain(f"cannot log to {name}: {reason(error)}; lines are lost")
        else:
            if self._lost:
                lost, self._lost = self._lost, 0
                self._complain(f"logging works again, {lost} lines were lost")
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Append each of *lines*."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Do nothing: texts are not buffered."""

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return true if it is a terminal."""
        return os.isatty(self._descriptor)

    def reopen(self) -> None:
        """Open the file of this name anew, after the old one was renamed.

        When that fails, lines go on being written to the old file.
        """
        if self.path in (None, STANDARD_OUTPUT):
            return
        try:
            new = self._open()
        except ServeError as error:
            self._complain(str(error))
            return
        # The descriptor keeps its number, which the application may have stored.
        os.dup2(new, self._descriptor, inheritable=False)
        os.close(new)


class Messages:
    """The log of the supervisor and its workers for the operator, a line for each event.

    :param path: The file, or None for the standard error.
    :param level: The least important level that is written, one of
        :data:`gevent.serve.converters.LEVELS`.
    :raises ServeError: The file cannot be opened.
    """

    def __init__(self, path: str | None = None, level: str = "info") -> None:
        self.file: LogFile = LogFile(path)
        self.level = level

    def say(self, text: str, level: str = "info") -> None:
        """Write a line, unless its level is too low."""
        if LEVELS.index(level) < LEVELS.index(self.level):
            return
        when = "" if self.file.path is None else f"{time.strftime('%Y-%m-%d %H:%M:%S')} "
        self.file.write(f"{when}gevent.serve: {text}\n")

    def debug(self, text: str) -> None:
        """Write a line that helps to find a fault."""
        self.say(text, "debug")

    def warn(self, text: str) -> None:
        """Write a line about something that did not go well."""
        self.say(text, "warning")

    def fail(self, text: str) -> None:
        """Write a line about an error."""
        self.say(text, "error")
