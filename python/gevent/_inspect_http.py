"""The HTTP server of a view: small answers over many connections, without waiting for any.

Everything happens in :meth:`HttpService.step`, which a native thread calls in a loop, or a process
that has other descriptors to watch when :meth:`HttpService.fileno` becomes readable. A client that
sends slowly, reads slowly or is silent takes one of a bounded number of connections and has a
deadline, so it delays no other client.
"""

from __future__ import annotations

import errno
import socket as _socket
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from gevent.monkey import get_original

__all__ = ["Answer", "HttpService", "Request", "encode_answer"]

#: The longest request head that is read, in bytes.
_LONGEST_HEAD = 8192
#: The seconds in which a head must have come, and in which an answer must have been taken.
_HEAD_WITHIN = 5.0
_TAKEN_WITHIN = 10.0
#: The most seconds and bytes for which a client that still sends is read from after its answer. An
#: immediate close would reset the connection, and the client could lose the answer.
_LINGER = 1.0
_LINGER_BYTES = 1 << 20
#: The most connections at a time. A further one closes the oldest.
_MOST = 64
#: The seconds in which no connection is accepted after the process ran out of descriptors.
_PAUSE = 1.0

_REASONS = {
    200: "OK",
    202: "Accepted",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}

_EPOLLIN = 0x001
_EPOLLOUT = 0x004


class Answer(NamedTuple):
    """The answer to a request."""

    status: int
    #: The media type of the body.
    kind: str
    body: bytes


class Request(NamedTuple):
    """The head of a request; bodies are not read."""

    method: str
    path: str
    query: dict[str, list[str]]
    #: The token of the ``Authorization`` field or else of the query; empty where there is none.
    token: str
    #: True if the token came in the field, which no link and no form of another site can set.
    token_in_field: bool


def encode_answer(answer: Answer) -> bytes:
    """Return the bytes of an HTTP/1.1 response that closes its connection."""
    status, kind, body = answer
    reason = _REASONS.get(status, "Unknown")
    fields = (
        f"HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\nCache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
        "X-Frame-Options: DENY\r\n\r\n"
    )
    return fields.encode() + body


def _refusal(status: int, text: str) -> Answer:
    return Answer(status, "text/plain", f"{text}\n".encode())


def _parse(head: bytes) -> Request | None:
    """Parse *head* as a request; return ``None`` if it is not HTTP."""
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[0].isalpha() or not words[2].startswith("HTTP/1."):
        return None
    try:
        target = urlsplit(words[1])
        query = parse_qs(target.query, keep_blank_values=True)
    except ValueError:
        return None
    token, in_field = query.get("token", [""])[0], False
    for field in lines[1:]:
        name, _, value = field.partition(":")
        if name.lower() == "authorization":
            token, in_field = value.strip().removeprefix("Bearer ").strip(), True
    return Request(words[0], target.path, query, token, in_field)


class _Connection:
    """One client: its socket, the received bytes, the bytes to send, and its deadline."""

    __slots__ = ("deadline", "ending", "head", "lingered", "out", "socket")

    def __init__(self, socket: Any, now: float) -> None:
        self.socket = socket
        self.head = bytearray()
        self.out = b""
        #: True once the answer has gone out and the client's end is awaited.
        self.ending = False
        self.lingered = 0
        self.deadline = now + _HEAD_WITHIN


