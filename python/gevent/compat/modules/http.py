"""The HTTP server of libevent, which :mod:`gevent.pywsgi` has replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gevent.compat import warn
from gevent.compat.evhttp import application, http_request
from gevent.compat.per_request import RequestServer

__all__ = ["HTTPServer"]

warn("gevent.http", "gevent.pywsgi")


class HTTPServer(RequestServer):
    """A server that calls *handle* with each request; it may block.

    :param listener: See :class:`gevent.baseserver.BaseServer`.
    :param handle: Called with an :class:`gevent.compat.evhttp.http_request`, to which it replies,
        or which another greenlet replies to later. If it raises, the client gets 500. A subclass
        may define a method ``handle`` instead.
    :param backlog: See :class:`gevent.server.StreamServer`.
    :param spawn: The pool or function that runs *handle*: see
        :class:`gevent.baseserver.BaseServer`. While a pool is full, requests are answered with 503.
    :param default_response_headers: The header fields of every reply: by default that the
        connection ends with it.
    :raises TypeError: There is no *handle*.
    """

    def __init__(
        self,
        listener: Any,
        handle: Callable[[http_request], object] | None = None,
        backlog: int | None = None,
        spawn: Any = "default",
        default_response_headers: Iterable[tuple[str, str]] = (("Connection", "close"),),
    ) -> None:
        if handle is None and type(self).handle is RequestServer.handle:
            raise TypeError("'handle' must be provided")
        #: The header fields of every reply that does not set them itself.
        self.default_response_headers: list[tuple[str, str]] = list(default_response_headers)
        super().__init__(listener, backlog=backlog, spawn=spawn, log=None)
        if handle is not None:
            self.handle = handle  # type: ignore[method-assign,assignment]

    def init_socket(self) -> None:
        """Make the socket, if there is none; for :meth:`start`."""
        super().init_socket()
        self._handle = self._converse
        self.application: Callable[..., Iterable[bytes]] = application(
            self.handle,  # type: ignore[arg-type]
            self.default_response_headers,
            self._spawn_request,
            self.is_busy,
        )

    def _converse(self, sock: Any, address: Any) -> None:
        self.handler_class(sock, address, self).handle()
