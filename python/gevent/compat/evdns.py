"""The look-ups of libevent that ``gevent.core`` had.

Each ``dns_resolve_…`` returns at once; its callback gets ``(result, type, ttl, addrs)`` in the hub:
one of ``DNS_ERR_…``, the kind of *addrs*, for how many seconds they hold, and packed addresses
or names. As with libevent, name servers are asked directly, by :mod:`gevent.compat.dns_client`:
the resolver of the hub does not say how long its answers hold.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import EINVAL
from typing import Any

from gevent._core import Greenlet, get_hub
from gevent.compat import dns_client
from gevent.exceptions import GreenletExit

__all__ = [
    "dns_err_to_string",
    "dns_init",
    "dns_resolve_ipv4",
    "dns_resolve_ipv6",
    "dns_resolve_reverse",
    "dns_resolve_reverse_ipv6",
    "dns_shutdown",
]

DNS_ERR_NONE = 0
DNS_ERR_FORMAT = 1
DNS_ERR_SERVERFAILED = 2
DNS_ERR_NOTEXIST = 3
DNS_ERR_NOTIMPL = 4
DNS_ERR_REFUSED = 5
DNS_ERR_TRUNCATED = 65
DNS_ERR_UNKNOWN = 66
DNS_ERR_TIMEOUT = 67
DNS_ERR_SHUTDOWN = 68

DNS_IPv4_A = 1
DNS_PTR = 2
DNS_IPv6_AAAA = 3

#: Take the name as complete.
DNS_QUERY_NO_SEARCH = 1

_TEXTS = {
    DNS_ERR_NONE: "no error",
    DNS_ERR_FORMAT: "the name server could not interpret the query",
    DNS_ERR_SERVERFAILED: "the name server suffered an internal error",
    DNS_ERR_NOTEXIST: "no such name or address",
    DNS_ERR_NOTIMPL: "the name server does not do that kind of query",
    DNS_ERR_REFUSED: "the name server refused to answer",
    DNS_ERR_TRUNCATED: "the answer was truncated",
    DNS_ERR_UNKNOWN: "unknown error",
    DNS_ERR_TIMEOUT: "the name server did not answer in time",
    DNS_ERR_SHUTDOWN: "the resolver was shut down",
}

#: The look-ups under way.
_queries: set[Greenlet] = set()


def dns_init() -> None:
    """Do nothing: the name servers are determined when the first name is looked up."""


def dns_shutdown() -> None:
    """End look-ups under way with ``DNS_ERR_SHUTDOWN``."""
    for query in list(_queries):
        query.kill(block=False)


def dns_err_to_string(code: int) -> str:
    """Return a text for one of ``DNS_ERR_…``."""
    return _TEXTS.get(code, f"[unknown error code {code}]")


def _start(kind: int, callback: Callable[..., Any], look_up: Callable[..., Any], *of: Any) -> None:
    if not callable(callback):
        raise TypeError(f"callback must be callable, not {callback!r}")
    hub = get_hub()

    def run() -> None:
        ttl, found = 0, []
        try:
            ttl, found = look_up(*of)
            result = DNS_ERR_NONE
        except dns_client.TimedOut:
            result = DNS_ERR_TIMEOUT
        except dns_client.Failed as failure:
            result = failure.rcode if failure.rcode in _TEXTS else DNS_ERR_UNKNOWN
        except GreenletExit:
            result = DNS_ERR_SHUTDOWN
        hub.loop.run_callback(callback, result, kind, ttl, found)

    query = Greenlet(run)
    _queries.add(query)
    query.rawlink(_queries.discard)
    query.start()


def _resolve(kind: int, record: int, name: str, flags: int, callback: Callable[..., Any]) -> None:
    if not isinstance(name, str):
        raise TypeError(f"name must be str, not {type(name).__name__}")
    search = not flags & DNS_QUERY_NO_SEARCH
    _start(kind, callback, dns_client.addresses, name, record, search)


def _resolve_reverse(size: int, packed_ip: bytes, callback: Callable[..., Any]) -> None:
    if not isinstance(packed_ip, bytes):
        kind = type(packed_ip).__name__
        raise TypeError(f"expected a packed address of {size} bytes, got {kind}")
    if len(packed_ip) != size:
        raise OSError(EINVAL, f"expected a packed address of {size} bytes, got {packed_ip!r}")
    _start(DNS_PTR, callback, dns_client.names, packed_ip)


def dns_resolve_ipv4(name: str, flags: int, callback: Callable[..., Any]) -> None:
    """Look up the IPv4 addresses of a host; *flags* are 0 or ``DNS_QUERY_NO_SEARCH``."""
    _resolve(DNS_IPv4_A, dns_client.A, name, flags, callback)


def dns_resolve_ipv6(name: str, flags: int, callback: Callable[..., Any]) -> None:
    """Look up the IPv6 addresses of a host; *flags* are 0 or ``DNS_QUERY_NO_SEARCH``."""
    _resolve(DNS_IPv6_AAAA, dns_client.AAAA, name, flags, callback)


def dns_resolve_reverse(packed_ip: bytes, flags: int, callback: Callable[..., Any]) -> None:
    """Look up the name of an IPv4 address, given as 4 bytes; *flags* do nothing."""
    _resolve_reverse(4, packed_ip, callback)


def dns_resolve_reverse_ipv6(packed_ip: bytes, flags: int, callback: Callable[..., Any]) -> None:
    """Look up the name of an IPv6 address, given as 16 bytes; *flags* do nothing."""
    _resolve_reverse(16, packed_ip, callback)
