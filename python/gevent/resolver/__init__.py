"""Resolvers, which look up names for :mod:`gevent.socket`: :attr:`gevent.hub.Hub.resolver`.

The setting ``gevent.config.resolver`` (``GEVENT_RESOLVER``) chooses the class.
"""

from __future__ import annotations

import functools
import re
from _socket import AF_INET as AF_INET
from _socket import (
    AF_INET6,
    AI_NUMERICHOST,
    EAI_NONAME,
    NI_NUMERICHOST,
    gaierror,
    herror,
    inet_aton,
    inet_pton,
)
from _socket import AF_UNSPEC as AF_UNSPEC
from _socket import AI_CANONNAME as AI_CANONNAME
from _socket import AI_PASSIVE as AI_PASSIVE
from _socket import EAI_SERVICE as EAI_SERVICE
from _socket import SOCK_DGRAM as SOCK_DGRAM
from _socket import SOCK_STREAM as SOCK_STREAM
from _socket import SOL_TCP as SOL_TCP
from _socket import error as error
from _socket import getaddrinfo as native_getaddrinfo
from _socket import gethostbyaddr as native_gethostbyaddr  # noqa: F401
from _socket import gethostbyname as native_gethostbyname
from _socket import gethostbyname_ex as native_gethostbyname_ex  # noqa: F401
from _socket import getnameinfo as native_getnameinfo
from _socket import getservbyname as native_getservbyname  # noqa: F401
from collections.abc import Callable
from typing import Any

__all__ = ()

# Resolvers of other packages import these names from here.
MAC = PYPY = False
text_type = str
string_types: tuple[type, ...] = (str,)
integer_types: tuple[type, ...] = (int,)
hostname_types: tuple[type, ...] = (str, bytes, bytearray)


# They stand for any address, and for all hosts of the network.
_NAMES_OF_ADDRESSES = ("", b"", "<broadcast>", b"<broadcast>")

# The C library also accepts these forms of IPv4 addresses: "127.1", "0x7f000001".
_FEWER_FIGURES = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+)){0,3}", re.IGNORECASE)


def is_address(host: Any) -> bool:
    """Return true if *host* is an IPv4 or IPv6 address in figures, which needs no look-up."""
    if isinstance(host, bytes | bytearray):
        host = host.decode("latin-1")
    if not isinstance(host, str) or not host:
        return False
    if ":" in host:
        return is_ipv6_addr(host)
    if not host[0].isdigit() or not _FEWER_FIGURES.fullmatch(host):
        return False
    try:
        inet_aton(host)
    except OSError:
        return False
    return True


def is_ipv6_addr(host: Any) -> bool:
    """Return true if *host* (``str`` or ``bytes``) is an IPv6 address, possibly with a scope."""
    text = host.decode("latin-1") if isinstance(host, bytes | bytearray) else host
    try:
        figures, _, scope = text.partition("%")
        inet_pton(AF_INET6, figures)
    except (AttributeError, OSError, ValueError):
        return False
    return "\0" not in scope


