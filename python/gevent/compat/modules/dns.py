"""Look-ups of names and addresses in packed form; the current greenlet waits for the answer."""

from __future__ import annotations

from collections.abc import Callable
from socket import gaierror
from typing import Any

from gevent.compat import evdns, warn
from gevent.event import AsyncResult

__all__ = ["DNSError", "resolve_ipv4", "resolve_ipv6", "resolve_reverse", "resolve_reverse_ipv6"]

warn("gevent.dns", "the functions of gevent.socket")


class DNSError(gaierror):
    """A look-up failed; the argument is one of ``gevent.core.DNS_ERR_…`` and its text."""

    def __init__(self, code: int) -> None:
        super().__init__(code, evdns.dns_err_to_string(code))


def _resolve(ask: Callable[..., Any], what: Any, flags: int) -> tuple[int, list[Any]]:
    answer: AsyncResult = AsyncResult()
    try:
        ask(what, flags, lambda *given: answer.set(given))
    except OSError as failure:
        raise DNSError(evdns.DNS_ERR_FORMAT) from failure
    result, _kind, ttl, found = answer.get()
    if result != evdns.DNS_ERR_NONE:
        raise DNSError(result)
    return ttl, found


def resolve_ipv4(name: str, flags: int = 0) -> tuple[int, list[bytes]]:
    """Return the answer's time to live in seconds, and the IPv4 addresses of a host.

    :param flags: 0 or ``gevent.core.DNS_QUERY_NO_SEARCH``.
    :raises DNSError: There are none.
    """
    return _resolve(evdns.dns_resolve_ipv4, name, flags)


def resolve_ipv6(name: str, flags: int = 0) -> tuple[int, list[bytes]]:
    """Return the answer's time to live in seconds, and the IPv6 addresses of a host.

    :raises DNSError: There are none.
    """
    return _resolve(evdns.dns_resolve_ipv6, name, flags)


def resolve_reverse(packed_ip: bytes, flags: int = 0) -> tuple[int, list[str]]:
    """Return the answer's time to live in seconds, and the name of an IPv4 address.

    :raises DNSError: There is none.
    """
    return _resolve(evdns.dns_resolve_reverse, packed_ip, flags)


def resolve_reverse_ipv6(packed_ip: bytes, flags: int = 0) -> tuple[int, list[str]]:
    """Return the answer's time to live in seconds, and the name of an IPv6 address.

    :raises DNSError: There is none.
    """
    return _resolve(evdns.dns_resolve_reverse_ipv6, packed_ip, flags)
