"""The worker processes: forking them, receiving their messages, and noting their end."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

from gevent.serve.heartbeat import Heartbeat, Heartbeats
from gevent.serve.metrics import Metrics
from gevent.serve.process import WorkerProcess
from gevent.serve.signals import Signals

#: Signals of timers and descriptors, whose default action ends the process.
TIMERS = (signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO)
#: Signals that do nothing to a worker. A terminal sends the first two to all processes, and the
#: supervisor passes on what is to be done.
HARMLESS = (
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    *TIMERS,
    signal.SIGTTIN,
    signal.SIGTTOU,
)


class Crew:
    """The workers, in the order of their start.

    :param signals: The signals that the supervisor catches.
    """

    def __init__(self, signals: Signals) -> None:
        self._signals = signals
        self._workers: list[WorkerProcess] = []
        self._heartbeats = Heartbeats()
        self._metrics: Metrics | None = None
        self._selector = selectors.DefaultSelector()
        self._selector.register(signals, selectors.EVENT_READ)

    def __iter__(self) -> Iterator[WorkerProcess]:
        """Yield the workers of this moment; the crew may change during the iteration."""
        return iter(self._workers.copy())

    def __bool__(self) -> bool:
        return bool(self._workers)

    def wait(self, timeout: float | None) -> tuple[list[int], list[WorkerProcess]]:
        """Wait for signals and messages; return the signals, and the workers that sent something.

        :param timeout: The most seconds to wait, or None for no limit.
        """
        numbers: list[int] = []
        speakers = []
        due = None if self._metrics is None else self._metrics.timeout()
        if due is not None:
            timeout = due if timeout is None else min(timeout, due)
        for key, _ in self._selector.select(timeout):
            if key.fileobj is self._signals:
                numbers = self._signals.take()
            elif key.fileobj is not self._metrics:
                speakers.append(key.data)
        if self._metrics is not None:
            # Called in any case, as deadlines of clients may have passed, and processes that
            # answered may have ended.
            with self._signals.blocked():
                self._metrics.step([one.pid for one in self._workers])
        return numbers, speakers

    def watch_metrics(self, other: Metrics) -> None:
        """Have :meth:`wait` end when a client asks for metrics, and answer it."""
        self._metrics = other
        self._selector.register(other, selectors.EVENT_READ)

    def stop_watching(self, other: Metrics) -> None:
        """Have :meth:`wait` ignore such clients from now on."""
        self._metrics = None
        self._selector.unregister(other)

    def fork(
        self, generation: int, work: Callable[[socket.socket, Heartbeat], int]
    ) -> WorkerProcess:
        """Start a worker.

        :param work: Called in the new process with its end of the channel and its heartbeat;
            returns the process's exit status.
        :raises OSError: The system has no process or descriptor left.
        """
        for stream in (sys.stdout, sys.stderr):
            # Both processes would write what the buffers of the streams still hold.
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        ours, theirs = socket.socketpair()
        heartbeat = self._heartbeats.take()
        with self._signals.blocked():
            try:
                pid = os.fork()
            except OSError:
                ours.close()
                theirs.close()
                heartbeat.release()
                raise
            if pid == 0:
                self._signals.forget(HARMLESS)
                ours.close()
        if pid == 0:
            self._selector.close()
            if self._metrics is not None:
                self._metrics.forget()
            for other in self._workers:
                other.channel.close()
            raise SystemExit(work(theirs, heartbeat))
        theirs.close()
        ours.setblocking(False)
        new = WorkerProcess(pid, generation, ours, heartbeat)
        self._workers.append(new)
        self._selector.register(new, selectors.EVENT_READ, new)
        return new

    def receive(self, one: WorkerProcess) -> list[tuple[str, str]]:
        """Return the messages of a worker, each as its word and the text behind the word."""
        if one not in self._workers:
            # The worker has ended meanwhile, and its messages were received at that time.
            return []
        lines, over = one.receive()
        if over:
            self._stop_receiving(one)
        return [(word, text) for word, _, text in (line.partition(" ") for line in lines)]

    def ended(self) -> Iterator[tuple[WorkerProcess, int]]:
        """Yield each worker that has ended and its exit code.

        The worker stays in the crew until :meth:`remove` is called, so that its last messages can
        be received.
        """
        for one in self:
            pid, status = os.waitpid(one.pid, os.WNOHANG)
            if pid:
                yield one, os.waitstatus_to_exitcode(status)

    def remove(self, one: WorkerProcess) -> None:
        """Remove a worker that has ended from the crew."""
        self._stop_receiving(one)
        self._workers.remove(one)
        one.release()

    def _stop_receiving(self, one: WorkerProcess) -> None:
        if one.pollable:
            one.pollable = False
            self._selector.unregister(one)
