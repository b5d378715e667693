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

# Every message is a line that begins with a word. Behind FAILED and TIRED there is a reason.

#: From a worker: it has imported the application, and waits for GO.
LOADED = "loaded"
#: From a worker: it cannot serve, for the reason that follows.
FAILED = "failed"
#: From a worker: it asks to be replaced, for the reason that follows.
TIRED = "tired"
#: From a worker: it accepts no more connections and will end.
CLOSED = "closed"
#: To a worker that is loaded: it is to serve.
GO = "go"
#: To a worker: it is to accept no more, answer the requests in flight, and end.
RETIRE = "retire"
#: To a worker: it is to accept the connections that wait, and then do as for RETIRE.
FINISH = "finish"

#: The seconds for which connections that wait to be accepted may keep the listening sockets open
#: when the service ends.
CLOSING = 1.0


class State(enum.Enum):
    """The stage of a worker's life. A worker only ever moves down this list."""

    #: The worker imports the application.
    STARTING = enum.auto()
    #: It is ready to serve, and waits for the others of its generation.
    LOADED = enum.auto()
    #: It serves.
    SERVING = enum.auto()
    #: It still serves, but another is to take its place.
    TIRED = enum.auto()
    #: It was ordered to end, or ends by itself.
    ENDING = enum.auto()


@dataclass(eq=False)
class WorkerProcess:
    """A worker process, with the supervisor's end of the channel to it."""

    pid: int
    #: The generation of workers that it belongs to; each reload starts the next one.
    generation: int
    channel: socket.socket
    heartbeat: Heartbeat
    started: float = field(default_factory=time.monotonic)
    state: State = State.STARTING
    #: True if this worker of its generation watches the source files.
    watches_files: bool = False
    #: True while messages from it can still come.
    pollable: bool = True
    #: True once it has closed its listening sockets.
    closed: bool = False
    #: The time at which it is killed, None for never.
    kill_at: float | None = None
    #: True if the reason of its end is in the log already.
    explained: bool = False
    _unread: bytes = b""

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when it sends something."""
        return self.channel.fileno()

    def send(self, word: str) -> None:
        """Send a message. A worker that is ending may not receive it."""
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
        """Send the signal *number* to the process."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def release(self) -> None:
        """Release the channel and the heartbeat's slot. To be called once the worker has ended."""
        self.channel.close()
        self.heartbeat.release()


def how_it_ended(code: int) -> str:
    """Return in words what an exit code of :func:`os.waitstatus_to_exitcode` means."""
    if code >= 0:
        return f"ended with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        # The C library has no names for real-time signals.
        name = str(-code)
    return f"ended by signal {name}"
