"""Sockets and name look-ups that let other greenlets run while they wait.

The names are those of the standard library's :mod:`socket`, with :func:`wait_read` and its like
in addition.
"""

from __future__ import annotations

import socket as __socket__
import sys
from errno import EAGAIN as EAGAIN
from errno import EBADF as EBADF
from errno import EWOULDBLOCK as EWOULDBLOCK

# All constants, and the functions that never wait.
from socket import *  # noqa: F403
from socket import (  # type: ignore[attr-defined]
    _GLOBAL_DEFAULT_TIMEOUT,
    AF_INET,
    AF_INET6,
    IPPROTO_IPV6,
    IPV6_V6ONLY,
    SO_REUSEADDR,
    SO_REUSEPORT,
    SOCK_STREAM,
    SOL_SOCKET,
    has_dualstack_ipv6,
    has_ipv6,
)
from socket import AddressFamily as AddressFamily
from socket import SocketKind as SocketKind
from socket import close as close
from typing import TYPE_CHECKING, Any

from gevent._config import config
from gevent._module_getattr import old_names
from gevent._socket3 import SocketType as SocketType  # type: ignore[assignment]
from gevent._socket3 import fromfd as fromfd  # type: ignore[assignment]
from gevent._socket3 import socket
from gevent._socket3 import socket as _GeventSocket
from gevent._socket3 import socketpair as socketpair
from gevent._socketcommon import _resolve_addr as _resolve_addr
from gevent._socketcommon import cancel_wait as cancel_wait
from gevent._socketcommon import cancel_wait_ex as cancel_wait_ex
from gevent._socketcommon import getaddrinfo
from gevent._socketcommon import getfqdn as getfqdn
from gevent._socketcommon import gethostbyaddr as gethostbyaddr
from gevent._socketcommon import gethostbyname as gethostbyname
from gevent._socketcommon import gethostbyname_ex as gethostbyname_ex
from gevent._socketcommon import getnameinfo as getnameinfo
from gevent._socketcommon import wait as wait
from gevent._socketcommon import wait_read as wait_read
from gevent._socketcommon import wait_readwrite as wait_readwrite
from gevent._socketcommon import wait_write as wait_write

__implements__: list[str] = [
    "SocketType",
    "create_connection",
    "create_server",
    "fromfd",
    "getaddrinfo",
    "getfqdn",
    "gethostbyaddr",
    "gethostbyname",
    "gethostbyname_ex",
    "getnameinfo",
    "socket",
    "socketpair",
]
__extensions__: list[str] = ["cancel_wait", "wait_read", "wait_readwrite", "wait_write"]
# Constants differ from one system to another.
__imports__: list[str] = sorted(
    {
        "AddressFamily",
        "SocketKind",
        "close",
        *(name for name in __socket__.__all__ if name not in ("CAPI", *__implements__)),
    }
)
if sys.version_info >= (3, 13):
    from socket import (  # type: ignore[attr-defined]
        _fallback_socketpair as _fallback_socketpair,
    )

    __imports__.append("_fallback_socketpair")
__all__ = __implements__ + __extensions__ + __imports__
if config.compat:
    # Names of gevent 0.13. `import *` includes them only with the setting, as reading them warns.
    __all__ += ["ssl", "sslerror"]  # noqa: F405


if not TYPE_CHECKING:
    __getattr__ = old_names(__name__)


def create_connection(  # type: ignore[no-redef]
    address: tuple[str | None, int],
    timeout: Any = _GLOBAL_DEFAULT_TIMEOUT,
    source_address: tuple[str, int] | None = None,
    *,
    all_errors: bool = False,
) -> _GeventSocket:
    """Connect to a host and port, trying every address that the host has, in order.

    :param timeout: The timeout of the new socket in seconds, which limits each try; by default
        that of :func:`setdefaulttimeout`.
    :param source_address: The address to bind the socket to first.
    :param all_errors: True to raise an ``ExceptionGroup`` of the errors of all tries instead
        of the last one.
    :raises OSError: No try was successful.
    """
    host, port = address
    failures: list[OSError] = []
    try:
        for family, kind, proto, _, where in getaddrinfo(host, port, 0, SOCK_STREAM):
            sock = None
            try:
                sock = socket(family, kind, proto)
                if timeout is not _GLOBAL_DEFAULT_TIMEOUT:
                    sock.settimeout(timeout)
                if source_address:
                    sock.bind(source_address)
                sock.connect(where)
                return sock  # type: ignore[return-value]
            except OSError as failure:
                if not all_errors:
                    failures.clear()
                failures.append(failure)
                if sock is not None:
                    sock.close()
            except BaseException:
                if sock is not None:
                    sock.close()
                raise
        if not failures:
            raise OSError("getaddrinfo returns an empty list")
        if all_errors:
            raise ExceptionGroup("create_connection failed", failures)
        raise failures[0]
    finally:
        # The errors' tracebacks refer to this frame.
        failures = []


def create_server(  # type: ignore[no-redef]
    address: tuple[Any, ...],
    *,
    family: int = AF_INET,
    backlog: int | None = None,
    reuse_port: bool = False,
    dualstack_ipv6: bool = False,
) -> _GeventSocket:
    """Return a socket that listens at *address*.

    :param family: ``AF_INET`` or ``AF_INET6``.
    :param backlog: The most connections that may wait to be accepted; by default as many as usual.
    :param reuse_port: True if other sockets may listen at the same address.
    :param dualstack_ipv6: True if an ``AF_INET6`` socket also takes connections over IPv4.
    :raises ValueError: *dualstack_ipv6* is not possible.
    :raises OSError: The address is in use, or not one of this host.
    """
    if dualstack_ipv6 and not has_dualstack_ipv6():
        raise ValueError("dualstack_ipv6 not supported on this platform")
    if dualstack_ipv6 and family != AF_INET6:
        raise ValueError("dualstack_ipv6 requires AF_INET6 family")
    sock = socket(family, SOCK_STREAM)
    try:
        sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1)
        if has_ipv6 and family == AF_INET6:
            sock.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 0 if dualstack_ipv6 else 1)
        try:
            sock.bind(address)
        except OSError as failure:
            message = f"{failure.strerror} (while attempting to bind on address {address!r})"
            raise OSError(failure.errno, message) from None
        if backlog is None:
            sock.listen()
        else:
            sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    return sock  # type: ignore[return-value]
