"""Making a socket listen by functions."""

from __future__ import annotations

from socket import SO_REUSEADDR, SOL_SOCKET
from typing import Any

from gevent.socket import socket

__all__ = ["bind_and_listen", "tcp_listener"]


def bind_and_listen(
    descriptor: Any,
    addr: tuple[str, int] = ("", 0),
    backlog: int = 256,
    reuse_addr: bool = True,
) -> None:
    """Bind a socket to an address and have it listen.

    :param backlog: The most connections that may wait to be accepted.
    :param reuse_addr: True if the address may be one that was used a moment ago.
    :raises OSError: The address is in use, or not one of this host.
    """
    if reuse_addr:
        descriptor.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    descriptor.bind(addr)
    descriptor.listen(backlog)


def tcp_listener(address: tuple[str, int], backlog: int = 256, reuse_addr: bool = True) -> socket:
    """Return a socket that listens at an address; the rest as for :func:`bind_and_listen`."""
    listener = socket()
    try:
        bind_and_listen(listener, address, backlog, reuse_addr)
    except OSError:
        listener.close()
        raise
    return listener
