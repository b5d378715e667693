"""The start of TLS on the connections of a WSGI server."""

from __future__ import annotations

import errno
from contextlib import suppress
from typing import Any

from gevent.timeout import Timeout

__all__ = ["log_client", "negotiate"]

#: The answer to a client that speaks plain HTTP to a server with TLS.
_PLAIN_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 43\r\n\r\nThis port speaks HTTPS. Use an https: URL.\n"
)
#: Errors of a connection that has ended before it is wrapped.
_GONE = (errno.ENOTCONN, errno.ECONNRESET, errno.EPIPE, errno.EINVAL)


def log_client(log: Any, line: str) -> None:
    """Write a line on what a client did to an error log, if that can be written to."""
    write = getattr(type(log), "write_client", None)
    with suppress(Exception):
        if write is not None:
            write(log, line)
        else:
            log.write(line)


def negotiate(server: Any, sock: Any, address: Any) -> Any:
    """Return a connection with TLS, or ``None`` where the client failed to negotiate it.

    A failed negotiation is one line in the server's error log. Errors of the server's own settings
    are raised.
    """
    args = dict(server.ssl_args)
    ours = _is_ours(server.wrap_socket) and args.get("do_handshake_on_connect", True)
    if ours:
        # The connection is there to answer by, and to be closed, when the handshake fails.
        args["do_handshake_on_connect"] = False
    limit = Timeout(server.header_timeout)
    wrapped, plain = None, False
    try:
        with limit:
            wrapped = server.wrap_socket(sock, **args)
            if ours:
                wrapped.do_handshake()
            return wrapped
    except Timeout as expired:
        if expired is not limit:
            _close(wrapped)
            raise
        reason = "it took too long (header_timeout)"
    except (FileNotFoundError, PermissionError):
        raise
    except OSError as failure:
        if wrapped is None and ours and failure.errno not in _GONE:
            raise
        reason = str(failure) or type(failure).__name__
        # Only the errors of ssl have a reason. That module may be missing, so it is not asked.
        plain = getattr(failure, "reason", None) == "HTTP_REQUEST"
    except BaseException:
        _close(wrapped)
        raise
    log_client(server.error_log, f"(from {address!r}) TLS handshake failed: {reason}\n")
    if plain:
        _answer_plain_http(wrapped)
    _close(wrapped)
    return None


def _is_ours(wrap: Any) -> bool:
    """Return true if *wrap* makes sockets whose handshake may come later."""
    from gevent._sslcontext import SSLContext, wrap_socket

    maker = getattr(wrap, "args", None) or (getattr(wrap, "__self__", None),)
    return wrap is wrap_socket or isinstance(maker[0], SSLContext.__mro__[1])


def _answer_plain_http(wrapped: Any) -> None:
    if wrapped is None:
        return
    wrapped._sslobj = None
    with suppress(OSError), Timeout(1, False):
        wrapped.sendall(_PLAIN_HTTP)
        wrapped.shutdown(1)
        while wrapped.recv(65536):
            pass


def _close(wrapped: Any) -> None:
    if wrapped is not None:
        wrapped.close()
