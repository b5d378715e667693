"""Functions for a server's WebSockets beside messages: pings, origins, and the server's end."""

from __future__ import annotations

import contextlib
import weakref
from _socket import SHUT_RDWR
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import gevent
from gevent.websocket.connection import WebSocket
from gevent.websocket.exceptions import WebSocketError

__all__ = ["go_away", "ping_again_and_again", "same_origin"]

_PORTS = {"http": 80, "https": 443}


def same_origin(environ: Mapping[str, Any]) -> bool:
    """Return true if a request comes from a page of the server that it is sent to.

    Scheme, host and port of its `Origin` are compared with `wsgi.url_scheme` and with the host and
    port that the request was sent to, so a proxy in front has to pass `Host` on. Returns false for
    a request without an `Origin`.
    """
    try:
        origin = urlsplit(environ.get("HTTP_ORIGIN", ""))
        own = urlsplit(f"{environ['wsgi.url_scheme']}://{environ.get('HTTP_HOST', '')}")
        return bool(origin.hostname) and _place(origin) == _place(own)
    except ValueError:
        return False


def _place(parts: Any) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def ping_again_and_again(ws: WebSocket, interval: float, timeout: float) -> None:
    """Send pings, and end the connection when nothing comes from the client after one.

    :param interval: seconds between pings.
    :param timeout: seconds in which an answer, or anything else, has to come.
    """
    ref = weakref.ref(ws)
    del ws
    while True:
        gevent.sleep(interval)
        ws = ref()  # type: ignore[assignment]
        if ws is None or ws.closed:
            return
        received = ws._received
        with contextlib.suppress(WebSocketError):
            ws.ping()
        del ws
        gevent.sleep(timeout)
        ws = ref()
        if ws is None or ws.closed:
            return
        if ws._received == received:
            ws.ended_by = "ping_timeout"
            with contextlib.suppress(OSError):
                ws._connection.socket.shutdown(SHUT_RDWR)
            return
        del ws


def go_away(websockets: Iterable[WebSocket]) -> None:
    """Close with 1001, which says that the server goes away, so that clients connect elsewhere."""
    for ws in list(websockets):
        if not ws.closed:
            gevent.spawn(ws.close, 1001)
