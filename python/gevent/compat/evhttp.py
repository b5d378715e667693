"""The HTTP server of libevent that ``gevent.core`` had, over :mod:`gevent.pywsgi`.

A handler gets an :class:`http_request` and answers by its methods, at once or later. Where Python 2
had strings, text may be ``str``, which is sent in UTF-8, or ``bytes``; what comes is ``bytes`` in
:attr:`http_request.input_buffer` and ``str`` elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from http.client import responses
from typing import Any
from urllib.parse import quote
from weakref import WeakSet

from gevent._core import get_hub
from gevent.compat.evbuffer import buffer
from gevent.pywsgi import WSGIServer
from gevent.queue import SimpleQueue
from gevent.socket import socket

__all__ = ["application", "http", "http_connection", "http_request"]

_TYPES = {"GET": 0, "POST": 1, "HEAD": 2, "PUT": 3, "DELETE": 4}
_REQUEST = 0

_Headers = list[tuple[str, str]]


#: The types that a part of a reply may have.
Body = str | bytes | buffer | None


def _bytes(body: Body) -> bytes:
    """Return what is to be sent of *body*; a buffer is drained, as libevent does.

    :raises TypeError: It is of another type.
    """
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, buffer):
        return body.read()
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    if body is None:
        return b""
    kind = type(body).__name__
    raise TypeError(f"a reply must consist of str, bytes, a gevent.core.buffer or None, not {kind}")


class http_connection:
    """The connection that a request came over.

    :param peer: The host and the port of the client.
    """

    def __init__(self, peer: tuple[str, int]) -> None:
        #: The host and the port of the client.
        self.peer = peer

    def __repr__(self) -> str:
        return f"<http_connection at {id(self):#x} peer={self.peer}>"


class http_request:
    """A request, and the reply to it. One that is dropped without a reply is answered with 500.

    :param environ: The WSGI environment of the request.
    :param send: Called with the status and the headers of the reply, each part of its body, and
        ``None`` at the end.
    :param default_response_headers: The header fields of a reply that does not set them itself.
    """

    #: The kind of the message: a request, and not a response.
    kind = _REQUEST

    def __init__(
        self,
        environ: dict[str, Any],
        send: Callable[[Any], object],
        default_response_headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        self._environ: dict[str, Any] | None = environ
        self._input_headers: _Headers = [
            (key[5:].replace("_", "-").title(), value)
            for key, value in environ.items()
            if key.startswith("HTTP_")
        ]
        for key in "CONTENT_TYPE", "CONTENT_LENGTH":
            if environ.get(key):
                self._input_headers.append((key.replace("_", "-").title(), environ[key]))
        self._output_headers: _Headers = []
        #: Headers that the reply has unless :meth:`add_output_header` was called for them.
        self.default_response_headers: list[tuple[str, str]] = list(default_response_headers)
        #: The status of the reply, 0 before it.
        self.response_code: int = 0
        #: The reason of the reply.
        self.response_code_line: str = ""
        #: True if the body of the reply is sent in pieces.
        self.chunked: bool = False
        #: The request as the client sent it.
        self.input_buffer: buffer = buffer(environ["wsgi.input"].read())
        #: The beginning of the reply's body.
        self.output_buffer: buffer = buffer()
        # This is set last, as a request that could not be made must get no reply.
        self._send: Callable[[Any], object] | None = send

    def __del__(self) -> None:
        if getattr(self, "_send", None) is not None and not self.response_code:
            self.send_error(500)

    def detach(self) -> None:
        """Let go of the request: nothing more is read or sent, and there is no reply."""
        self._send = self._environ = None
        self.input_buffer.detach()
        self.output_buffer.detach()

    def _item(self, key: str, default: Any = "") -> Any:
        return default if self._environ is None else self._environ.get(key, default)

    @property
    def typestr(self) -> str:
        """The method: ``"GET"``, ``"POST"`` …"""
        method: str = self._item("REQUEST_METHOD")
        return method

    @property
    def type(self) -> int:
        """The method as libevent numbers it; -1 if it does not."""
        return _TYPES.get(self.typestr, -1)

    @property
    def uri(self) -> str:
        """The target of the request: its path, quoted, and its query."""
        path = quote(self._item("PATH_INFO").encode("latin-1"), safe="/;=,:@&+$!*'()~")
        query = self._item("QUERY_STRING")
        return f"{path}?{query}" if query else path

    @property
    def version(self) -> tuple[int, int]:
        """The version of HTTP, :attr:`major` and :attr:`minor`."""
        major, _, minor = (
            self._item("SERVER_PROTOCOL", "HTTP/1.0").removeprefix("HTTP/").partition(".")
        )
        return int(major), int(minor or 0)

    @property
    def major(self) -> int:
        """The first number of :attr:`version`."""
        return self.version[0]

    @property
    def minor(self) -> int:
        """The second number of :attr:`version`."""
        return self.version[1]

    @property
    def remote_host(self) -> str:
        """The address of the client."""
        address: str = self._item("REMOTE_ADDR")
        return address

    @property
    def remote_port(self) -> int:
        """The port of the client."""
        return int(self._item("REMOTE_PORT") or 0)

    @property
    def remote(self) -> tuple[str, int]:
        """The address and the port of the client."""
        return self.remote_host, self.remote_port

    @property
    def connection(self) -> http_connection:
        """The connection that the request came over."""
        return http_connection(self.remote)

    @property
    def response(self) -> tuple[int, str]:
        """The status and the reason of the reply."""
        return self.response_code, self.response_code_line

    def get_input_headers(self) -> _Headers:
        """Return the headers of the request, pairs of name and value."""
        return list(self._input_headers)

    def get_output_headers(self) -> _Headers:
        """Return the headers that the reply will have, pairs of name and value."""
        return list(self._output_headers)

    def find_input_header(self, key: str) -> str | None:
        """Return a header of the request, ``None`` without one."""
        return _find(self._input_headers, key)

    def find_output_header(self, key: str) -> str | None:
        """Return a header of the reply, ``None`` without one."""
        return _find(self._output_headers, key)

    def add_input_header(self, key: str, value: str) -> None:
        """Add a header to the request."""
        self._input_headers.append((key, value))

    def add_output_header(self, key: str, value: str) -> None:
        """Add a header to the reply."""
        self._output_headers.append((key, str(value)))

    def remove_input_header(self, key: str) -> bool:
        """Remove a header of the request; return whether there was one."""
        return _remove(self._input_headers, key)

    def remove_output_header(self, key: str) -> bool:
        """Remove a header of the reply; return whether there was one."""
        return _remove(self._output_headers, key)

    def clear_input_headers(self) -> None:
        """Remove all headers of the request."""
        self._input_headers.clear()

    def clear_output_headers(self) -> None:
        """Remove all headers of the reply."""
        self._output_headers.clear()

    def _begin(self, code: int, reason: str | None) -> None:
        for key, value in self.default_response_headers:
            if self.find_output_header(key) is None:
                self.add_output_header(key, value)
        self.response_code = code
        self.response_code_line = responses.get(code, "") if reason is None else reason
        if self._send is not None:
            self._send((f"{code} {self.response_code_line}", self._output_headers))

    def _part(self, data: bytes | None) -> None:
        if self._send is not None:
            self._send(data)
            if data is None:
                self._send = None

    def send_reply(self, code: int, reason: str | None = None, body: Body = None) -> None:
        """Reply with a status, its reason and a body, after what :attr:`output_buffer` has."""
        data = self.output_buffer.read() + _bytes(body)
        if self.find_output_header("Content-Length") is None:
            self.add_output_header("Content-Length", str(len(data)))
        self._begin(code, reason)
        if data:
            self._part(data)
        self._part(None)

    def send_error(self, code: int, reason: str | None = None) -> None:
        """Reply with a status and a page that names it."""
        reason = responses.get(code, "") if reason is None else reason
        self.add_output_header("Content-Type", "text/html")
        self.send_reply(code, reason, f"<html><body><h1>{code} {reason}</h1></body></html>")

    def send_reply_start(self, code: int, reason: str | None = None) -> None:
        """Begin a reply whose body is sent by :meth:`send_reply_chunk`."""
        self.chunked = True
        self._begin(code, reason)

    def send_reply_chunk(self, data: Body) -> None:
        """Send a part of the body."""
        part = _bytes(data)
        if part:
            self._part(part)

    def send_reply_end(self) -> None:
        """End a reply that :meth:`send_reply_start` began."""
        self._part(None)

    def __repr__(self) -> str:
        major, minor = self.version
        return (
            f"<http_request at {id(self):#x} {self.typestr} {self.uri} HTTP/{major}.{minor} "
            f"from {self.remote_host}:{self.remote_port} code={self.response_code}>"
        )


def _find(headers: _Headers, key: str) -> str | None:
    return next((value for name, value in headers if name.lower() == key.lower()), None)


def _remove(headers: _Headers, key: str) -> bool:
    kept = [(name, value) for name, value in headers if name.lower() != key.lower()]
    removed = len(kept) < len(headers)
    headers[:] = kept
    return removed


def application(
    handle: Callable[[http_request], object],
    default_response_headers: Iterable[tuple[str, str]],
    spawn: Callable[..., object] | None = None,
    full: Callable[[], bool] = bool,
) -> Callable[..., Iterator[bytes]]:
    """Return a WSGI application that passes requests on to *handle* and waits for their replies.

    :param spawn: A function that calls *handle* for each request; ``None`` calls it directly.
    :param full: True if no more can be spawned now; a request is answered with 503 then.
    """

    def respond(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        reply: SimpleQueue = SimpleQueue()
        # No reference is kept: a request that can no longer be answered is then freed, and answered
        # with 500.
        if full():
            http_request(environ, reply.put, default_response_headers).send_error(503)
        elif spawn is None:
            handle(http_request(environ, reply.put, default_response_headers))
        else:
            spawn(handle, http_request(environ, reply.put, default_response_headers))
        start_response(*reply.get())
        while (part := reply.get()) is not None:
            yield part

    return respond


class http:
    """An HTTP server that calls *handle*, in the hub, with each request.

    :param handle: Called with an :class:`http_request`; it must not block.
    :param default_response_headers: The header fields of every reply.
    """

    def __init__(
        self,
        handle: Callable[[http_request], object],
        default_response_headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        if not callable(handle):
            raise TypeError(f"handle must be callable, not {handle!r}")
        #: The function that is called with each request.
        self.handle = handle
        #: The header fields of every reply.
        self.default_response_headers: list[tuple[str, str]] = list(default_response_headers)
        # Weakly, as a request that nobody holds any more is answered with an error.
        self._requests: WeakSet[http_request] = WeakSet()
        self._servers: list[WSGIServer] = []

    @property
    def requests(self) -> set[http_request]:
        """The requests that came and were not yet replied to."""
        return {request for request in self._requests if request._send is not None}

    def _begin(self, request: http_request) -> None:
        self._requests.add(request)
        get_hub().loop.run_callback(self.handle, request)

    def _serve(self, listener: Any) -> WSGIServer:
        serve = application(self._begin, self.default_response_headers)
        server = WSGIServer(listener, serve, log=None)
        server.start()
        self._servers.append(server)
        return server

    def bind(self, address: str = "127.0.0.1", port: int = 80) -> tuple[str, int]:
        """Listen at an address; return it, with the port that was chosen if *port* is 0."""
        bound: tuple[str, int] = self._serve((address, port)).address
        return bound

    def accept(self, fd: int) -> None:
        """Serve the connections that come to *fd*, a socket that listens and stays the caller's."""
        self._serve(socket(fileno=os.dup(fd)))

    def close(self) -> None:
        """Stop listening."""
        while self._servers:
            self._servers.pop().stop()
