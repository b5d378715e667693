"""WebSockets on `gevent.pywsgi`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import gevent
from gevent._core import websocket_respond
from gevent.pywsgi import WSGIHandler
from gevent.websocket.connection import Stream, WebSocket
from gevent.websocket.deflate import PerMessageDeflate
from gevent.websocket.exceptions import HandshakeError, WebSocketError
from gevent.websocket.resource import Resource

__all__ = ["Client", "WebSocketHandler"]


class Client:
    """A connection that a server has: its address, `WebSocket`, and `WebSocketApplication`."""

    def __init__(self, address: Any, ws: WebSocket) -> None:
        self.address = address
        self.ws = ws
        self.application: Any = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address!r} {self.ws!r}>"


def _ignored(status: str, headers: Any, exc_info: Any = None) -> Callable[[Any], None]:
    """The `start_response` of an application that has a WebSocket: the response was sent."""
    return lambda data: None


class WebSocketHandler(WSGIHandler):
    """A handler that turns requests for a WebSocket into one: `environ['wsgi.websocket']`.

    Give it to a `WSGIServer` as `handler_class`. Any other request is handled as usual, and has no
    such key. A subclass may set:

    - `compression`: a `PerMessageDeflate` that messages are compressed with at most, None for not
      at all;
    - `max_message_size`: the most bytes of a message that are accepted, before and after
      decompression;
    - `close_timeout`: how many seconds a client is given to take a close and answer it, None for
      any time;
    - `prevent_wsgi_call`: whether the application is left uncalled; `websocket` is there for
      whoever wants to go on with it.
    """

    SUPPORTED_VERSIONS: ClassVar[tuple[str, ...]] = ("13", "8", "7")
    GUID: ClassVar[str] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

    compression: PerMessageDeflate | None = None
    max_message_size: int = 2**24
    close_timeout: float | None = 1.0
    prevent_wsgi_call: bool = False
    websocket: WebSocket | None = None

    @property
    def active_client(self) -> Client | None:
        """The `Client` of this connection, or None."""
        return getattr(self.server, "clients", {}).get(self.client_address)

    def run_application(self) -> None:
        """Turn the request into a WebSocket and call the application, or handle it as usual."""
        if not self._asks_for_websocket():
            super().run_application()
            return
        body = self.upgrade_websocket()
        if self.websocket is None:
            self.result = body
            self.process_result()
        elif not self.prevent_wsgi_call:
            self.run_websocket()

    def _asks_for_websocket(self) -> bool:
        environ = self.environ
        return (
            environ.get("HTTP_UPGRADE", "").lower() == "websocket"
            and environ["REQUEST_METHOD"] == "GET"
            and "upgrade" in map(str.strip, environ.get("HTTP_CONNECTION", "").lower().split(","))
        )

    def upgrade_websocket(self) -> list[bytes]:
        """Judge the request; agree, or refuse.

        Afterwards `websocket` is there, and in the environ with `wsgi.websocket_version`; or it is
        None and the response is started, whose body this returns.
        """
        environ = self.environ
        try:
            self._check_request()
            accept, extensions, agreed = websocket_respond(
                environ.get("HTTP_SEC_WEBSOCKET_KEY"),
                environ.get("HTTP_SEC_WEBSOCKET_VERSION"),
                environ.get("HTTP_SEC_WEBSOCKET_EXTENSIONS"),
                self.compression,
            )
        except HandshakeError as error:
            return self._refuse(error)
        headers = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", accept),
        ]
        protocol = self.choose_protocol(self._offered_protocols())
        if protocol:
            headers.append(("Sec-WebSocket-Protocol", protocol))
        if extensions:
            headers.append(("Sec-WebSocket-Extensions", extensions))
        self._send_response("101 Switching Protocols", headers)
        self.websocket = WebSocket(
            environ,
            Stream(self.socket),
            self,
            protocol=protocol,
            compression=agreed and PerMessageDeflate(*agreed),
            max_message_size=self.max_message_size,
            received=self.rfile.read_available(),
        )
        environ["wsgi.websocket"] = self.websocket
        environ["wsgi.websocket_version"] = environ["HTTP_SEC_WEBSOCKET_VERSION"]
        return []

    def _check_request(self) -> None:
        if self.request_version != "HTTP/1.1":
            raise HandshakeError("WebSocket needs HTTP/1.1", 400)
        application = self.server.application
        if isinstance(application, Resource):
            path = self.environ["PATH_INFO"]
            if application.find(path, True) is None:
                raise HandshakeError("Not Found", 404)

    def _offered_protocols(self) -> list[str]:
        offered = self.environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", "").split(",")
        return [name.strip() for name in offered if name.strip()]

    def choose_protocol(self, offered: Sequence[str]) -> str | None:
        """Choose one of the subprotocols that the client offers, or None; a subclass may do so.

        With a `Resource`, the application's own order decides.
        """
        application = self.server.application
        if isinstance(application, Resource):
            app = application.find(self.environ["PATH_INFO"], True)
            return next((name for name in app.subprotocols if name in offered), None)
        return None

    def _refuse(self, error: HandshakeError) -> list[bytes]:
        reasons = {400: "Bad Request", 404: "Not Found", 426: "Upgrade Required"}
        body = str(error).encode()
        self.close_connection = True
        self.start_response(
            f"{error.status} {reasons[error.status]}",
            [
                *error.headers,
                ("Content-Type", "text/plain"),
                ("Content-Length", str(len(body))),
                ("Connection", "close"),
            ],
        )
        return [body]

    def _send_response(self, status: str, headers: list[tuple[str, str]]) -> None:
        """Send a head that nothing is added to, and be done with HTTP on this connection."""
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers), "", ""]
        data = "\r\n".join(lines).encode("latin-1")
        self.status = status
        self.response_headers = headers
        self.headers_sent = True
        self.close_connection = True
        self.socket.sendall(data)
        self.response_length = len(data)

    def run_websocket(self) -> None:
        """Call the application, then close what it left open and wait for the client to close."""
        ws = self.websocket
        clients = self.server.__dict__.setdefault("clients", {})
        clients[self.client_address] = Client(self.client_address, ws)
        code, patience = 1000, self.close_timeout
        try:
            for _ in self.server.application(self.environ, _ignored) or ():
                pass
        except Exception as error:
            # Sending to a client that has left is how an application comes to know of it.
            if ws.close_code is None or type(error) is not WebSocketError:
                code = 1011
                raise
        except BaseException:
            # The server stops: it says so, but does not wait for anybody.
            code, patience = 1001, 0
            raise
        finally:
            clients.pop(self.client_address, None)
            with gevent.Timeout(patience, False):
                ws.close(code)
                ws.wait_closed()
            self.environ["wsgi.websocket"] = None
