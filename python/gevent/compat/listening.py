"""Making a socket listen by a function."""

from __future__ import annotations

from socket import SO_REUSEADDR, SOL_SOCKET
from typing import Any

from gevent.compat import warn

__all__ = ["bind_and_listen"]


def bind_and_listen(
    descriptor: Any,
    addr: tuple[str, int] = ("", 0),
    backlog: int = 256,
    reuse_addr: bool = True,
) -> None:
    """Bind a socket to an address and have it listen.

    :param backlog: How many connections may wait to be accepted.
    :param reuse_addr: Whether the address may be one that was used a moment ago.
    :raises OSError: The address is in use, or not one of this host.
    """
    warn("gevent.socket.bind_and_listen()", "gevent.socket.create_server()")
    if reuse_addr:
        descriptor.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    descriptor.bind(addr)
    descriptor.listen(backlog)
