"""The WSGI server of libevent, which :mod:`gevent.pywsgi` has replaced."""

from __future__ import annotations

from gevent._config import config
from gevent.compat import warn
from gevent.compat.per_request import RequestServer, handler_of
from gevent.pywsgi import WSGIHandler

__all__ = ["WSGIHandler", "WSGIServer"]

warn("gevent.wsgi", "gevent.pywsgi")


class WSGIServer(RequestServer):
    """A :class:`gevent.pywsgi.WSGIServer` that answers requests with 503 while its pool is full.

    By the setting ``compat``, a request is read, and its response made, in memory as a whole, and
    the connection ends with it.
    """

    def init_socket(self) -> None:
        """Make the socket, if there is none; for :meth:`start`."""
        if self.pool is not None or config.compat:
            self.handler_class: type = handler_of(self.handler_class)
        super().init_socket()
