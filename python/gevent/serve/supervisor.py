"""The process that starts, watches, replaces and ends the workers.

It has no hub, as it only waits for signals and for messages of the workers.

Workers come in generations. The first start and each reload fork a whole one, whose workers import
the application and then wait. When all of them have imported it, they are ordered to serve, and
only then are those of the generation before ordered to end; when one of them fails, the new
generation is dropped and the old one stays. So two generations serve side by side for that moment
only, and a reload that is asked for while there are two waits until one is gone.

    STARTING ── loaded ──> LOADED ── go ──> SERVING ── tired ──> TIRED ── retire ──> ENDING
        └─────────── ordered to end, dropped, or found to be stuck ──────────────────────┘
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from gevent._config import config
from gevent._inspect_address import InspectError
from gevent.serve import process, worker
from gevent.serve.crew import TIMERS, Crew
from gevent.serve.errors import ServeError, reason
from gevent.serve.heartbeat import Heartbeat
from gevent.serve.listeners import UNIX, Listener
from gevent.serve.logs import Messages
from gevent.serve.metrics import Metrics
from gevent.serve.notify import Notifier
from gevent.serve.options import LASTING, Options
from gevent.serve.process import CLOSING, State, WorkerProcess, how_it_ended
from gevent.serve.signals import Signals

#: The seconds until a worker that ended soon after its start is replaced: at the second such end in
#: a row, and at most. They double each time.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 16.0
#: A worker that has lived for this many seconds did not end soon after its start.
SHORT_LIFE = 1.0
#: The seconds that a worker gets beyond the graceful timeout before it is killed.
GRACE = 2.0
#: The seconds that a stuck worker has to write its stack before it is killed.
LAST_WORDS = 1.0
#: The seconds between two checks if connections still wait to be accepted, at the end.
CLOSING_STEP = 0.005
#: The seconds that such connections may wait if there is no worker when the service is to end, and
#: one is started for them.
LAST_SHIFT = 5.0

ENDINGS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
CAUGHT = (
    *ENDINGS,
    signal.SIGHUP,
    signal.SIGCHLD,
    signal.SIGUSR1,
    signal.SIGUSR2,
    *TIMERS,
    signal.SIGTTIN,
    signal.SIGTTOU,
)


class Supervisor:
    """Keeps a number of workers serving at the listening sockets.

    :param options: The settings of the first start.
    :param read_again: Returns the settings after a reload, or raises :class:`ServeError`.
    :param listeners: The listening sockets.
    :param key_password: The password that decrypts the certificate's key; None without one.
    :param messages: The log for the operator.
    :param notifier: Notifies systemd, if that started the service.
    """

    def __init__(
        self,
        options: Options,
        read_again: Callable[[], Options],
        listeners: list[Listener],
        key_password: str | None,
        messages: Messages,
        notifier: Notifier,
    ) -> None:
        self.options: Options = options
        self.read_again = read_again
        self.listeners: list[Listener] = listeners
        self.key_password = key_password
        self.messages = messages
        self.notifier = notifier
        #: The number of workers that there should be.
        self.wanted: int = options.workers
        #: The generation that serves, 0 before the first; and the one that starts, if any.
        self.current: int = 0
        self.coming: int | None = None
        self.last_generation: int = 0
        #: True if another reload is to follow.
        self.reload_again: bool = False
        #: True once the service ends.
        self.ending: bool = False
        #: The time until which waiting connections may keep the listening sockets open at the end.
        self.closing_until: float | None = None
        #: True once a worker was started only to accept the connections that waited at the end.
        self.last_shift: bool = False
        self.status: int = 0
        #: The time at which a worker that ended may be replaced, and the pause of the next time.
        self.replace_at: float = 0.0
        self.pause: float = 0.0
        self.last_check: float = time.monotonic()
        #: The settings and the number of workers before a reload, restored if the reload fails.
        self.before_reload: tuple[Options, int] = (options, self.wanted)
        self.signals: Signals = Signals(CAUGHT)
        self.workers: Crew = Crew(self.signals)
        #: The service with the numbers of all workers, if the setting ``inspect`` asks for one.
        self.metrics: Metrics | None = None

    def run(self) -> int:
        """Serve until ordered to end; return the exit status, 1 when the first workers fail."""
        self._open_metrics()
        self._start_generation()
        while self.workers or not self.ending:
            numbers, speakers = self.workers.wait(self._time_to_wait())
            for number in numbers:
                self._take_signal(number)
            for one, code in self.workers.ended():
                self._has_ended(one, code)
            for one in speakers:
                self._take_messages(one)
            self._watch()
            self._keep_the_number()
        self._close_listeners()
        if self.metrics is not None:
            self.workers.stop_watching(self.metrics)
            self.metrics.close()
        self.signals.ignore()
        return self.status

    def _open_metrics(self) -> None:
        if config.inspect is None:
            return
        try:
            self.metrics = Metrics(config.inspect)
        except InspectError as error:
            self.messages.warn(f"no metrics: {error}")
            return
        self.workers.watch_metrics(self.metrics)
        token = "" if self.metrics.token is None else f", token {self.metrics.token}"
        self.messages.say(f"metrics of all workers at {self.metrics.address}{token}")

    # Signals

    def _take_signal(self, number: int) -> None:
        if number in ENDINGS:
            self._end(at_once=self.ending)
        elif self.ending:
            return
        elif number == signal.SIGHUP:
            self._reload()
        elif number == signal.SIGUSR1:
            self._reopen_logs()
        elif number in (signal.SIGTTIN, signal.SIGTTOU):
            self._change_number(1 if number == signal.SIGTTIN else -1)

    def _reopen_logs(self) -> None:
        self.messages.file.reopen()
        self.messages.say("opening the log files anew")
        for one in self.workers:
            one.kill(signal.SIGUSR1)

    def _change_number(self, by: int) -> None:
        self.wanted = max(1, self.wanted + by)
        self.messages.say(f"{self._count_of_workers()} from now on")

    # Generations

    def _start_generation(self) -> None:
        self.last_generation += 1
        self.coming = self.last_generation
        for _ in range(self.wanted):
            if not self._fork(self.coming):
                self._drop_generation()
                return

    def _reload(self) -> None:
        if self.coming is not None or any(self._of_another_generation()):
            if not self.reload_again:
                self.messages.say("another reload follows when the one under way is over")
            self.reload_again = True
            return
        self.reload_again = False
        self.messages.say("reloading")
        self.notifier.reloading()
        if self._read_settings():
            self._start_generation()

    def _read_settings(self) -> bool:
        """Read the settings anew and apply them; return false if they are wrong."""
        try:
            new = self.read_again()
        except ServeError as error:
            self.messages.fail(f"{error}; the workers that serve stay")
            self.notifier.ready("the last reload failed")
            return False
        self.before_reload = (self.options, self.wanted)
        kept = {name: getattr(self.options, name) for name in LASTING}
        for name, value in kept.items():
            if getattr(new, name) != value:
                self.messages.warn(f"a new {name.replace('_', '-')} counts after a restart only")
        if new.workers != self.options.workers:
            # Otherwise the number stays as signals have changed it.
            self.wanted = new.workers
        self.options = replace(new, **kept)
        return True

    def _of_another_generation(self) -> Iterator[WorkerProcess]:
        return (one for one in self.workers if one.generation != self.current)

    def _take_over(self) -> None:
        """Let the generation that is loaded serve in place of the one before."""
        first = not self.current
        self.current, self.coming = self.last_generation, None
        for one in self.workers:
            if one.generation == self.current and one.state is State.LOADED:
                self._let_serve(one)
        for one in self._of_another_generation():
            self._order_to_end(one, process.RETIRE)
        places = " and ".join(self._urls())
        text = f"listening at {places} with {self._count_of_workers()}, process {os.getpid()}"
        self.messages.say(text if first else "reloaded")
        self.notifier.ready(text)

    def _drop_generation(self) -> None:
        """End the workers of a generation that cannot serve, and the service if it is the first."""
        dropped, self.coming = self.coming, None
        for one in self.workers:
            if one.generation == dropped:
                one.state = State.ENDING
                one.kill()
        if not self.current:
            self.status = 1
            self._end(at_once=True)
        elif not self.ending:
            self.options, self.wanted = self.before_reload
            self.messages.fail("the reload failed; the workers that serve stay")
            self.notifier.ready("the last reload failed")

    def _urls(self) -> list[str]:
        scheme = "https" if self.options.tls_cert else "http"
        addresses = [listener.address for listener in self.listeners]
        return [one if one.startswith(UNIX) else f"{scheme}://{one}" for one in addresses]

    def _count_of_workers(self) -> str:
        return f"{self.wanted} worker{'s' * (self.wanted > 1)}"

    # Workers

    def _fork(self, generation: int) -> bool:
        """Start a worker; return false if the system cannot fork a process."""
        watches_files = self.options.reload and not any(
            one.generation == generation and one.watches_files for one in self.workers
        )
        try:
            new = self.workers.fork(generation, partial(self._work, watches_files))
        except OSError as error:
            self.messages.fail(f"cannot start a worker: {reason(error)}")
            return False
        new.watches_files = watches_files
        self.messages.debug(f"worker {new.pid} starts")
        return True

    def _work(self, watches_files: bool, channel: socket.socket, heartbeat: Heartbeat) -> int:
        """Run as a worker, in the forked process; return the exit status."""
        return worker.run(
            worker.Context(
                options=self.options,
                listeners=[listener.sock for listener in self.listeners],
                channel=channel,
                heartbeat=heartbeat,
                messages=self.messages,
                key_password=self.key_password,
                multiprocess=self.wanted > 1,
                watches_files=watches_files,
                view_of=None if self.metrics is None else self.metrics.address_of,
            )
        )

    def _take_messages(self, one: WorkerProcess) -> None:
        for word, text in self.workers.receive(one):
            if word == process.LOADED:
                self._is_loaded(one)
            elif word == process.FAILED:
                if one.state is not State.ENDING:
                    one.explained = True
                    self.messages.fail(text)
            elif word == process.TIRED:
                self._is_tired(one, text)
            elif word == process.CLOSED:
                one.closed = True
                self._note_its_end(one)

    def _is_loaded(self, one: WorkerProcess) -> None:
        if one.state is not State.STARTING:
            return
        one.state = State.LOADED
        if self.ending:
            self._let_serve(one)
            self._order_to_end(one, process.FINISH)
        elif one.generation == self.current:
            self._let_serve(one)
            tired = [other for other in self.workers if other.state is State.TIRED]
            for other in tired[:1]:
                self._order_to_end(other, process.RETIRE)
        elif one.generation == self.coming:
            waited_for = [other for other in self.workers if other.generation == self.coming]
            if all(other.state is State.LOADED for other in waited_for):
                self._take_over()

    def _let_serve(self, one: WorkerProcess) -> None:
        one.state = State.SERVING
        one.heartbeat.beat()
        one.send(process.GO)

    def _is_tired(self, one: WorkerProcess, why: str) -> None:
        if one.state is State.SERVING:
            one.state = State.TIRED
            self.messages.say(f"worker {one.pid} {why}; starting another")

    def _note_its_end(self, one: WorkerProcess) -> None:
        """Note that a worker ends, by itself or because it was ordered to."""
        one.state = State.ENDING
        if one.kill_at is None:
            one.kill_at = time.monotonic() + self.options.graceful_timeout + GRACE

    def _order_to_end(self, one: WorkerProcess, how: str) -> None:
        if one.state in (State.STARTING, State.LOADED):
            # It has not served yet, so it has no request to finish.
            one.kill()
        one.send(how)
        self._note_its_end(one)

    def _has_ended(self, one: WorkerProcess, code: int) -> None:
        # Its last messages may still be unread.
        self._take_messages(one)
        self.workers.remove(one)
        needed = one.generation == self.coming or one.state is not State.ENDING
        if self.ending or not needed:
            self.messages.debug(f"worker {one.pid} {how_it_ended(code)}")
            return
        starting = one.generation == self.coming or one.state is State.STARTING
        if not one.explained:
            what = " while it started" if starting else "; starting another"
            self.messages.fail(f"worker {one.pid} {how_it_ended(code)}{what}")
        if one.generation == self.coming:
            self._drop_generation()
        else:
            self._pause_before_replacing(one)

    def _pause_before_replacing(self, one: WorkerProcess) -> None:
        now = time.monotonic()
        if now - one.started >= SHORT_LIFE and one.state is not State.STARTING:
            self.pause = 0.0
            return
        self.replace_at = now + self.pause
        self.pause = min(2 * self.pause or FIRST_PAUSE, LONGEST_PAUSE)

    def _keep_the_number(self) -> None:
        """Start workers where some are missing, and end those that are too many."""
        if self.ending:
            return
        if self.reload_again and self.coming is None and not any(self._of_another_generation()):
            self._reload()
        if self.coming is not None or not self.current:
            return
        usable = (State.STARTING, State.LOADED, State.SERVING)
        there = [one for one in self.workers if one.state in usable]
        for _ in range(self.wanted - len(there)):
            if time.monotonic() < self.replace_at:
                break
            if not self._fork(self.current):
                self.replace_at = time.monotonic() + FIRST_PAUSE
        for one in there[: max(0, len(there) - self.wanted)]:
            self._order_to_end(one, process.RETIRE)

    # Time

    def _deadlines(self) -> Iterator[float]:
        """Yield the moments at which :meth:`_watch` or :meth:`_keep_the_number` has work."""
        for one in self.workers:
            if one.kill_at is not None:
                yield one.kill_at
            if one.state is State.STARTING and not one.explained and self.options.start_timeout:
                yield one.started + self.options.start_timeout
        if self.options.timeout:
            yield self.last_check + self._watching_period()
        if self.notifier.watchdog:
            yield self.last_check + self.notifier.watchdog
        if self.closing_until is not None:
            yield time.monotonic() + CLOSING_STEP
        if not self.ending and self.replace_at > time.monotonic():
            yield self.replace_at

    def _time_to_wait(self) -> float | None:
        first = min(self._deadlines(), default=None)
        return None if first is None else max(0.0, first - time.monotonic())

    def _watching_period(self) -> float:
        """Return the seconds between two checks of the heartbeats."""
        return min(1.0, self.options.timeout / 4)

    def _watch(self) -> None:
        """Kill the workers that are stuck or late, and do what else is due at this time."""
        now = time.monotonic()
        if self.options.timeout and now - self.last_check > 2 * self._watching_period() + 1.0:
            # This process was stopped, as by Ctrl-Z, and the workers with it. Their heartbeats are
            # old for that reason only, so they count from now.
            for one in self.workers:
                one.heartbeat.beat()
        self.last_check = now
        self.notifier.alive()
        for one in self.workers:
            if one.kill_at is not None and one.kill_at <= now:
                one.kill()
                one.kill_at = now + GRACE
            elif one.explained:
                continue
            elif one.state is State.STARTING:
                limit = self.options.start_timeout
                if limit and now - one.started > limit:
                    self._give_up(one, f"did not start within {limit:g} s")
            elif self.options.timeout:
                silent = now - one.heartbeat.last()
                if silent > self.options.timeout:
                    self._replace_stuck(one, silent)
        if self.closing_until is not None:
            self._close_when_drained(now)

    def _give_up(self, one: WorkerProcess, why: str) -> None:
        self.messages.fail(f"worker {one.pid} {why} and is killed")
        one.explained = True
        one.kill(signal.SIGABRT)
        one.kill_at = time.monotonic() + LAST_WORDS

    def _replace_stuck(self, one: WorkerProcess, silent: float) -> None:
        self._give_up(one, f"has not let other greenlets run for {silent:.0f} s")
        if one.state is not State.LOADED:
            # Another worker takes its place now, without waiting for its end.
            one.state = State.ENDING

    # The end

    def _end(self, at_once: bool) -> None:
        if not self.ending:
            self.ending = True
            self.notifier.stopping()
            # No new connection is accepted from here on, however long the workers take.
            for listener in self.listeners:
                listener.refuse_new()
            self.closing_until = time.monotonic() + CLOSING
        how = process.FINISH
        if any(listener.inherited for listener in self.listeners):
            # The program that opened the socket has others accept the connections that wait.
            how = process.RETIRE
        # If no worker serves, those that are starting are to accept the connections that wait.
        serve = any(one.state in (State.SERVING, State.TIRED) for one in self.workers)
        for one in self.workers:
            if serve or at_once or one.state is not State.STARTING:
                if one.state is State.LOADED and not serve:
                    self._let_serve(one)
                self._order_to_end(one, how)
            if at_once:
                one.kill_at = time.monotonic()
        if at_once:
            self._close_listeners()
        elif self.closing_until is not None:
            self._close_when_drained(time.monotonic())

    def _close_when_drained(self, now: float) -> None:
        """Close the listening sockets once no connection waits, or none will be accepted."""
        waiting = any(listener.has_waiting() for listener in self.listeners)
        if waiting and now < (self.closing_until or 0):
            taken = not all(one.closed for one in self.workers)
            if taken or self._call_last_shift():
                return
        self._close_listeners()

    def _call_last_shift(self) -> bool:
        """Start a worker for connections that wait while there is none; return false if it cannot.

        There is no worker at the end of the service when all of them have just died.
        """
        if self.last_shift or not self.current or not self._fork(self.current):
            return False
        self.last_shift = True
        self.closing_until = time.monotonic() + LAST_SHIFT
        return True

    def _close_listeners(self) -> None:
        self.closing_until = None
        for listener in self.listeners:
            listener.close()
        self.listeners = []
        for one in self.workers:
            if one.state in (State.STARTING, State.LOADED):
                self._order_to_end(one, process.RETIRE)
