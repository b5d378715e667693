"""The HTTP server over libevent, in whose place is that of :mod:`gevent.pywsgi`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gevent.compat import warn
from gevent.compat.evhttp import application, http_request
from gevent.pywsgi import WSGIServer

__all__ = ["HTTPServer"]

warn("gevent.http", "gevent.pywsgi")


class HTTPServer(WSGIServer):
    """A server that calls *handle* with each request; it may block.

    :param listener: See :class:`gevent.baseserver.BaseServer`.
    :param handle: Called with an :class:`gevent.compat.evhttp.http_request`, to which it replies,
        or has somebody reply later. If it raises, the client gets 500.
    :param backlog: See :class:`gevent.server.StreamServer`.
    :param spawn: See :class:`gevent.baseserver.BaseServer`.
    :param default_response_headers: What every reply has in its header: by default that the
        connection ends with it.
    """

    def __init__(
        self,
        listener: Any,
        handle: Callable[[http_request], object],
        backlog: int | None = None,
        spawn: Any = "default",
        default_response_headers: Iterable[tuple[str, str]] = (("Connection", "close"),),
    ) -> None:
        serve = application(handle, default_response_headers)
        super().__init__(listener, serve, backlog=backlog, spawn=spawn, log=None)
