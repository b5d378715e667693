"""The process that starts, replaces and ends the workers.

It has no hub: it only waits for signals and for what the workers say.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import NoReturn

from gevent.serve import worker
from gevent.serve.listeners import UNIX, address_of
from gevent.serve.options import Options

#: A worker that ends within so many seconds of its start is replaced only after as many.
SHORT_LIFE = 1.0
#: What a worker gets beyond the graceful timeout, in seconds, before it is killed.
GRACE = 2.0

ENDINGS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def say(text: str) -> None:
    """Print a line for whoever started the program."""
    print(f"gevent.serve: {text}", file=sys.stderr, flush=True)


@dataclass(eq=False)
class Worker:
    """One worker process, as the supervisor sees it."""

    #: Which listening socket is its own.
    place: int
    pid: int
    #: What it talks through.
    line: socket.socket
    started: float = field(default_factory=time.monotonic)
    ready: bool = False
    #: When to kill it; set once it was told to end.
    deadline: float | None = None


class Supervisor:
    """Keeps a worker serving at each listening socket.

    :param options: The command line.
    :param listeners: The listening sockets, one for each worker.
    """

    def __init__(self, options: Options, listeners: list[socket.socket]) -> None:
        self.options = options
        self.listeners = listeners
        self.workers: list[Worker] = []
        #: When each place is to have a worker again.
        self.vacant: dict[int, float] = {}
        self.begun = False
        self.ending = False
        self.status = 0
        self.selector = selectors.DefaultSelector()
        self.wakeup, self.signals = socket.socketpair()

    def run(self) -> int:
        """Serve until told to end; return the exit status, 1 when the first workers fail."""
        self.wakeup.setblocking(False)
        self.signals.setblocking(False)
        signal.set_wakeup_fd(self.wakeup.fileno(), warn_on_full_buffer=False)
        for number in (*ENDINGS, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        self.selector.register(self.signals, selectors.EVENT_READ)
        for place in range(len(self.listeners)):
            self._fork(place)
        while self.workers or self.vacant:
            for key, _ in self.selector.select(self._patience()):
                if key.fileobj is self.signals:
                    self._take_signals()
                else:
                    self._listen_to(key.data)
            self._do_what_is_due()
        self._remove_unix_socket()
        return self.status

    def _fork(self, place: int) -> None:
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            ours.close()
            self._become_worker(place, theirs)
        theirs.close()
        ours.setblocking(False)
        new = Worker(place, pid, ours)
        self.workers.append(new)
        self.selector.register(ours, selectors.EVENT_READ, new)

    def _become_worker(self, place: int, line: socket.socket) -> NoReturn:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        # A terminal sends these to all processes; the supervisor passes on what is to be done.
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self.selector.close()
        self.signals.close()
        self.wakeup.close()
        for other in self.workers:
            other.line.close()
        listener = self.listeners.pop(place)
        for other_listener in self.listeners:
            other_listener.close()
        watches_files = self.options.reload and place == 0
        raise SystemExit(worker.run(self.options, listener, line, watches_files))

    def _patience(self) -> float | None:
        times = [one.deadline for one in self.workers if one.deadline is not None]
        times += self.vacant.values()
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _take_signals(self) -> None:
        for number in self.signals.recv(4096):
            if number in ENDINGS:
                self._end(at_once=self.ending)
            elif number == signal.SIGHUP and not self.ending:
                self._reload()
        for one in list(self.workers):
            pid, status = os.waitpid(one.pid, os.WNOHANG)
            if pid:
                self._has_ended(one, os.waitstatus_to_exitcode(status))

    def _listen_to(self, one: Worker) -> None:
        try:
            words = one.line.recv(65536)
        except BlockingIOError:
            return
        except ConnectionError:
            words = b""
        if not words:
            self._hang_up(one)
        elif words == worker.READY:
            self._is_ready(one)
        else:
            say(words.removeprefix(worker.FAILED).decode(errors="replace"))

    def _hang_up(self, one: Worker) -> None:
        if one.line.fileno() >= 0:
            self.selector.unregister(one.line)
            one.line.close()

    def _is_ready(self, one: Worker) -> None:
        one.ready = True
        for older in self.workers[: self.workers.index(one)]:
            if older.place == one.place:
                self._tell_to_end(older)
        if not self.begun and all(other.ready for other in self.workers):
            self.begun = True
            self._announce()

    def _announce(self) -> None:
        address = address_of(self.listeners[0])
        if not address.startswith(UNIX):
            address = f"{'https' if self.options.tls_cert else 'http'}://{address}"
        count = len(self.listeners)
        say(f"listening at {address} with {count} worker{'s' * (count > 1)}, process {os.getpid()}")

    def _has_ended(self, one: Worker, code: int) -> None:
        if one.line.fileno() >= 0:
            # What it said at the end.
            self._listen_to(one)
            self._hang_up(one)
        self.workers.remove(one)
        if self.ending or one.deadline is not None:
            return
        if not self.begun:
            self.status = 1
            self._end(at_once=False)
            return
        if any(other.place == one.place for other in self.workers):
            # A new one that could not start: the old one goes on.
            return
        end = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
        say(f"worker {one.pid} ended {end}; starting another")
        lived = time.monotonic() - one.started
        self.vacant[one.place] = time.monotonic() + (SHORT_LIFE if lived < SHORT_LIFE else 0)

    def _do_what_is_due(self) -> None:
        now = time.monotonic()
        for place in [place for place, when in self.vacant.items() if when <= now]:
            del self.vacant[place]
            self._fork(place)
        for one in self.workers:
            if one.deadline is not None and one.deadline <= now:
                os.kill(one.pid, signal.SIGKILL)
                one.deadline = now + GRACE

    def _tell_to_end(self, one: Worker) -> None:
        if one.deadline is None:
            one.deadline = time.monotonic() + self.options.graceful_timeout + GRACE
            os.kill(one.pid, signal.SIGTERM)

    def _end(self, at_once: bool) -> None:
        self.ending = True
        self.vacant.clear()
        for one in self.workers:
            self._tell_to_end(one)
            if at_once:
                one.deadline = time.monotonic()

    def _reload(self) -> None:
        say("reloading")
        self.vacant.clear()
        for place in range(len(self.listeners)):
            self._fork(place)

    def _remove_unix_socket(self) -> None:
        name = self.listeners[0].getsockname()
        if self.listeners[0].family == socket.AF_UNIX and os.path.exists(name):
            os.unlink(name)
