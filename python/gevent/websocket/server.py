"""A server of WebSockets."""

from __future__ import annotations

from typing import Any

from gevent.pywsgi import WSGIServer
from gevent.websocket.handler import Client, WebSocketHandler

__all__ = ["WebSocketServer"]


class WebSocketServer(WSGIServer):
    """A `WSGIServer` whose applications get WebSockets. `clients` has the connected ones."""

    handler_class: Any = WebSocketHandler

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Make a server; the arguments are those of `WSGIServer`."""
        self.clients: dict[Any, Client] = {}
        super().__init__(*args, **kwargs)
