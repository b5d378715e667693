"""Servers that accept every connection, and spawn for each request."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from gevent._config import config
from gevent._core import Greenlet, get_hub, getcurrent
from gevent.pywsgi import WSGIHandler, WSGIServer

__all__ = ["RequestServer", "handler_of"]

BUSY = "503 Service Unavailable"


class RequestServer(WSGIServer):
    """A server whose *spawn* is for requests: connections are accepted while a pool is full."""

    def set_spawn(self, spawn: Any) -> None:
        """Set where requests are handled; see :class:`gevent.baseserver.BaseServer`."""
        super().set_spawn(spawn)
        self._spawn_request: Callable[..., object] = self._spawn or get_hub().loop.run_callback
        # Connections are held back neither by a pool that is full nor by what blocks in the hub.
        self._spawn = Greenlet.spawn
        vars(self).pop("full", None)

    def is_busy(self) -> bool:
        """Return true if a request has to be turned away: there is a pool, and it is full."""
        full = getattr(self.pool, "full", None)
        return full is not None and bool(full())


class PerRequest(WSGIHandler):
    """A handler whose requests take a place in the server's pool while they are handled."""

    def run_application(self) -> None:
        """Call the application, or turn the request away while the pool is full.

        By the setting ``compat``, request and response are in memory as a whole, as in gevent 0.13.
        """
        if config.compat:
            self.application: Callable[..., Iterable[bytes]] = buffered(self.application)
        pool = self.server.pool
        if pool is None:
            super().run_application()
            return
        if self.server.is_busy():
            self.application = turn_away
            super().run_application()
            return
        current = getcurrent()
        pool.add(current)
        try:
            super().run_application()
        finally:
            pool.discard(current)


@cache
def handler_of(handler_class: type[WSGIHandler]) -> type[WSGIHandler]:
    """Return *handler_class* with the ways of :class:`PerRequest`."""
    if issubclass(handler_class, PerRequest):
        return handler_class
    return type(handler_class.__name__, (PerRequest, handler_class), {})


def turn_away(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """A WSGI application for those for whom there is no room."""
    body = f"<html><body><h1>{BUSY}</h1></body></html>".encode()
    start_response(BUSY, [("Content-Type", "text/html"), ("Connection", "close")])
    return [body]


def buffered(application: Callable[..., Iterable[bytes]]) -> Callable[..., list[bytes]]:
    """Return a WSGI application that reads a request, and makes a response, as a whole.

    The connection ends with the response, unless that says otherwise.
    """

    def respond(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read())
        parts: list[bytes] = []
        started: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            started[:] = status, list(headers)
            return parts.append

        result = application(environ, start)
        try:
            parts.extend(result)
        finally:
            if hasattr(result, "close"):
                result.close()
        if started:
            status, headers = started
            stated = {name.lower() for name, _ in headers}
            if "connection" not in stated:
                headers.append(("Connection", "close"))
            start_response(status, headers)
        return [part for part in parts if part]

    return respond
