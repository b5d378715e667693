"""The resolver that asks name servers itself, on the hub's own loop."""

from __future__ import annotations

import os
import warnings
from _socket import EAI_NONAME, gaierror, herror
from typing import Any, ClassVar

from gevent._config import config
from gevent._core import Waiter, get_hub
from gevent.resolver import AbstractResolver
from gevent.resolver.cares import channel

__all__ = ["Resolver"]

# The settings that each parameter of a channel may come from, those that count more first.
_SETTINGS = {
    "flags": ("ares_flags",),
    "timeout": ("ares_timeout", "resolver_timeout"),
    "tries": ("ares_tries",),
    "ndots": ("ares_ndots",),
    "udp_port": ("ares_udp_port",),
    "tcp_port": ("ares_tcp_port",),
    "servers": ("ares_servers", "resolver_nameservers"),
}


def _from_settings() -> dict[str, Any]:
    """Return the parameters that ``gevent.config`` and the environment state."""
    stated = {}
    for parameter, names in _SETTINGS.items():
        values = (getattr(config, name) for name in names)
        value = next((value for value in values if value is not None), None)
        if value is not None:
            stated[parameter] = value
    return stated


class Resolver(AbstractResolver):
    """Looks up names in ``/etc/hosts`` and then at name servers, without any thread.

    A look-up that fails at the servers raises :exc:`socket.herror` or :exc:`socket.gaierror` with
    a number of c-ares, such as ``herror(12, "ARES_ETIMEOUT: ...")``.

    It reads ``/etc/hosts`` and ``/etc/resolv.conf`` again when they change, and regards
    ``LOCALDOMAIN`` and ``RES_OPTIONS``; it does not know ``/etc/nsswitch.conf``, so that names
    which other services know are not found. Addresses are in the order of RFC 6724. It keeps no
    answers.

    :param hub: The hub that it is for, by default the current one.
    :param use_environ: True if settings that are not given come from ``gevent.config``
        (``GEVENTARES_*``, ``GEVENT_RESOLVER_TIMEOUT``, ``GEVENT_RESOLVER_NAMESERVERS``).
    :param kwargs: Arguments of :class:`gevent.resolver.cares.channel`: *servers*, *timeout*
        (seconds), *tries*, *ndots*, *udp_port*, *tcp_port*, *flags*.
    :raises gevent.resolver.cares.InvalidIP: One of *servers* is not an address.
    """

    cares_class: ClassVar[type] = channel

    #: The channel; ``None`` once closed.
    cares: Any = None
    fork_watcher: Any = None

    def __init__(self, hub: Any = None, use_environ: bool = True, **kwargs: Any) -> None:
        self.hub: Any = get_hub() if hub is None else hub
        self.params: dict[str, Any] = {**(_from_settings() if use_environ else {}), **kwargs}
        self.cares = self.cares_class(self.hub.loop, **self.params)
        self.pid: int = os.getpid()
        self.fork_watcher = self.hub.loop.fork(ref=False)
        # Only the channel is referred to: a bound method would keep this object alive for ever.
        self.fork_watcher.start(self.cares._on_fork)

    def __repr__(self) -> str:
        name = f"{type(self).__module__}.{type(self).__name__}"
        return f"<{name} at {hex(id(self))} ares={self.cares!r}>"

    def close(self) -> None:
        """End: look-ups that are under way fail, and there can be no more."""
        cares, self.cares = self.cares, None
        if cares is not None:
            cares.destroy()
        watcher, self.fork_watcher = self.fork_watcher, None
        if watcher is not None:
            watcher.stop()
            watcher.close()

    def __del__(self) -> None:
        if self.cares is not None:
            warnings.warn("cares Resolver destroyed while not closed", ResourceWarning, 2)
            self.close()

    def _ask(self, method: str, *args: Any) -> Any:
        """Call a method of the channel and wait for what it finds."""
        waiter = Waiter(self.hub)
        look_up = getattr(self.cares, method)(waiter, *args)
        try:
            return waiter.get()
        except BaseException:
            # A greenlet that is killed or timed out is no longer interested.
            if look_up is not None:
                look_up.cancel()
            raise

    def _gethostbyname_ex(
        self, hostname_bytes: bytes, family: int
    ) -> tuple[str, list[str], list[str]]:
        try:
            return tuple(self._ask("gethostbyname", hostname_bytes, family))
        except herror as failure:
            if failure.errno == 1:
                raise gaierror(EAI_NONAME, self.EAI_NONAME_MSG) from None
            raise

    def _getaddrinfo(
        self, host_bytes: bytes, port: Any, family: int, socktype: int, proto: int, flags: int
    ) -> list[tuple[int, int, int, str, tuple[Any, ...]]]:
        found: list[tuple[int, int, int, str, tuple[Any, ...]]] = self._ask(
            "getaddrinfo", host_bytes, port, family, socktype, proto, flags
        )
        return found

    def _gethostbyaddr(self, ip_address_bytes: bytes) -> tuple[str, list[str], list[str]]:
        return tuple(self._ask("gethostbyaddr", ip_address_bytes))

    def _getnameinfo(
        self, address_bytes: bytes, port: int, sockaddr: Any, flags: int
    ) -> tuple[str, str]:
        names: tuple[str, str] = self._ask("getnameinfo", sockaddr, flags)
        return names
