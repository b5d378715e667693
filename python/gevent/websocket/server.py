"""A server of WebSockets."""

from gevent.pywsgi import WSGIServer
from gevent.websocket.handler import WebSocketHandler

__all__ = ["WebSocketServer"]


class WebSocketServer(WSGIServer):
    """A `WSGIServer` whose applications get WebSockets. `clients` has those that are connected."""

    handler_class = WebSocketHandler

    def __init__(self, *args, **kwargs):
        self.clients = {}
        super().__init__(*args, **kwargs)
