"""A worker: it imports the application, notifies the supervisor, and serves when ordered to."""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gevent.serve import identity, process
from gevent.serve.errors import ServeError
from gevent.serve.heartbeat import Heartbeat
from gevent.serve.loading import load_application
from gevent.serve.logs import LogFile, Messages
from gevent.serve.options import Options

#: The longest time between two heartbeats, in seconds.
BEAT = 1.0


@dataclass(frozen=True)
class Context:
    """The data that a worker gets from the supervisor."""

    options: Options
    listeners: list[socket.socket]
    #: The worker's end of the channel to the supervisor.
    channel: socket.socket
    heartbeat: Heartbeat
    messages: Messages
    #: The password that decrypts the key of the certificate; None without one.
    key_password: str | None
    #: True if other processes serve the same application.
    multiprocess: bool
    #: True if this worker is to notify the supervisor of changed source files.
    watches_files: bool
    #: Returns the address of a worker's view by its process number; None if no view is to
    #: be opened.
    view_of: Callable[[int], str] | None = None


def run(context: Context) -> int:
    """Serve until the supervisor ends it or is gone, or ``SIGTERM`` comes; return the status."""
    with suppress(OSError, ValueError, AttributeError):
        # It writes the stack of a stuck worker, which the supervisor ends with SIGABRT.
        faulthandler.enable(all_threads=False)
    try:
        serving = _Serving(context)
    except ServeError as error:
        with suppress(OSError):
            context.channel.send(f"{process.FAILED} {error}\n".encode())
        return 1
    serving.run()
    return 0


def check(options: Options, key_password: str | None) -> None:
    """Load everything that a worker loads, without serving.

    :raises ServeError: Something cannot be loaded.
    """
    prepare(options)
    from gevent.serve import server, tls

    identity.become(options.user, options.group)
    application = load_application(options)
    server.handler_class_for(options, application)
    if options.tls_cert:
        tls.make_context(options, key_password)


def prepare(options: Options) -> None:
    """Make the standard library cooperative if *options* say so, before anything is imported."""
    if options.patch:
        from gevent import monkey

        monkey.patch_all()


class _Serving:
    """The servers of a worker, and its messages to and from the supervisor."""

    def __init__(self, context: Context) -> None:
        self.context = context
        options = context.options
        prepare(options)
        if context.view_of is not None:
            from gevent import config

            config.inspect = context.view_of(os.getpid())
        from gevent.event import Event
        from gevent.serve import server, tls
        from gevent.serve.fatigue import Fatigue

        # The user changes only now, as the new one may not be able to read this package's files.
        identity.become(options.user, options.group)
        application = load_application(options)
        handler = server.handler_class_for(options, application)
        tls_context = None
        if options.tls_cert:
            tls_context = tls.make_context(options, context.key_password)
        self.logs: list[LogFile] = []
        self.access_log = self._open_log(options.access_log) if options.access_log else None
        self.error_log = self._open_log(options.error_log)
        # The handler is set now, as the files may be renamed while the application is imported.
        signal.signal(signal.SIGUSR1, self._reopen_logs)
        self.end = Event()
        self.finish = False
        self.fatigue = Fatigue(options, self._report_tired)
        self.servers = server.make_servers(
            options,
            context.listeners,
            self.fatigue.count(application),
            handler_class=handler,
            tls_context=tls_context,
            access_log=self.access_log,
            error_log=self.error_log,
            multiprocess=context.multiprocess,
        )

    def _open_log(self, path: str | None) -> LogFile:
        log = LogFile(path, self.context.messages.fail)
        self.logs.append(log)
        return log

    def run(self) -> None:
        """Serve until all servers have stopped."""
        import gevent
        from gevent.socket import socket as cooperative

        gevent.signal_handler(signal.SIGTERM, self.end.set)
        self.channel = cooperative(fileno=self.context.channel.detach())
        gevent.spawn(self._beat, gevent.sleep)
        gevent.spawn(self._obey)
        if self.context.watches_files:
            from gevent.serve import reloading

            # The times are noted before the supervisor says that it serves: a change from then on
            # is seen, however long it takes until the greenlet starts.
            options = self.context.options
            known = reloading.times_of_files(options)
            gevent.spawn(reloading.watch, options, known, gevent.sleep, os.getppid())
        # The greenlet that sends heartbeats from now on has not run yet.
        self.context.heartbeat.beat()
        self._send(process.LOADED)
        self.end.wait()
        self._stop(gevent.spawn, gevent.joinall)

    def _send(self, message: str) -> None:
        with suppress(OSError):
            self.channel.sendall(f"{message}\n".encode())

    def _report_tired(self, why: str) -> None:
        self._send(f"{process.TIRED} {why}")

    def _obey(self) -> None:
        """Carry out the orders of the supervisor; end when it is gone."""
        unread = b""
        with suppress(OSError):
            while part := self.channel.recv(4096):
                *lines, unread = (unread + part).split(b"\n")
                for line in lines:
                    word = line.decode()
                    if word == process.GO:
                        for server in self.servers:
                            server.start()
                    elif word in (process.RETIRE, process.FINISH):
                        self.finish = word == process.FINISH
                        self.end.set()
        self.end.set()

    def _beat(self, sleep: Callable[[float], None]) -> None:
        options = self.context.options
        period = min(BEAT, options.timeout / 4) if options.timeout else BEAT
        while True:
            self.context.heartbeat.beat()
            self.fatigue.look_at_memory()
            sleep(period)

    def _reopen_logs(self, *_: object) -> None:
        for log in self.logs:
            log.reopen()

    def _stop(self, spawn: Callable[..., Any], join: Callable[..., Any]) -> None:
        for server in self.servers:
            if self.finish:
                server.accept_the_rest()
            server.close()
        for listener in self.context.listeners:
            listener.close()
        self._send(process.CLOSED)
        timeout = self.context.options.graceful_timeout
        join([spawn(server.stop, timeout=timeout) for server in self.servers])
