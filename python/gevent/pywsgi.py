"""A WSGI server (PEP 3333), HTTP/1.1 with or without TLS.

Differently from other servers of the standard library's kind, it is made to be exposed: requests
that could be understood in two ways are refused (see :attr:`WSGIServer.strict`), and every wait and
every size has a limit.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from _socket import AF_INET, AF_INET6, IPPROTO_TCP, TCP_NODELAY, TCP_NOTSENT_LOWAT
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from email.utils import formatdate
from typing import Any, ClassVar
from urllib.parse import unquote_to_bytes

from gevent._core import (
    FileWrapper,
    HttpService,
    WSGIHandler,
    _handle_and_close_when_done,
    serve_connection,
)
from gevent._core import Input as Input
from gevent._environ import Environ, SecureEnviron, WSGISecureEnviron
from gevent._http import InvalidClientInput as _InvalidClientInput  # noqa: F401
from gevent._http import InvalidClientRequest as _InvalidClientRequest  # noqa: F401
from gevent._http import NoopLog as _NoopLog
from gevent._http import OldMessage as OldMessage
from gevent._http import headers_factory as headers_factory
from gevent._http_tls import log_client, negotiate
from gevent._socketcommon import getfqdn
from gevent.baseserver import SHORTAGES
from gevent.server import _OWN_STEPS, StreamServer

__all__ = [
    "Environ",
    "LoggingLogAdapter",
    "SecureEnviron",
    "WSGIHandler",
    "WSGISecureEnviron",
    "WSGIServer",
]

#: The longest request line and the longest header field line, in bytes.
MAX_REQUEST_LINE = 8192


_LIKE_GEVENT = os.environ.get("GEVENT_HTTP_STRICT") == "no"


class LoggingLogAdapter:
    """Lets a :class:`logging.Logger` take the place of a log file.

    Attributes that are not its own are the logger's, for reading and setting.

    :param logger: Anything with a method ``log(level, message)``.
    :param level: The level to log at, ``logging.INFO`` by default.
    """

    __slots__ = ("_level", "_logger")

    _logger: Any
    _level: int

    def __init__(self, logger: Any, level: int = 20) -> None:
        object.__setattr__(self, "_logger", logger)
        object.__setattr__(self, "_level", level)

    def write(self, msg: str) -> None:
        """Log a message, without the newline at its end."""
        self._logger.log(self._level, msg.rstrip("\n") if msg.endswith("\n") else msg)

    def write_client(self, msg: str) -> None:
        """Log what a client did wrong, at ``logging.INFO``: any number of clients may."""
        self._logger.log(20, msg.rstrip("\n"))

    def flush(self) -> None:
        """Do nothing."""

    def writelines(self, lines: Iterable[str]) -> None:
        """Log each of the messages."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._logger, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in LoggingLogAdapter.__slots__:
            object.__setattr__(self, name, value)
        else:
            setattr(self._logger, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._logger, name)


def _log_of(log: Any, level: int) -> Any:
    """Return what messages are written to; *log* as the parameters of :class:`WSGIServer` say."""
    if log == "default":
        return sys.stderr
    if log is None:
        return _NoopLog()
    if not hasattr(log, "write") and hasattr(log, "log"):
        return LoggingLogAdapter(log, level)
    if isinstance(log, io.TextIOWrapper) and not log.line_buffering:
        # On a pipe or in a file, lines would come late, and not at all after a crash.
        with suppress(OSError, ValueError):
            log.reconfigure(line_buffering=True)
    return log


