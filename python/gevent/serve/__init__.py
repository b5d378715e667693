"""Serve a WSGI application from the command line: ``python -m gevent.serve package.module:app``.

A supervisor opens the listening sockets, one for each worker (``SO_REUSEPORT``), and forks the
workers, each of which runs a :class:`gevent.pywsgi.WSGIServer`. It replaces a worker that dies,
drains them all on ``SIGTERM`` and ``SIGINT``, and on ``SIGHUP`` starts new ones, which import the
application anew, before it drains the old. The sockets stay with the supervisor, so a connection
that waits to be accepted meanwhile is not lost.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from gevent.serve.listeners import ServeError, open_listeners
from gevent.serve.options import parse
from gevent.serve.supervisor import Supervisor, say

__all__ = ["ServeError", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; return the exit status: 0, or 1 when it could not start.

    :param arguments: The command line after the program's name; :data:`sys.argv` by default.
    :raises SystemExit: The command line is wrong (2), or asks for help (0).
    """
    options = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        listeners = open_listeners(options.bind, options.workers, options.backlog)
    except ServeError as error:
        say(str(error))
        return 1
    return Supervisor(options, listeners).run()
