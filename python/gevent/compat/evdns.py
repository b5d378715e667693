"""libevent's look-ups, over the resolver of the hub: what ``gevent.core`` offered.

Each ``dns_resolve_…`` returns at once; its callback gets ``(result, type, ttl, addrs)`` in the hub:
one of ``DNS_ERR_…``, the kind of *addrs*, for how many seconds they hold, and packed addresses
or names. The resolver does not say how long its answers hold, so *ttl* is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from socket import (
    AF_INET,
    AF_INET6,
    EAI_AGAIN,
    EAI_NODATA,
    EAI_NONAME,
    gaierror,
    herror,
    inet_ntop,
    inet_pton,
)
from typing import Any

from gevent._core import Greenlet, get_hub
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

#: By the number of a ``gaierror``, or else of a ``herror``, those of c-ares among them.
_CODES = {
    EAI_NONAME: DNS_ERR_NOTEXIST,
    EAI_NODATA: DNS_ERR_NOTEXIST,
    EAI_AGAIN: DNS_ERR_SERVERFAILED,
    1: DNS_ERR_NOTEXIST,
    2: DNS_ERR_SERVERFAILED,
    3: DNS_ERR_SERVERFAILED,
    4: DNS_ERR_NOTEXIST,
    5: DNS_ERR_NOTIMPL,
    6: DNS_ERR_REFUSED,
    12: DNS_ERR_TIMEOUT,
    16: DNS_ERR_SHUTDOWN,
}

#: The look-ups under way.
_queries: set[Greenlet] = set()


def dns_init() -> None:
    """Make the resolver, unless it exists."""
    get_hub().resolver  # noqa: B018


def dns_shutdown() -> None:
    """Close the resolver; look-ups under way end with ``DNS_ERR_SHUTDOWN``."""
    for query in list(_queries):
        query.kill(block=False)
    del get_hub().resolver


def dns_err_to_string(code: int) -> str:
    """Return a text for one of ``DNS_ERR_…``."""
    return _TEXTS.get(code, f"[unknown error code {code}]")


def _start(kind: int, look_up: Callable[[Any], list[Any]], callback: Callable[..., Any]) -> None:
    hub = get_hub()

    def run() -> None:
        found: list[Any] = []
        try:
            found = look_up(hub.resolver)
            result = DNS_ERR_NONE
        except (gaierror, herror) as error:
            result = _CODES.get(error.errno, DNS_ERR_UNKNOWN)
        except GreenletExit:
            result = DNS_ERR_SHUTDOWN
        hub.loop.run_callback(callback, result, kind, 0, found)

    query = Greenlet(run)
    _queries.add(query)
    query.rawlink(_queries.discard)
    query.start()


def _resolve(kind: int, family: int, name: str, flags: int, callback: Callable[..., Any]) -> None:
    if flags & DNS_QUERY_NO_SEARCH and not name.endswith("."):
        name += "."

    def look_up(resolver: Any) -> list[bytes]:
        found = resolver.getaddrinfo(name, None, family)
        # Once for each kind of socket.
        return list(dict.fromkeys(inet_pton(family, entry[4][0]) for entry in found))

    _start(kind, look_up, callback)


def _resolve_reverse(family: int, packed_ip: bytes, callback: Callable[..., Any]) -> None:
    address = inet_ntop(family, packed_ip)
    _start(DNS_PTR, lambda resolver: [resolver.gethostbyaddr(address)[0]], callback)


def dns_resolve_ipv4(name: str, flags: int, callback: Callable[..., Any]) -> None:
    """Look up the IPv4 addresses of a host; *flags* are 0 or ``DNS_QUERY_NO_SEARCH``."""
    _resolve(DNS_IPv4_A, AF_INET, name, flags, callback)


def dns_resolve_ipv6(name: str, flags: int, callback: Callable[..., Any]) -> None:
    """Look up the IPv6 addresses of a host; *flags* are 0 or ``DNS_QUERY_NO_SEARCH``."""
    _resolve(DNS_IPv6_AAAA, AF_INET6, name, flags, callback)


def dns_resolve_reverse(packed_ip: bytes, flags: int, callback: Callable[..., Any]) -> None:
    """Look up the name of an IPv4 address, given as 4 bytes; *flags* do nothing."""
    _resolve_reverse(AF_INET, packed_ip, callback)


def dns_resolve_reverse_ipv6(packed_ip: bytes, flags: int, callback: Callable[..., Any]) -> None:
    """Look up the name of an IPv6 address, given as 16 bytes; *flags* do nothing."""
    _resolve_reverse(AF_INET6, packed_ip, callback)
