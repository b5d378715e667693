"""A worker process as the supervisor sees it, and the words that the two exchange."""

from __future__ import annotations

import enum
import os
import signal
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field

from gevent.serve.heartbeat import Heartbeat

# Every message is a line: a word, for FAILED with a reason behind it.

#: From a worker: the application is imported, and it waits for GO.
LOADED = "loaded"
#: From a worker: why it cannot serve.
FAILED = "failed"
#: From a worker: it asks to be replaced, for the reason that follows.
TIRED = "tired"
#: From a worker: it accepts no more connections and will end.
CLOSED = "closed"
#: To a worker that is loaded: serve.
GO = "go"
#: To a worker: accept no more, answer the requests in flight, and end.
RETIRE = "retire"
#: To a worker: accept what waits, and then do as for RETIRE.
FINISH = "finish"

#: How many seconds connections that wait to be accepted may keep the listening sockets from closing
#: when the service ends.
CLOSING = 1.0


class State(enum.Enum):
    """How far a worker has come. It only ever moves down this list."""

    #: It imports the application.
    STARTING = enum.auto()
    #: It could serve, and waits for the others of its generation.
    LOADED = enum.auto()
    #: It serves.
    SERVING = enum.auto()
    #: It still serves, but another is to take its place.
    TIRED = enum.auto()
    #: It was ordered to end, or ends by itself.
    ENDING = enum.auto()


@dataclass(eq=False)
class WorkerProcess:
    """One worker."""

    pid: int
    #: Which generation of workers it belongs to; a reload starts the next.
    generation: int
    channel: socket.socket
    heartbeat: Heartbeat
    started: float = field(default_factory=time.monotonic)
    state: State = State.STARTING
    #: True if it is the one that watches the source files.
    watches_files: bool = False
    #: True while it may send something.
    pollable: bool = True
    #: True once it has closed its listening sockets.
    closed: bool = False
    #: When to kill it, None for never.
    kill_at: float | None = None
    #: True if the log has said why it ends.
    explained: bool = False
    _unread: bytes = b""

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when it sends something."""
        return self.channel.fileno()

    def send(self, word: str) -> None:
        """Send a word; a worker that is ending may not receive it."""
        with suppress(OSError):
            self.channel.send(f"{word}\n".encode())

    def receive(self) -> tuple[list[str], bool]:
        """Return the messages that came, and true if no more can come."""
        over = False
        while not over:
            try:
                part = self.channel.recv(65536)
            except BlockingIOError:
                break
            except OSError:
                part = b""
            over = not part
            self._unread += part
        *lines, self._unread = self._unread.split(b"\n")
        return [line.decode(errors="replace") for line in lines], over

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def release(self) -> None:
        """Give back what was taken for it, when it has ended."""
        self.channel.close()
        self.heartbeat.release()


def how_it_ended(code: int) -> str:
    """Return in words what an exit code of :func:`os.waitstatus_to_exitcode` means."""
    if code >= 0:
        return f"ended with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        # The C library has no names for signals of real time.
        name = str(-code)
    return f"ended by signal {name}"
