"""The system's resolver: the C library's functions in the hub's thread pool, or their equal."""

from __future__ import annotations

import _socket
from typing import TYPE_CHECKING, Any

from gevent._config import config
from gevent._core import get_hub
from gevent.resolver import is_address

if TYPE_CHECKING:
    from gevent.hub import Hub
    from gevent.resolver._native import NativeLookups
    from gevent.threadpool import ThreadPool

__all__ = ["Resolver"]


class Resolver:
    """Looks up names as any program of the system does.

    Where the system is configured to look in ``/etc/hosts`` and then at name servers, and nowhere
    else, :func:`getaddrinfo` and :func:`gethostbyname` do that on the hub's own loop, with the
    results and errors of the C library: any number of look-ups run at once, and without threads.
    ``gevent.config.native_lookups`` (``GEVENT_NATIVE_LOOKUPS``) switches it off.

    Everything else, such as names from LDAP, mDNS or ``systemd-resolved``, is looked up by the C
    library's functions in threads, of which the hub's pool has a limited number. An address
    needs no look-up.

    :param hub: The hub whose loop and thread pool to use. From now on it no longer prints the error
        of a greenlet that fails with :exc:`socket.gaierror` or :exc:`socket.herror`.
    """

    _native: NativeLookups | None = None

    def __init__(self, hub: Hub | None = None) -> None:
        hub = get_hub() if hub is None else hub
        self.hub = hub
        self.pool: ThreadPool = hub.threadpool
        silent = hub.NOT_ERROR if isinstance(hub.NOT_ERROR, tuple) else (hub.NOT_ERROR,)
        if _socket.gaierror not in silent:
            hub.NOT_ERROR = (*silent, _socket.gaierror, _socket.herror)

    def __repr__(self) -> str:
        name = f"{type(self).__module__}.{type(self).__name__}"
        return f"<{name} at {hex(id(self))} pool={self.pool!r}>"

    def close(self) -> None:
        """Close the sockets of look-ups. The pool is the hub's."""
        native, self._native = self._native, None
        if native is not None:
            native.close()

    def _native_lookups(self) -> NativeLookups:
        if self._native is None:
            from gevent.resolver._native import NativeLookups

            self._native = NativeLookups(self.hub)
        return self._native

    def gethostbyname(self, *args: Any) -> str:
        """See :func:`socket.gethostbyname`."""
        if len(args) == 1:
            if is_address(args[0]):
                return _socket.gethostbyname(*args)
            if config.native_lookups:
                native = self._native_lookups()
                if native.answers(args[0]):
                    return native.first_address(args[0])
        return self.pool.apply(_socket.gethostbyname, args)

    def gethostbyname_ex(self, *args: Any) -> tuple[str, list[str], list[str]]:
        """See :func:`socket.gethostbyname_ex`."""
        return self.pool.apply(_socket.gethostbyname_ex, args)

    def getaddrinfo(
        self,
        host: Any,
        port: Any,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """See :func:`socket.getaddrinfo`."""
        args = (host, port, family, type, proto, flags)
        if isinstance(port, int | None):
            if is_address(host):
                return _socket.getaddrinfo(*args)
            if config.native_lookups:
                native = self._native_lookups()
                if native.answers(host, family, flags):
                    return native.getaddrinfo(*args)
        return self.pool.apply(_socket.getaddrinfo, args)

    def gethostbyaddr(self, *args: Any, **kwargs: Any) -> tuple[str, list[str], list[str]]:
        """See :func:`socket.gethostbyaddr`."""
        return self.pool.apply(_socket.gethostbyaddr, args, kwargs)

    def getnameinfo(self, *args: Any, **kwargs: Any) -> tuple[str, str]:
        """See :func:`socket.getnameinfo`."""
        return self.pool.apply(_socket.getnameinfo, args, kwargs)
