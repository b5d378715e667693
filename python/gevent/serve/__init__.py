"""Serve a WSGI application from the command line: ``python -m gevent.serve package.module:app``.

A supervisor opens the listening sockets and forks workers, each of which accepts from all of them
and runs a :class:`gevent.pywsgi.WSGIServer`. It replaces a worker that dies, hangs or has had its
share of requests or memory; signals control it:

========================== =========================================================================
``SIGTERM``, ``SIGINT``    close the sockets, answer the requests in flight, and end; the second one
                           ends it without waiting
``SIGHUP``                 read the settings anew, start workers that import the application anew,
                           and then end the old ones
``SIGUSR1``                open the log files anew
``SIGTTIN``, ``SIGTTOU``   one worker more, one less
========================== =========================================================================

The sockets stay with the supervisor, so a connection that waits to be accepted is not lost with a
worker.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from gevent.serve import identity, tls, worker
from gevent.serve.command_line import Sources
from gevent.serve.errors import ServeError, reason
from gevent.serve.listeners import open_listeners
from gevent.serve.logs import Messages
from gevent.serve.notify import Notifier
from gevent.serve.options import Options
from gevent.serve.streams import open_standard_streams
from gevent.serve.supervisor import Supervisor

__all__ = ["ServeError", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until ordered to stop; return the exit status: 0, or 1 when it could not start.

    :param arguments: The command line after the program's name; :data:`sys.argv` by default.
    :raises SystemExit: The command line is wrong (2), or asks for help (0).
    """
    open_standard_streams()
    sources = Sources(sys.argv[1:] if arguments is None else arguments, os.environ)
    options = sources.first_options()
    messages = Messages()
    try:
        _enter(options)
        messages = Messages(options.error_log, options.log_level)
        password = tls.key_password(options)
        if options.check:
            worker.check(options, password)
            messages.say(f"{options.app} and its settings are in order")
            return 0
        return _serve(options, sources, password, messages)
    except ServeError as error:
        messages.fail(str(error))
        return 1


def _enter(options: Options) -> None:
    """Apply the options of the process as a whole, such as its umask."""
    if options.umask is not None:
        os.umask(options.umask)
    if options.chdir is not None:
        try:
            os.chdir(options.chdir)
        except OSError as error:
            raise ServeError(f"cannot change to {options.chdir}: {reason(error)}") from error


def _serve(options: Options, sources: Sources, password: str | None, messages: Messages) -> int:
    supervisor = os.getpid()
    pid_file = identity.PidFile(options.pid_file) if options.pid_file else None
    try:
        listeners = open_listeners(options, os.environ)
        notifier = Notifier(os.environ)
        # systemd means these variables for this process only: programs that workers start must not
        # take them for theirs.
        for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET"):
            os.environ.pop(name, None)
        return Supervisor(options, sources.options, listeners, password, messages, notifier).run()
    finally:
        # Workers run this too when they end, and must not remove the supervisor's file.
        if pid_file is not None and os.getpid() == supervisor:
            pid_file.remove()
