"""The client of a WebSocket."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self
from urllib.parse import unquote, urlsplit

import gevent
from gevent import socket
from gevent._core import WebSocketHandshake
from gevent.websocket.connection import Stream, WebSocket
from gevent.websocket.deflate import PerMessageDeflate
from gevent.websocket.exceptions import HandshakeError

__all__ = ["ClientWebSocket", "connect"]

PORTS = {"ws": 80, "wss": 443}


class ClientWebSocket(WebSocket):
    """The WebSocket of a client. In a `with` statement it is closed at the end."""

    _is_client: ClassVar[bool] = True

    def __init__(self, stream: Stream, *, url: str, **settings: Any) -> None:
        """Speak WebSocket over a `stream` after the handshake with `url`; see `WebSocket`."""
        super().__init__(None, stream, None, **settings)
        self.url = url

    @property
    def path(self) -> str:
        """The path of the URL."""
        return urlsplit(self.url).path or "/"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.disconnect()

    def disconnect(
        self, code: int = 1000, message: str | bytes = b"", timeout: float | None = 1.0
    ) -> None:
        """Close, give the other side `timeout` seconds to answer, and close the socket."""
        try:
            self.close(code, message)
            self.wait_closed(timeout)
        finally:
            self._connection.socket.close()
            self._connection_over()


def connect(
    url: str,
    *,
    protocols: Iterable[str] = (),
    origin: str | None = None,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    compression: PerMessageDeflate | None = None,
    max_message_size: int = 2**24,
    timeout: float | None = None,
    ssl_context: Any = None,
    sock: Any = None,
) -> ClientWebSocket:
    """Connect to a `ws:` or `wss:` URL, and return a `ClientWebSocket`.

    A user and password in the URL are sent as `Authorization`, unless `headers` has one.

    :param protocols: the subprotocols to offer, the preferred one first.
    :param origin: the `Origin` to send.
    :param headers: pairs of further header fields, or a dictionary of them; a `Host` among them is
        sent in the place of the URL's.
    :param compression: a `PerMessageDeflate` to offer.
    :param max_message_size: the most bytes of a message that are accepted.
    :param timeout: seconds for connecting and the handshake together.
    :param ssl_context: for `wss:`, a context of `gevent.ssl`; by default one that checks the
        server's certificate.
    :param sock: a connected socket to use in place of a new one.

    Raises `HandshakeError` when the server does not agree, `OSError` when it cannot be reached,
    `TimeoutError` when that takes too long, `ValueError` for a URL or a header that cannot be sent.
    """
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError(f"not a WebSocket URL: {url!r}")
    if parts.fragment:
        raise ValueError(f"a WebSocket URL has no fragment: {url!r}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = parts.port or PORTS[parts.scheme]
    fields = [*(headers.items() if hasattr(headers, "items") else headers)]
    if parts.username is not None and not any(n.lower() == "authorization" for n, _ in fields):
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        token = b64encode(user.encode()).decode()
        fields.append(("Authorization", f"Basic {token}"))
    handshake = WebSocketHandshake(
        host if port == PORTS[parts.scheme] else f"{host}:{port}",
        (parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        origin=origin,
        protocols=list(protocols),
        headers=fields,
        deflate=compression,
    )
    with gevent.Timeout(timeout, TimeoutError("timed out")):
        made = sock
        try:
            if made is None:
                made = socket.create_connection((parts.hostname, port))
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if parts.scheme == "wss":
                # An interpreter may have been built without ssl.
                from gevent import ssl

                context = ssl_context or ssl.create_default_context()
                made = context.wrap_socket(made, server_hostname=parts.hostname)
            received, protocol, agreed = _shake_hands(made, handshake)
        except BaseException:
            if made is not None:
                made.close()
            raise
    return ClientWebSocket(
        Stream(made),
        url=url,
        protocol=protocol,
        compression=agreed,
        max_message_size=max_message_size,
        received=received,
    )


def _shake_hands(
    sock: Any, handshake: WebSocketHandshake
) -> tuple[bytes, str | None, PerMessageDeflate | None]:
    """Return the bytes after the response, and the agreed subprotocol and compression."""
    sock.sendall(handshake.request)
    received = b""
    while (answer := handshake.decode(received)) is None:
        data = sock.recv(4096)
        if not data:
            raise HandshakeError("connection closed during the handshake")
        received += data
    taken, protocol, agreed = answer
    return received[taken:], protocol, agreed and PerMessageDeflate(*agreed)
