"""Applications as classes, and their choice by path."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

__all__ = ["Resource", "WebSocketApplication"]


class WebSocketApplication:
    """The base class of applications: derive from it, and give the class to a `Resource`.

    `ws` is the `WebSocket`. A class that sets `subprotocols`, names in order of preference, agrees
    with the client on one of them, which is then `ws.protocol`.
    """

    subprotocols: ClassVar[tuple[str, ...]] = ()

    def __init__(self, ws: Any) -> None:
        self.ws = ws

    @classmethod
    def protocol_name(cls) -> str:
        """The preferred subprotocol, or an empty text."""
        return cls.subprotocols[0] if cls.subprotocols else ""

    def handle(self) -> None:
        """Serve the connection: call `on_open()`, `on_message()` for each message, `on_close()`."""
        self.on_open()
        message: str | bytearray | None = ""
        while message is not None and not self.ws.closed:
            message = self.ws.receive()
            self.on_message(message)
        self.on_close(None)

    def on_open(self, *args: Any, **kwargs: Any) -> None:
        """Handle the beginning of the connection."""

    def on_message(self, message: str | bytearray | None, *args: Any, **kwargs: Any) -> None:
        """Handle a message, a str or a bytearray. None means that the connection is over."""

    def on_close(self, *args: Any, **kwargs: Any) -> None:
        """Handle the end of the connection. The argument is the reason, which is always None."""


class Resource:
    """A WSGI application that chooses another application by the path.

    `apps` is a list of pairs of a pattern and an application, or a dictionary of them, tried in
    order: a regular expression that the beginning of the path must match, and a subclass of
    `WebSocketApplication` for WebSockets or a WSGI application for anything else. A request
    that matches no pattern is answered with 404.
    """

    def __init__(self, apps: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None) -> None:
        self.apps: Any = apps if apps is not None else []

    def _pairs(self) -> list[tuple[str, Any]]:
        return list(self.apps.items() if hasattr(self.apps, "items") else self.apps)

    def find(self, path: str, websocket: bool) -> Any:
        """Return the application for a path, one for WebSockets or another, or None."""
        for pattern, app in self._pairs():
            is_websocket = isinstance(app, type) and issubclass(app, WebSocketApplication)
            if is_websocket == websocket and re.match(pattern, path):
                return app
        return None

    def app_protocol(self, path: str) -> str:
        """Return the subprotocol that the application for a path prefers, or an empty text."""
        app = self.find(path, True)
        return app.protocol_name() if app is not None else ""

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        ws = environ.get("wsgi.websocket")
        app = self.find(environ["PATH_INFO"], ws is not None)
        if app is None:
            body = b"Not Found"
            start_response(
                "404 Not Found",
                [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))],
            )
            return [body]
        if ws is None:
            response: Iterable[bytes] = app(environ, start_response)
            return response
        application = app(ws)
        client = getattr(ws.handler, "active_client", None)
        if client is not None:
            client.application = application
        application.handle()
        return []
