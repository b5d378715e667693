"""WebSockets (RFC 6455): a handler for `gevent.pywsgi`, applications by path, and a client.

The names are those of the package gevent-websocket, which this replaces::

    from gevent.websocket import Resource, WebSocketApplication, WebSocketServer

    class Echo(WebSocketApplication):
        def on_message(self, message):
            if message is not None:
                self.ws.send(message)

    WebSocketServer(("127.0.0.1", 8000), Resource([("/", Echo)])).serve_forever()

or, with a WSGI application::

    from gevent.pywsgi import WSGIServer
    from gevent.websocket import WebSocketHandler

    def echo(environ, start_response):
        ws = environ["wsgi.websocket"]
        while (message := ws.receive()) is not None:
            ws.send(message)
        return []

    WSGIServer(("127.0.0.1", 8000), echo, handler_class=WebSocketHandler).serve_forever()
"""

from gevent.websocket.client import ClientWebSocket, connect
from gevent.websocket.connection import (
    MSG_ALREADY_CLOSED,
    MSG_CLOSED,
    MSG_SOCKET_DEAD,
    WebSocket,
)
from gevent.websocket.deflate import PerMessageDeflate
from gevent.websocket.exceptions import (
    FrameTooLargeException,
    HandshakeError,
    InvalidTextError,
    ProtocolError,
    WebSocketError,
)
from gevent.websocket.handler import WebSocketHandler
from gevent.websocket.keeping import same_origin
from gevent.websocket.resource import Resource, WebSocketApplication
from gevent.websocket.server import WebSocketServer

__all__ = [
    "MSG_ALREADY_CLOSED",
    "MSG_CLOSED",
    "MSG_SOCKET_DEAD",
    "ClientWebSocket",
    "FrameTooLargeException",
    "HandshakeError",
    "InvalidTextError",
    "PerMessageDeflate",
    "ProtocolError",
    "Resource",
    "WebSocket",
    "WebSocketApplication",
    "WebSocketError",
    "WebSocketHandler",
    "WebSocketServer",
    "connect",
    "same_origin",
]
