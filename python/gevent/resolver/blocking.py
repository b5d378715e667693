"""The resolver that blocks the whole thread."""

from __future__ import annotations

import _socket
from collections.abc import Callable
from typing import Any

__all__ = ["Resolver"]


class Resolver:
    """Calls the C library's functions where it is called: no greenlet runs meanwhile.

    For finding errors, and for processes that cannot have threads.

    :param hub: Of no effect.
    """

    def __init__(self, hub: Any = None) -> None:
        pass

    def close(self) -> None:
        """Do nothing."""

    gethostbyname: Callable[..., Any] = staticmethod(_socket.gethostbyname)
    gethostbyname_ex: Callable[..., Any] = staticmethod(_socket.gethostbyname_ex)
    getaddrinfo: Callable[..., Any] = staticmethod(_socket.getaddrinfo)
    gethostbyaddr: Callable[..., Any] = staticmethod(_socket.gethostbyaddr)
    getnameinfo: Callable[..., Any] = staticmethod(_socket.getnameinfo)
    #: Another name of the last.
    method: Callable[..., Any] = getnameinfo
