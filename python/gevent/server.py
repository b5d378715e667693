"""TCP, TLS and UDP servers."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, SO_REUSEADDR, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

from gevent import socket as _socket  # noqa: F401
from gevent._config import config
from gevent._socket3 import socket as GeventSocket
from gevent.baseserver import _OWN_STEPS as _BASE_STEPS
from gevent.baseserver import BaseServer
from gevent.lock import Semaphore

__all__ = ["DatagramServer", "StreamServer"]


def _bound(address: Any, kind: int, reuse_addr: int | None, family: int | None) -> GeventSocket:
    """Return a new socket that is bound to *address*."""
    if family == AF_INET6 and address[0] == "":
        try:
            return _bind(("::", *address[1:]), kind, reuse_addr, AF_INET6)
        except OSError:
            # A system without IPv6.
            return _bind(address, kind, reuse_addr, AF_INET)
    return _bind(address, kind, reuse_addr, AF_INET if family is None else family)


def _bind(address: Any, kind: int, reuse_addr: int | None, family: int) -> GeventSocket:
    sock = GeventSocket(family, kind)
    try:
        if reuse_addr is not None:
            sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, reuse_addr)
        sock.bind(address)
    except OSError as failure:
        sock.close()
        if failure.strerror:
            failure.strerror = f"{failure.strerror}: {address!r}"
        raise
    except BaseException:
        sock.close()
        raise
    return sock


class _Backlog:
    """The most connections that may wait to be accepted, unless a class or a server says
    otherwise."""

    def __get__(self, server: StreamServer | None, kind: type[StreamServer]) -> int:
        return 256 if config.compat else 128


def _wrapping(context: Any) -> Callable[..., Any]:
    """Return what wraps connections by *context*, so that only the connection's greenlet waits.

    A context of the standard library in a process that is not patched makes sockets that stop the
    whole process. Its settings are used for sockets of :mod:`gevent.ssl`.

    :raises TypeError: It is to make sockets of a class of the program's own that would do so.
    """
    import ssl

    from gevent._sslcontext import SSLContext
    from gevent._sslsocket import SSLSocket

    if not isinstance(context, ssl.SSLContext) or isinstance(context, SSLContext):
        return context.wrap_socket
    stdlib: Any = SSLContext.__mro__[1]
    if type(context).wrap_socket is not stdlib.wrap_socket:
        # The program's own way of wrapping.
        return context.wrap_socket
    made = context.sslsocket_class
    if issubclass(made, SSLSocket):
        return context.wrap_socket
    if made.__module__ != "ssl":
        raise TypeError(
            f"{made!r} would stop the whole process while it waits: derive it from "
            "gevent.ssl.SSLSocket, or use a gevent.ssl.SSLContext"
        )
    return partial(_wrap_by, context)


def _wrap_by(context: Any, sock: Any, session: Any = None, **settings: Any) -> Any:
    """Return the connection of *sock* with TLS, by a context of any class."""
    from gevent._sslsocket import SSLSocket

    return SSLSocket(sock=sock, _context=context, _session=session, **settings)


class StreamServer(BaseServer):
    """A server for connections: calls its handler with a socket and the client's address.

    With any *ssl_args*, connections are wrapped in TLS, which is negotiated in the handler's
    greenlet.

    :param listener: See :class:`gevent.baseserver.BaseServer`; a Unix socket is given as such.
    :param handle: ``handle(socket, address)``. An error in it ends that connection alone.
    :param backlog: The most connections that may wait to be accepted, 128 by default, or 256 by the
        setting ``compat``; only with an address.
    :param spawn: See :class:`gevent.baseserver.BaseServer`.
    :param ssl_args: ``ssl_context``, an :class:`gevent.ssl.SSLContext` or one of the standard
        library, and what its method ``wrap_socket`` takes; or what
        :func:`gevent.ssl.wrap_socket` takes.
    :raises TypeError: *backlog* is given with a socket, or *ssl_context* makes sockets of a class
        that would stop the whole process while one of them waits.

    Example::

        def echo(connection, address):
            for line in connection.makefile("rb"):
                connection.sendall(line)

        StreamServer(("127.0.0.1", 8023), echo, spawn=1000).serve_forever()
    """

    #: The most connections that may wait to be accepted, unless stated.
    backlog: int = _Backlog()  # type: ignore[assignment]
    #: The value of ``SO_REUSEADDR``; ``None`` leaves the option as it is.
    reuse_addr: int | None = 1

    def __init__(
        self,
        listener: Any,
        handle: Callable[..., Any] | None = None,
        backlog: int | None = None,
        spawn: Any = "default",
        **ssl_args: Any,
    ) -> None:
        self.ssl_args: dict[str, Any] | None = None
        if ssl_args:
            ssl_args.setdefault("server_side", True)
            context = ssl_args.pop("ssl_context", None)
            if context is None:
                # Servers without TLS need not load it.
                from gevent.ssl import wrap_socket

                self.wrap_socket: Callable[..., Any] = wrap_socket
            else:
                self.wrap_socket = _wrapping(context)
            self.ssl_args = ssl_args
        super().__init__(listener, handle=handle, spawn=spawn)
        if backlog is not None:
            if hasattr(self, "socket"):
                raise TypeError("backlog must be None when a socket instance is passed")
            self.backlog = backlog

    @property
    def ssl_enabled(self) -> bool:
        """True if connections are wrapped in TLS."""
        return self.ssl_args is not None

    def init_socket(self) -> None:
        """Make the socket, bind it and have it listen, if there is none; for :meth:`start`."""
        if not hasattr(self, "socket"):
            self.socket: Any = self.get_listener(self.address, self.backlog, self.family)
            self.address: Any = self.socket.getsockname()
        elif not isinstance(self.socket, GeventSocket):
            # One of the standard library, in which the hub must not wait.
            self.socket.setblocking(False)
        self._handle = self.wrap_socket_and_handle if self.ssl_args else self.handle

    @classmethod
    def get_listener(
        cls, address: Any, backlog: int | None = None, family: int | None = None
    ) -> GeventSocket:
        """Return a socket that listens at *address*."""
        sock = _bound(address, SOCK_STREAM, cls.reuse_addr, family)
        sock.listen(cls.backlog if backlog is None else backlog)
        return sock

    def do_read(self) -> tuple[Any, Any] | None:
        """Return the next connection and its address, ``None`` when there is none now."""
        listener = self.socket
        if isinstance(listener, GeventSocket):
            return listener._accept_now()
        try:
            fd, address = listener._accept()
        except BlockingIOError:
            return None
        kind = (listener.family, listener.type, listener.proto)
        return GeventSocket(*kind, fileno=fd), address

    def do_close(self, sock: Any, *args: Any) -> None:
        """Close the connection."""
        if sock is not None:
            sock.close()

    def wrap_socket_and_handle(self, client_socket: Any, address: Any) -> Any:
        """Negotiate TLS, then run the handler."""
        with closing(self.wrap_socket(client_socket, **(self.ssl_args or {}))) as wrapped:
            return self.handle(wrapped, address)


#: The steps as they are defined here. The engine does a step itself only while its method is
#: still this one, and neither overridden nor replaced.
_OWN_STEPS: dict[str, Any] = _BASE_STEPS | {
    name: getattr(StreamServer, name) for name in ("do_read", "do_close", "wrap_socket_and_handle")
}


class DatagramServer(BaseServer):
    """A server for messages over UDP: calls its handler with the data and the sender's address.

    The parameters are those of :class:`gevent.baseserver.BaseServer`.
    """

    #: The value of ``SO_REUSEADDR``; ``None`` leaves the option as it is.
    reuse_addr: int | None = 1

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # The handler sends by it, and may run before the constructor returns.
        self._writelock = Semaphore()
        super().__init__(*args, **kwargs)

    def init_socket(self) -> None:
        """Make the socket and bind it, if there is none; for :meth:`start`."""
        if not hasattr(self, "socket"):
            self.socket: Any = self.get_listener(self.address, self.family)
            self.address: Any = self.socket.getsockname()
        # For reading without waiting.
        self._socket = getattr(self.socket, "_sock", self.socket)

    @classmethod
    def get_listener(cls, address: Any, family: int | None = None) -> GeventSocket:
        """Return a socket that is bound to *address*."""
        return _bound(address, SOCK_DGRAM, cls.reuse_addr, family)

    def do_read(self) -> tuple[bytes, Any] | None:
        """Return the next message and its sender, ``None`` when there is none now."""
        try:
            received: tuple[bytes, Any] = self._socket.recvfrom(8192)
            return received
        except BlockingIOError:
            return None

    def sendto(self, *args: Any) -> int:
        """Send a message from the server's address: ``sendto(data[, flags], address)``."""
        with self._writelock:
            sent: int = self.socket.sendto(*args)
            return sent
