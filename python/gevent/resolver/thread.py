"""The resolver that asks the system, in the hub's thread pool."""

from __future__ import annotations

import _socket
from typing import TYPE_CHECKING, Any

from gevent._core import get_hub
from gevent.resolver import is_address

if TYPE_CHECKING:
    from gevent.hub import Hub
    from gevent.threadpool import ThreadPool

__all__ = ["Resolver"]


class Resolver:
    """Calls the C library's functions in threads, so that look-ups are those of any program.

    As many look-ups run at once as the pool has threads. What is an address already is answered
    at once, without a thread.

    :param hub: The hub whose thread pool to use. From now on it no longer prints the error of a
        greenlet that fails with :exc:`socket.gaierror` or :exc:`socket.herror`.
    """

    def __init__(self, hub: Hub | None = None) -> None:
        hub = get_hub() if hub is None else hub
        self.pool: ThreadPool = hub.threadpool
        silent = hub.NOT_ERROR if isinstance(hub.NOT_ERROR, tuple) else (hub.NOT_ERROR,)
        if _socket.gaierror not in silent:
            hub.NOT_ERROR = (*silent, _socket.gaierror, _socket.herror)

    def __repr__(self) -> str:
        name = f"{type(self).__module__}.{type(self).__name__}"
        return f"<{name} at {hex(id(self))} pool={self.pool!r}>"

    def close(self) -> None:
        """Do nothing: the pool is the hub's."""

    def gethostbyname(self, *args: Any) -> str:
        """See :func:`socket.gethostbyname`."""
        if len(args) == 1 and is_address(args[0]):
            return _socket.gethostbyname(*args)
        return self.pool.apply(_socket.gethostbyname, args)

    def gethostbyname_ex(self, *args: Any) -> tuple[str, list[str], list[str]]:
        """See :func:`socket.gethostbyname_ex`."""
        return self.pool.apply(_socket.gethostbyname_ex, args)

    def getaddrinfo(self, *args: Any, **kwargs: Any) -> list[Any]:
        """See :func:`socket.getaddrinfo`."""
        if len(args) > 1 and isinstance(args[1], int | None) and is_address(args[0]):
            return _socket.getaddrinfo(*args, **kwargs)
        return self.pool.apply(_socket.getaddrinfo, args, kwargs)

    def gethostbyaddr(self, *args: Any, **kwargs: Any) -> tuple[str, list[str], list[str]]:
        """See :func:`socket.gethostbyaddr`."""
        return self.pool.apply(_socket.gethostbyaddr, args, kwargs)

    def getnameinfo(self, *args: Any, **kwargs: Any) -> tuple[str, str]:
        """See :func:`socket.getnameinfo`."""
        return self.pool.apply(_socket.getnameinfo, args, kwargs)