class WSGIServer(StreamServer):
    """A server for a WSGI application.

    :param listener: See :class:`gevent.baseserver.BaseServer`; a Unix socket is given as such.
    :param application: The WSGI application.
    :param backlog: See :class:`gevent.server.StreamServer`.
    :param spawn: See :class:`gevent.baseserver.BaseServer`.
    :param log: The log of requests: an object with a method ``write``, or with a method ``log``
        such as a :class:`logging.Logger`; ``None`` for none; ``"default"`` for ``sys.stderr``.
    :param error_log: The log of errors, likewise. It is ``wsgi.errors`` as well.
    :param handler_class: The class of handlers, :class:`WSGIHandler` by default.
    :param environ: Items for the environment of every request.
    :param ssl_args: See :class:`gevent.server.StreamServer`. Besides, any of the limits below, by
        its name.

    When a limit ends a connection, its name is written to :attr:`error_log`, except for
    :attr:`idle_timeout`, which is an ordinary end. No client can switch a limit off: only a ``101``
    that the application sent ends the limits of HTTP. A connection holds no more for its client
    than :attr:`max_request_line` and :attr:`max_header_bytes`, a block of 16 KB, and what the
    application reads; an idle one holds none of it. See :class:`gevent.websocket.WebSocketHandler`
    for those of WebSockets. When a pool of connections is full, or descriptors run out, the
    connection that has been idle longest is closed.

    Example::

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"hello"]

        WSGIServer(("127.0.0.1", 8000), application, max_body=1 << 20).serve_forever()
    """

    #: The class whose instances handle connections.
    handler_class: Any = WSGIHandler
    log: Any = None
    error_log: Any = None

    #: True to refuse what current rules (RFC 9112) call invalid though older servers, gevent among
    #: them, accept it: HTTP/1.1 without ``Host``, ``Content-Length`` beside chunks, header fields
    #: that go on in the next line, and control characters in chunk extensions. The environment
    #: variable ``GEVENT_HTTP_STRICT`` set to ``no`` has a process begin with ``False``; such
    #: servers also go on after a request with both, refuse to send a length with 304, take either
    #: of ``Connection: upgrade`` and ``Upgrade`` for an offer, and report broken-off uploads as
    #: errors of the application, as gevent does.
    strict: bool = not _LIKE_GEVENT
    #: The seconds that a connection may be idle; then it is closed.
    idle_timeout: float | None = 75.0
    #: The seconds that the head of a request may take as a whole, from its first byte on; then the
    #: answer is 408. The TLS handshake may take as long; then the connection ends.
    header_timeout: float | None = 30.0
    #: The seconds to wait for more of a request's body; then reading raises :class:`TimeoutError`,
    #: and the answer is 408 unless the application responds otherwise. Bytes that come extend the
    #: time, see :attr:`min_rate`.
    body_timeout: float | None = 60.0
    #: The seconds to wait for a client to take more of a response; then the connection ends. Bytes
    #: that it takes extend the time, see :attr:`min_rate`.
    write_timeout: float | None = 60.0
    #: The number of bytes, of a body that come or of a response that are taken, that extend the
    #: client's time by a second, up to the timeout. So the connection of a client that is slower
    #: than this rate in the long run ends, as that of a silent one. With ``None`` any byte restarts
    #: the timeout.
    min_rate: float | None = 100.0
    #: The seconds that a connection is read from after its last response, if the client may still
    #: be sending. An earlier close could take the response from it. The bytes are dropped. With 0
    #: nothing is read.
    linger_time: float | None = 30.0
    #: The seconds of this time that the client may be silent.
    linger_timeout: float | None = 5.0
    #: The most bytes of a request line; a longer one is answered with 414.
    max_request_line: int = MAX_REQUEST_LINE
    #: The most bytes of a request's header fields together; more are answered with 431.
    max_header_bytes: int = 65536
    #: The most header fields of a request; more are answered with 431.
    max_headers: int = 100
    #: The most bytes of a request's body, ``None`` for any number; more are answered with 413.
    max_body: int | None = None
    #: The most bytes of a body that the application did not read that are skipped to keep the
    #: connection. If there are more, it is closed.
    max_discard: int = 1 << 20

    #: The seconds that :meth:`stop` leaves to a new connection that has not sent anything yet.
    last_call: float = 0.2

    #: The most connections of one address at a time, ``None`` for any number. More are closed as
    #: they come. Behind a proxy, all have the proxy's address.
    max_per_address: int | None = None

    #: The environment of all servers.
    base_env: ClassVar[dict[str, Any]] = {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_SOFTWARE": f"gevent/20.0 Python/{sys.version_info[0]}.{sys.version_info[1]}",
        "SCRIPT_NAME": "",
        "wsgi.version": (1, 0),
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
    }
    #: The class of environments.
    environ_class: type[dict[str, Any]] = dict
    #: The class that environments are printed by in error reports.
    secure_environ_class: type[SecureEnviron] = WSGISecureEnviron

    # Watches for connections that come while there is no room.
    _crowd: Any = None

    _LIMITS = (
        "strict",
        "idle_timeout",
        "header_timeout",
        "body_timeout",
        "write_timeout",
        "min_rate",
        "linger_time",
        "linger_timeout",
        "max_request_line",
        "max_header_bytes",
        "max_headers",
        "max_body",
        "max_discard",
    )

    def __init__(
        self,
        listener: Any,
        application: Callable[..., Iterable[bytes]] | None = None,
        backlog: int | None = None,
        spawn: Any = "default",
        log: Any = "default",
        error_log: Any = "default",
        handler_class: Any = None,
        environ: Any = None,
        **ssl_args: Any,
    ) -> None:
        if "handle" in ssl_args:
            warnings.warn(
                "Passing 'handle' kwarg to WSGIServer is deprecated. Did you mean application?",
                DeprecationWarning,
                stacklevel=2,
            )
        self._per_address: dict[Any, int] = {}
        for name in (*self._LIMITS, "max_per_address"):
            if name in ssl_args:
                setattr(self, name, ssl_args.pop(name))
        super().__init__(listener, backlog=backlog, spawn=spawn, **ssl_args)
        if application is not None:
            self.application = application
        if handler_class is not None:
            self.handler_class = handler_class
        self.log = _log_of(log, 20)
        self.error_log = _log_of(error_log, 40)
        self.set_environ(environ)
        self.set_max_accept()

    def set_environ(self, environ: Any = None) -> None:
        """Begin the environment anew: :attr:`base_env`, what the server says, and *environ*."""
        self.environ: dict[str, Any] = self.environ_class(self.base_env)
        self.environ["wsgi.url_scheme"] = "https" if self.ssl_enabled else "http"
        if environ is not None:
            self.environ.update(environ)
        if self.environ.get("wsgi.errors") is None:
            self.environ["wsgi.errors"] = self.error_log

    def set_max_accept(self) -> None:
        """Take one connection at a time where several processes listen."""
        if self.environ.get("wsgi.multiprocess"):
            self.max_accept = 1

    def get_environ(self) -> dict[str, Any]:
        """Return a new environment for a request."""
        return self.environ_class(self.environ)

    def init_socket(self) -> None:
        """Make the socket, if there is none, and complete the environment; for :meth:`start`."""
        super().init_socket()
        if self.family in (AF_INET, AF_INET6):
            # Sockets that it accepts inherit these options.
            self.socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
            with suppress(OSError):
                self.socket.setsockopt(IPPROTO_TCP, TCP_NOTSENT_LOWAT, _MOST_UNSENT)
        self._service = self._make_service()
        self.update_environ()

    def _make_service(self) -> HttpService:
        kind = type(self)
        limits = {name: getattr(self, name) for name in self._LIMITS}
        like_gevent = _LIKE_GEVENT and not self.strict
        plain = kind.get_environ is _GET_ENVIRON
        return HttpService(plain=plain, like_gevent=like_gevent, **limits)

    def update_environ(self) -> None:
        """Set ``SERVER_NAME`` and ``SERVER_PORT``, unless *environ* said what they are."""
        address = self.address
        if isinstance(address, tuple):
            if "SERVER_NAME" not in self.environ:
                try:
                    name = getfqdn(address[0])
                except OSError:
                    name = str(address[0])
                self.environ["SERVER_NAME"] = name
            self.environ.setdefault("SERVER_PORT", str(address[1]))
        else:
            self.environ.setdefault("SERVER_NAME", "")
            self.environ.setdefault("SERVER_PORT", "")

    def handle(self, sock: Any, address: Any) -> None:
        """Handle a connection; return when it is over."""
        self.handler_class(sock, address, self).handle()

    def do_handle(self, *args: Any) -> None:
        """Run the handler for a new connection."""
        kind = type(self)
        own = (
            kind.handle is _HANDLE
            and kind.do_close is _CLOSE
            and kind.wrap_socket_and_handle is _WRAP_AND_HANDLE
            and "handle" not in vars(self)
        )
        if self.max_per_address is not None and len(args) == 2 and self._spawn is not None:
            self._handle_counted(own, *args)
            return
        if not own or self._spawn is None or len(args) != 2:
            super().do_handle(*args)
            return
        try:
            # Without a Python frame, which would stay while the connection is idle.
            self._spawn(serve_connection, self, *args)
        except BaseException:
            self.do_close(*args)
            raise

    def _handle_counted(self, own: bool, sock: Any, address: Any) -> None:
        """Run the handler for a new connection, unless its address has as many as it may."""
        host = address[0] if isinstance(address, tuple) else address
        if self._per_address.get(host, 0) >= self.max_per_address:  # type: ignore[operator]
            self.do_close(sock, address)
            log_client(self.error_log, f"(from {address!r}) one more (max_per_address)\n")
            return
        self._per_address[host] = self._per_address.get(host, 0) + 1
        try:
            self._spawn(self._serve_counted, host, own, sock, address)
        except BaseException:
            self._count_off(host)
            self.do_close(sock, address)
            raise

    def _serve_counted(self, host: Any, own: bool, sock: Any, address: Any) -> None:
        try:
            if own:
                serve_connection(self, sock, address)
            else:
                _handle_and_close_when_done(self._handle, self.do_close, (sock, address))  # type: ignore[arg-type]
        finally:
            self._count_off(host)

    def _count_off(self, host: Any) -> None:
        self._per_address[host] -= 1
        if not self._per_address[host]:
            del self._per_address[host]

    def start_accepting(self) -> None:
        """Accept what comes from now on; :meth:`start` does it."""
        service = getattr(self, "_service", None)
        if service is not None:
            service.has_room()
        self._watch_no_crowd()
        super().start_accepting()

    def stop_accepting(self) -> None:
        """Accept nothing until :meth:`start_accepting`; the socket goes on listening."""
        self._watch_no_crowd()
        super().stop_accepting()

    def _wait_for_room(self) -> None:
        super()._wait_for_room()
        self._watch_no_crowd()
        # Room is made once a connection has come that needs it.
        self._crowd = self.loop.io(self.socket.fileno(), 1)
        self._crowd.start(self._make_room)

    def _watch_no_crowd(self) -> None:
        crowd, self._crowd = self._crowd, None
        if crowd is not None:
            crowd.stop()
            crowd.close()

    def _make_room(self) -> None:
        self._service.make_room()
        if self._crowd is not None:
            self._crowd.stop()

    def _reading_failed(self, failure: BaseException) -> None:
        if isinstance(failure, OSError) and failure.errno in SHORTAGES:
            self._service.make_room()
        super()._reading_failed(failure)

    def wrap_socket_and_handle(self, client_socket: Any, address: Any) -> Any:
        """Negotiate TLS within :attr:`header_timeout`, then run the handler.

        A client that fails to is one line in :attr:`error_log`.
        """
        wrapped = self._negotiate(client_socket, address)
        if wrapped is None:
            return None
        with closing(wrapped):
            return self.handle(wrapped, address)

    def _negotiate(self, sock: Any, address: Any) -> Any:
        """Return the connection with TLS, or ``None`` where the client failed to negotiate it."""
        return negotiate(self, sock, address)

    def stop(self, timeout: float | None = None) -> None:
        """Stop accepting, close idle connections immediately, and let requests that run finish.

        A new connection that has not sent anything yet has :attr:`last_call` seconds more, as its
        request may be on its way.

        :param timeout: The seconds after which requests are not waited for any more, and those that
            run in a pool are killed; ``None`` for :attr:`stop_timeout`.
        """
        service = getattr(self, "_service", None)
        if service is None:
            super().stop(timeout)
            return
        left = self.stop_timeout if timeout is None else timeout
        websockets = vars(self).get("_websockets")
        if websockets:
            # No server has any without the module.
            from gevent.websocket.keeping import go_away

            go_away(websockets)
        service.stop()
        self.close()
        last_call = min(left, self.last_call)
        left -= last_call
        if not service.join(self, last_call):
            service.stop(fresh=True)
        if self.pool is None:
            service.join(self, left)
        else:
            super().stop(left)


# As many bytes of a response the kernel takes at most ahead of what is on its way: megabytes for
# each client that does not read would cost memory, and time that others wait for.
_MOST_UNSENT = 1 << 20


# The methods as they are defined here. The engine skips a step's Python code only while the
# method is still this one, and neither overridden nor replaced.
_HANDLE, _GET_ENVIRON = WSGIServer.handle, WSGIServer.get_environ
_CLOSE, _WRAP_AND_HANDLE = _OWN_STEPS["do_close"], WSGIServer.wrap_socket_and_handle


def format_date_time(timestamp: float) -> str:
    """Return a time, in seconds since the epoch, as HTTP writes it."""
    return formatdate(timestamp, usegmt=True)


def unquote_latin1(text: str) -> str:
    """Return *text* with its ``%`` escapes undone, a character for each byte."""
    return unquote_to_bytes(text).decode("latin-1")