class HttpService:
    """Answers the requests that come to a listening socket.

    :param listener: A listening socket of the standard library's, which becomes the service's.
    :param respond: Called with each :class:`Request` and a function that takes the connection's
        socket away from the service. Returns the :class:`Answer`, or ``None`` where it took the
        socket. It may take some time, but must not wait for a client.
    """

    def __init__(
        self,
        listener: Any,
        respond: Callable[[Request, Callable[[], Any]], Answer | None],
    ) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._respond = respond
        self._epoll = get_original("select", "epoll")()
        self._epoll.register(listener.fileno(), _EPOLLIN)
        #: The connections by descriptor, the oldest first.
        self._connections: dict[int, _Connection] = {}
        self._paused_until: float | None = None

    def __len__(self) -> int:
        """Return how many connections there are."""
        return len(self._connections)

    def fileno(self) -> int:
        """Return the descriptor that is readable when :meth:`step` has something to do."""
        return int(self._epoll.fileno())

    def timeout(self) -> float | None:
        """Return the seconds until :meth:`step` must be called in any case, ``None`` for never."""
        deadlines = [one.deadline for one in self._connections.values()]
        if self._paused_until is not None:
            deadlines.append(self._paused_until)
        return max(0.0, min(deadlines) - perf_counter()) if deadlines else None

    def step(self, timeout: float | None = 0.0) -> None:
        """Do what can be done now, after waiting for something to do for *timeout* seconds."""
        limit = self.timeout()
        if limit is not None:
            timeout = limit if timeout is None else min(limit, timeout)
        events = self._epoll.poll(-1 if timeout is None else timeout)
        for number, _ in events:
            connection = self._connections.get(number)
            if connection is not None:
                self._go_on(connection)
            elif number == self._listener.fileno():
                self._accept()
        self._expire()

    def close(self) -> None:
        """Close everything. A forked child may call it too: its parent's service goes on."""
        # The descriptors are not unregistered, as a child of a fork shares the epoll set with its
        # parent.
        for connection in self._connections.values():
            connection.socket.close()
        self._connections.clear()
        self._epoll.close()
        self._listener.close()

    def _expire(self) -> None:
        now = perf_counter()
        if self._paused_until is not None and now >= self._paused_until:
            self._paused_until = None
            self._epoll.modify(self._listener.fileno(), _EPOLLIN)
        for connection in list(self._connections.values()):
            if connection.deadline > now:
                continue
            if connection.head and not connection.out and not connection.ending:
                self._answer(connection, _refusal(408, "the request took too long"))
            else:
                self._end(connection)

    def _accept(self) -> None:
        # Only a few are accepted at a time, so that answers are sent in between.
        for _ in range(16):
            try:
                socket, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._pause()
                    return
                if error.errno in (errno.EBADF, errno.EINVAL):
                    # The listener was shut down.
                    return
                # That client has closed its connection already.
                continue
            socket.setblocking(False)
            if len(self._connections) >= _MOST:
                self._end(next(iter(self._connections.values())))
            self._epoll.register(socket.fileno(), _EPOLLIN)
            connection = _Connection(socket, perf_counter())
            self._connections[socket.fileno()] = connection
            # Most clients send their request immediately.
            self._go_on(connection)

    def _pause(self) -> None:
        self._paused_until = perf_counter() + _PAUSE
        self._epoll.modify(self._listener.fileno(), 0)

    def _go_on(self, connection: _Connection) -> None:
        try:
            if connection.ending:
                self._linger(connection)
            elif connection.out:
                self._send(connection)
            else:
                self._receive(connection)
        except BlockingIOError:
            pass
        except OSError:
            self._end(connection)

    def _receive(self, connection: _Connection) -> None:
        data = connection.socket.recv(4096)
        if not data:
            self._end(connection)
            return
        connection.head += data
        head, end, _ = connection.head.partition(b"\r\n\r\n")
        if not connection.head[:1].isalpha():
            self._answer(connection, _refusal(400, "the view speaks HTTP"))
        elif len(head) > _LONGEST_HEAD:
            self._answer(connection, _refusal(431, "the request is too long"))
        elif end:
            request = _parse(bytes(head))
            if request is None:
                self._answer(connection, _refusal(400, "the view speaks HTTP"))
            else:
                self._handle(connection, request)

    def _handle(self, connection: _Connection, request: Request) -> None:
        try:
            answer = self._respond(request, lambda: self._take(connection))
        except Exception as error:
            # An error of the view must not reach the program, so it becomes the answer.
            answer = _refusal(500, f"the view failed: {error!r}")
        if answer is not None:
            self._answer(connection, answer)

    def _take(self, connection: _Connection) -> Any:
        del self._connections[connection.socket.fileno()]
        self._epoll.unregister(connection.socket.fileno())
        return connection.socket

    def _answer(self, connection: _Connection, answer: Answer) -> None:
        connection.out = encode_answer(answer)
        connection.deadline = perf_counter() + _TAKEN_WITHIN
        try:
            self._send(connection)
        except BlockingIOError:
            self._epoll.modify(connection.socket.fileno(), _EPOLLOUT)
        except OSError:
            self._end(connection)

    def _send(self, connection: _Connection) -> None:
        while connection.out:
            sent = connection.socket.send(connection.out)
            connection.out = connection.out[sent:]
        connection.ending = True
        connection.deadline = perf_counter() + _LINGER
        connection.socket.shutdown(_socket.SHUT_WR)
        self._epoll.modify(connection.socket.fileno(), _EPOLLIN)

    def _linger(self, connection: _Connection) -> None:
        data = connection.socket.recv(65536)
        connection.lingered += len(data)
        if not data or connection.lingered > _LINGER_BYTES:
            self._end(connection)

    def _end(self, connection: _Connection) -> None:
        number = connection.socket.fileno()
        if self._connections.get(number) is connection:
            del self._connections[number]
            with suppress(OSError):
                self._epoll.unregister(number)
        connection.socket.close()
