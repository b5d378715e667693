"""WebSockets on `gevent.pywsgi`."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Sequence
from typing import Any, ClassVar

import gevent
from gevent._core import websocket_respond
from gevent._http_tls import log_client
from gevent.pywsgi import WSGIHandler
from gevent.websocket.connection import Stream, WebSocket
from gevent.websocket.deflate import PerMessageDeflate
from gevent.websocket.exceptions import HandshakeError, WebSocketError
from gevent.websocket.keeping import ping_again_and_again, same_origin
from gevent.websocket.resource import Resource

__all__ = ["Client", "WebSocketHandler"]


class Client:
    """A connection of a server: its address, `WebSocket`, and `WebSocketApplication`."""

    def __init__(self, address: Any, ws: WebSocket) -> None:
        self.address = address
        self.ws = ws
        self.application: Any = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address!r} {self.ws!r}>"


def _ignored(status: str, headers: Any, exc_info: Any = None) -> Callable[[Any], None]:
    """The `start_response` for an application with a WebSocket. It does nothing, as the response
    was sent already.
    """
    return lambda data: None


def _tokens(value: str) -> list[str]:
    """Return the members of the list in a header field, in lower case."""
    return [token.strip() for token in value.lower().split(",")]


class WebSocketHandler(WSGIHandler):
    """A handler that turns requests for a WebSocket into one: `environ['wsgi.websocket']`.

    Give it to a `WSGIServer` as `handler_class`. Any other request is handled as usual, and has no
    such key. A subclass may set:

    - `compression`: a `PerMessageDeflate`, the most compression that is agreed to; None for no
      compression;
    - `max_message_size`: the most bytes of a message that are accepted, before and after
      decompression, and with it the most that a connection holds for its client;
    - `message_timeout`: how many seconds to wait for more of a message that has begun, None for any
      time; then the WebSocket is closed with 1008. Bytes that come extend the time, by the server's
      `min_rate`. What is sent must be taken within its `write_timeout` likewise;
    - `close_timeout`: how many seconds a client is given to take a close, answer it and end the
      connection, None for any time;
    - `ping_interval`: after how many seconds the client is sent a ping each time, None for never.
      The answer is read only while the application receives;
    - `ping_timeout`: how many seconds the answer may take; then the connection ends;
    - `allowed_origins`: the origins of pages that may connect, `"same-origin"` standing for the
      server's own; None for all. Clients that are no browsers send none, and may;
    - `prevent_wsgi_call`: True to leave the application uncalled; the subclass then uses
      `websocket` itself.
    """

    SUPPORTED_VERSIONS: ClassVar[tuple[str, ...]] = ("13", "8", "7")
    GUID: ClassVar[str] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

    compression: PerMessageDeflate | None = None
    max_message_size: int = 2**24
    message_timeout: float | None = 60.0
    close_timeout: float | None = 1.0
    ping_interval: float | None = None
    ping_timeout: float = 20.0
    allowed_origins: Collection[str] | None = None
    prevent_wsgi_call: bool = False
    websocket: WebSocket | None = None
    _client: Client | None = None

    @property
    def active_client(self) -> Client | None:
        """The `Client` of this connection, or None."""
        return self._client

    def run_application(self) -> None:
        """Turn the request into a WebSocket and call the application, or handle it as usual."""
        if not self._asks_for_websocket():
            super().run_application()
            return
        body = self.upgrade_websocket()
        if self.websocket is None:
            self.result: Any = body
            self.process_result()
        elif not self.prevent_wsgi_call:
            self.run_websocket()

    def _asks_for_websocket(self) -> bool:
        environ = self.environ
        return (
            environ["REQUEST_METHOD"] == "GET"
            and "websocket" in _tokens(environ.get("HTTP_UPGRADE", ""))
            and "upgrade" in _tokens(environ.get("HTTP_CONNECTION", ""))
        )

    def upgrade_websocket(self) -> list[bytes]:
        """Check the request for a WebSocket; accept or refuse it.

        If it is accepted, `websocket` is set, and is in the environ beside
        `wsgi.websocket_version`. If it is refused, `websocket` is None, the response is started,
        and its body is returned.
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
        limits = getattr(self.server, "write_timeout", None), getattr(self.server, "min_rate", None)
        self._send_response("101 Switching Protocols", headers)
        self.websocket = WebSocket(
            environ,
            Stream(self.socket),
            self,
            protocol=protocol,
            compression=agreed and PerMessageDeflate(*agreed),
            max_message_size=self.max_message_size,
            message_timeout=self.message_timeout,
            write_timeout=limits[0],
            close_timeout=self.close_timeout,
            min_rate=limits[1],
            received=self.rfile.read_available(),
        )
        self.server.__dict__.setdefault("_websockets", weakref.WeakSet()).add(self.websocket)
        environ["wsgi.websocket"] = self.websocket
        environ["wsgi.websocket_version"] = environ["HTTP_SEC_WEBSOCKET_VERSION"]
        return []

    def _check_request(self) -> None:
        if self.request_version != "HTTP/1.1":
            raise HandshakeError("WebSocket needs HTTP/1.1", 400)
        environ = self.environ
        if environ.get("HTTP_TRANSFER_ENCODING") or environ.get("CONTENT_LENGTH", "0") != "0":
            # The body would be taken for frames.
            raise HandshakeError("a WebSocket request must not have a body", 400)
        if not self.check_origin(environ.get("HTTP_ORIGIN")):
            raise HandshakeError("this origin is not allowed to connect", 403)
        application = self.server.application
        if isinstance(application, Resource):
            path = self.environ["PATH_INFO"]
            if application.find(path, True) is None:
                raise HandshakeError("Not Found", 404)

    def check_origin(self, origin: str | None) -> bool:
        """Return true if a page of this origin may connect; a subclass may decide.

        Browsers send any page's requests with the user's cookies, so an application that relies on
        cookies has to check the page. By default `allowed_origins` decides.
        """
        allowed = self.allowed_origins
        if allowed is None or origin is None or origin in allowed:
            return True
        return "same-origin" in allowed and same_origin(self.environ)

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
        reasons = {
            400: "Bad Request",
            403: "Forbidden",
            404: "Not Found",
            426: "Upgrade Required",
        }
        body = str(error).encode()
        self.close_connection: bool = True
        self.start_response(
            f"{error.status} {reasons[error.status]}",  # type: ignore[index]
            [
                *error.headers,
                ("Content-Type", "text/plain"),
                ("Content-Length", str(len(body))),
                ("Connection", "close"),
            ],
        )
        return [body]

    def _send_response(self, status: str, headers: list[tuple[str, str]]) -> None:
        """Send exactly this head of a response, and end HTTP on this connection."""
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers), "", ""]
        data = "\r\n".join(lines).encode("latin-1")
        self.status: Any = status
        self.response_headers = headers
        self.headers_sent = True
        self.close_connection = True
        self._sendall(data)
        self._leave_http()
        self.response_length: int = len(data)

    def run_websocket(self) -> None:
        """Call the application, then close what it left open and wait for the client to close."""
        ws = self.websocket
        assert ws is not None
        clients = self.server.__dict__.setdefault("clients", {})
        self._client = Client(self.client_address, ws)
        # Clients of a Unix socket have no address of their own.
        key = self.client_address or (self.client_address, id(self._client))
        clients[key] = self._client
        pinging = None
        if self.ping_interval is not None:
            pinging = gevent.spawn(ping_again_and_again, ws, self.ping_interval, self.ping_timeout)
        code, timeout = 1000, self.close_timeout
        try:
            self._call_application()
        except WebSocketError as error:
            # An application notices that its client has left by an error in sending, which is no
            # fault to report.
            if not ws.closed or type(error) is not WebSocketError:
                code = 1011
                raise
        except Exception:
            code = 1011
            raise
        except BaseException:
            # The server stops: the close says so, but no answer is waited for.
            code, timeout = 1001, 0
            raise
        finally:
            clients.pop(key, None)
            if pinging is not None:
                pinging.kill(block=False)
            with gevent.Timeout(timeout, False):
                ws.close(code)
                ws.wait_closed()
                ws._connection.drop_rest()
            if ws.ended_by is not None:
                self._log_end(ws, "ended by the server")
            self._client = self.websocket = None
            ws._connection_over()

    def _call_application(self) -> None:
        """Call the application, iterate over its result, and close the result."""
        result = self.server.application(self.environ, _ignored)
        if result is None:
            return
        try:
            for _ in result:
                pass
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

    def _log_end(self, ws: WebSocket, text: str) -> None:
        limit = f" ({ws.ended_by})" if ws.ended_by else ""
        ws.ended_by = None
        log_client(
            self.server.error_log, f"(from {self.client_address!r}) WebSocket: {text}{limit}\n"
        )