class AbstractResolver:
    """The base of resolvers that ask name servers themselves.

    A subclass provides ``_getaddrinfo``, ``_gethostbyname_ex``, ``_gethostbyaddr`` and
    ``_getnameinfo``, which take host names as ``bytes``. What can be answered from the arguments
    alone, as for addresses in figures, is answered here, as the C library does.
    """

    #: The encoding that turns names into octets.
    HOSTNAME_ENCODING = "idna"
    #: The C library's texts.
    EAI_NONAME_MSG = "Name or service not known"
    EAI_FAMILY_MSG = "ai_family not supported"

    def close(self) -> None:
        """Release what it holds; here nothing."""

    @staticmethod
    def fixup_gaierror(func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the method *func* with the usual text in a ``gaierror`` that has none."""

        @functools.wraps(func)
        def resolve(self: AbstractResolver, *args: Any, **kwargs: Any) -> Any:
            try:
                return func(self, *args, **kwargs)
            except gaierror as failure:
                if failure.args == (EAI_NONAME,):
                    raise gaierror(EAI_NONAME, self.EAI_NONAME_MSG) from None
                raise

        return resolve

    def _hostname_to_bytes(self, hostname: Any) -> bytes:
        if isinstance(hostname, str):
            hostname = hostname.encode(self.HOSTNAME_ENCODING)
        elif not isinstance(hostname, bytes | bytearray):
            raise TypeError(f"Expected str, bytes or bytearray, not {type(hostname).__name__}")
        octets = bytes(hostname)
        if b"\0" in octets:
            raise gaierror(EAI_NONAME, self.EAI_NONAME_MSG)
        return octets

    def gethostbyname(self, hostname: Any, family: int = AF_INET) -> str:
        """Return an address of a host.

        :raises socket.gaierror: There is none.
        """
        if hostname in _NAMES_OF_ADDRESSES:
            return native_gethostbyname(hostname)
        addresses = self.gethostbyname_ex(hostname, family)[-1]
        if not addresses:
            raise gaierror(EAI_NONAME, self.EAI_NONAME_MSG)
        return addresses[0]

    def gethostbyname_ex(
        self, hostname: Any, family: int = AF_INET
    ) -> tuple[str, list[str], list[str]]:
        """Return the name, the aliases and the addresses of a host.

        :raises socket.gaierror: There is no such host.
        :raises socket.herror: It is no host at all, but ``<broadcast>``.
        """
        if hostname in ("", b""):
            raise gaierror(EAI_NONAME, self.EAI_NONAME_MSG)
        if hostname in _NAMES_OF_ADDRESSES:
            raise herror(1, "Unknown host")
        if is_address(hostname):
            name = hostname if isinstance(hostname, str) else hostname.decode("ascii")
            return name, [], [native_gethostbyname(hostname)]
        return self._gethostbyname_ex(self._hostname_to_bytes(hostname), family)

    def getaddrinfo(
        self,
        host: Any,
        port: Any,
        family: int = 0,
        socktype: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[tuple[int, int, int, str, tuple[Any, ...]]]:
        """Return the addresses of *host* and *port*; see :func:`socket.getaddrinfo`.

        :raises socket.gaierror: The look-up failed.
        """
        if isinstance(port, int) and not 0 <= port < 65536:
            raise gaierror(EAI_SERVICE, "Servname not supported for ai_socktype")
        if host in (None, "", b"") or is_address(host) or flags & AI_NUMERICHOST:
            return native_getaddrinfo(host, port, family, socktype, proto, flags)
        octets = self._hostname_to_bytes(host)
        return self._getaddrinfo(octets, port, family, socktype, proto, flags)

    def gethostbyaddr(self, ip_address: Any) -> tuple[str, list[str], list[str]]:
        """Return the name, the aliases and the addresses of the host that has an address.

        :raises socket.herror: No name is known.
        :raises socket.gaierror: *ip_address* is a name of no host.
        """
        if ip_address in ("", b""):
            raise OSError("wildcard resolved to multiple address")
        if ip_address in _NAMES_OF_ADDRESSES:
            raise herror(1, "Unknown host")
        if not isinstance(ip_address, hostname_types):
            kind = type(ip_address).__name__
            raise TypeError(f"Expected str, bytes or bytearray, not {kind}")
        *_, address = self.getaddrinfo(ip_address, 0, 0, SOCK_STREAM)[0]
        return self._gethostbyaddr(address[0].encode("ascii"))

    def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        """Return the names of the host and the service of a socket address.

        :raises socket.gaierror: The look-up failed.
        """
        if not isinstance(sockaddr, tuple):
            raise TypeError("getnameinfo() argument 1 must be a tuple")
        if len(sockaddr) < 2 or not is_address(sockaddr[0]) or flags & NI_NUMERICHOST:
            # The original function looks up no names in this case, and raises the exact error.
            return native_getnameinfo(sockaddr, flags)
        host, port = sockaddr[:2]
        if isinstance(port, int) and not 0 <= port < 65536:
            raise gaierror(EAI_SERVICE, "Servname not supported for ai_socktype")
        return self._getnameinfo(self._hostname_to_bytes(host), port, sockaddr, flags)

    def _gethostbyname_ex(
        self, hostname_bytes: bytes, family: int
    ) -> tuple[str, list[str], list[str]]:
        raise NotImplementedError

    def _getaddrinfo(
        self, host_bytes: bytes, port: Any, family: int, socktype: int, proto: int, flags: int
    ) -> list[tuple[int, int, int, str, tuple[Any, ...]]]:
        raise NotImplementedError

    def _gethostbyaddr(self, ip_address_bytes: bytes) -> tuple[str, list[str], list[str]]:
        raise NotImplementedError

    def _getnameinfo(
        self, address_bytes: bytes, port: int, sockaddr: Any, flags: int
    ) -> tuple[str, str]:
        raise NotImplementedError
