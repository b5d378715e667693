"""The channel of :mod:`gevent.resolver.ares`: look-ups that end by calling a function in the hub.

It has the names and the manner of a binding to c-ares; the look-ups are in Rust, on the loop.
"""

from __future__ import annotations

from _socket import (
    AF_INET,
    AF_INET6,
    AI_ADDRCONFIG,
    AI_ALL,
    AI_CANONNAME,
    AI_NUMERICHOST,
    AI_PASSIVE,
    AI_V4MAPPED,
    EAI_ADDRFAMILY,
    EAI_FAMILY,
    EAI_NONAME,
    NI_NAMEREQD,
    NI_NOFQDN,
    NI_NUMERICHOST,
    gaierror,
    gethostname,
    herror,
)
from _socket import getaddrinfo as native_getaddrinfo
from _socket import getnameinfo as native_getnameinfo
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from gevent._core import LookUp, NameService

__all__ = ["channel"]

ARES_ENODATA = 1
ARES_ENOTFOUND = 4
ARES_ENOTIMP = 5
ARES_EDESTRUCTION = 16

_TEXTS = {
    2: "ARES_EFORMERR: DNS server claims query was misformatted",
    3: "ARES_ESERVFAIL: DNS server returned general failure",
    5: "ARES_ENOTIMP: DNS server does not implement requested operation",
    6: "ARES_EREFUSED: DNS server refused query",
    8: "ARES_EBADNAME: Misformatted domain name",
    10: "ARES_EBADRESP: Misformatted DNS reply",
    11: "ARES_ECONNREFUSED: Could not contact DNS servers",
    12: "ARES_ETIMEOUT: Timeout while contacting DNS servers",
    16: "this ares channel has been destroyed",
    26: "ARES_ENOSERVER: No DNS servers were configured",
}
_FAMILIES = {0: (True, True), AF_INET: (True, False), AF_INET6: (False, True)}
_ANY = {AF_INET: "0.0.0.0", AF_INET6: "::"}


class InvalidIP(ValueError):
    """Raised for what should be an address in figures and is not."""


class ares_host_result(tuple[Any, ...]):
    """A name, its aliases and its addresses, which are of the family :attr:`family`."""

    family: Any

    def __new__(cls, family: Any, iterable: Iterable[Any]) -> ares_host_result:
        self = super().__new__(cls, iterable)
        self.family = family
        return self

    def __getnewargs__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.family, tuple(self)


class Result:
    """The outcome of a look-up, for its callback: a value, or an exception."""

    __slots__ = ("exception", "value")

    def __init__(self, value: Any = None, exception: BaseException | None = None) -> None:
        self.value: Any = value
        self.exception: BaseException | None = exception

    def __repr__(self) -> str:
        if self.exception is None:
            return f"{type(self).__name__}({self.value!r})"
        return f"{type(self).__name__}(exception={self.exception!r})"

    def successful(self) -> bool:
        """Return true if there is a value."""
        return self.exception is None

    def get(self) -> Any:
        """Return the value, or raise the exception."""
        if self.exception is not None:
            raise self.exception
        return self.value


def _host_error(status: int) -> herror:
    if status == ARES_ENODATA:
        return herror(4, "No address associated with name")
    if status == ARES_ENOTFOUND:
        return herror(1, "Unknown host")
    return herror(status, _TEXTS[status])


def _family_of(address: str) -> int:
    return AF_INET6 if ":" in address else AF_INET


def _kinds(service: Any, family: int, type: int, proto: int, flags: int) -> list[Any]:
    """Return the types, protocols and ports that the C library knows for a service."""
    wanted = flags & ~(AI_CANONNAME | AI_V4MAPPED | AI_ALL | AI_PASSIVE) | AI_NUMERICHOST
    found = native_getaddrinfo(_ANY[family], service, family, type, proto, wanted)
    return [(type, proto, address[1]) for _, type, proto, _, address in found]


def _number(value: Any, kind: Callable[[Any], Any], least: int) -> Any:
    """Return a setting as a number, ``None`` where it says nothing."""
    number = None if value is None else kind(value)
    return None if number is None or number < least else number


def _duration(seconds: Any) -> timedelta | None:
    seconds = None if seconds is None else float(seconds)
    return timedelta(seconds=seconds) if seconds is not None and seconds > 0 else None


def _port(value: Any) -> int:
    port = int(value or 53)
    if not 0 < port < 65536:
        raise OverflowError(f"port must be from 1 to 65535, not {port}")
    return port


class channel:
    """A way to look up names, with settings of its own.

    What is not given is as ``/etc/resolv.conf`` says, which is read again whenever it changes.
    Each method takes a function first, to be called in the hub with a :class:`Result`, and returns
    an object whose method ``cancel`` has it not be called.

    :param loop: The loop of the hub that the functions are called in.
    :param flags: Flags of c-ares: ``USEVC`` (1), ``PRIMARY`` (2), ``IGNTC`` (4), ``NORECURSE``
        (8), ``NOSEARCH`` (32), ``NOCHECKRESP`` (128) and ``EDNS`` (256); others have no effect.
    :param timeout: The seconds to wait for a server.
    :param tries: The number of times to ask every server.
    :param ndots: With how many dots in it a name is first taken as complete.
    :param udp_port: The port of the servers for UDP, by default 53.
    :param tcp_port: The port of the servers for TCP, by default 53.
    :param servers: The addresses of the servers, as a list or separated by commas.
    :param resolv_conf: The file to read in place of ``/etc/resolv.conf``.
    :param hosts: The file to read in place of ``/etc/hosts``.
    :param nsswitch_conf: The file to read in place of ``/etc/nsswitch.conf``, for
        :meth:`is_complete` only.
    :param gai_conf: The file to read in place of ``/etc/gai.conf``, for :meth:`is_complete` only.
    :raises InvalidIP: One of *servers* is not an address.
    """

    def __init__(
        self,
        loop: Any,
        flags: Any = None,
        timeout: Any = None,
        tries: Any = None,
        ndots: Any = None,
        udp_port: Any = None,
        tcp_port: Any = None,
        servers: Any = None,
        *,
        resolv_conf: str = "/etc/resolv.conf",
        hosts: str = "/etc/hosts",
        nsswitch_conf: str = "/etc/nsswitch.conf",
        gai_conf: str = "/etc/gai.conf",
    ) -> None:
        settings = {
            "flags": _number(flags, int, 0) or 0,
            "timeout": _duration(timeout),
            "tries": _number(tries, int, 1),
            "ndots": _number(ndots, int, 0),
            "udp_port": _port(udp_port),
            "tcp_port": _port(tcp_port),
            "resolv_conf": resolv_conf,
            "hosts": hosts,
            "nsswitch_conf": nsswitch_conf,
            "gai_conf": gai_conf,
        }
        try:
            self._service = NameService(loop, servers=_servers(servers) or None, **settings)
        except ValueError as error:
            raise InvalidIP(*error.args) from None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {hex(id(self))}>"

    @property
    def loop(self) -> Any:
        """The loop; ``None`` once destroyed."""
        return self._service.loop

    @staticmethod
    def address_error(status: int) -> gaierror:
        """Return the exception of :meth:`getaddrinfo` for a status of c-ares."""
        if status in (ARES_ENODATA, ARES_ENOTFOUND):
            return gaierror(EAI_NONAME, "Name or service not known")
        if status == ARES_ENOTIMP:
            return gaierror(EAI_FAMILY, "ai_family not supported")
        return gaierror(status, _TEXTS[status])

    def destroy(self) -> None:
        """End. Functions that wait for look-ups get an error (``ARES_EDESTRUCTION``)."""
        self._service.close()

    def _on_fork(self) -> None:
        self._service.after_fork()

    def _check(self) -> None:
        if self._service.loop is None:
            raise gaierror(ARES_EDESTRUCTION, _TEXTS[ARES_EDESTRUCTION])

    def is_complete(self) -> bool:
        """Return true if the system takes names only from sources that this resolver reads.

        That is so where ``nsswitch.conf`` has ``hosts: files dns``, ``resolv.conf`` nothing that
        is not known here, and ``gai.conf`` nothing.
        """
        self._check()
        return self._service.is_complete()

    def set_servers(self, servers: Any = None) -> None:
        """Ask *servers* from now on; without any, every look-up of a server fails.

        :raises InvalidIP: One of them is not an address.
        """
        self._check()
        try:
            self._service.set_servers(_servers(servers))
        except ValueError as error:
            raise InvalidIP(*error.args) from None

    def gethostbyname(
        self, callback: Callable[[Result], Any], name: bytes, family: int = AF_INET
    ) -> LookUp | None:
        """Look up the name, the aliases and the addresses of a host, given in octets.

        :param family: ``AF_INET``, ``AF_INET6``, or 0 for either; addresses are of one family.
        """

        def finish(status: int, found: str, aliases: list[str], addresses: list[str]) -> None:
            if status:
                callback(Result(exception=_host_error(status)))
                return
            first = _family_of(addresses[0])
            alike = [address for address in addresses if _family_of(address) == first]
            callback(Result(ares_host_result(first, (found, aliases, alike))))

        return self._addresses(finish, name, family, False)

    def _addresses(
        self, finish: Callable[..., None], name: bytes, family: int, ordered: bool
    ) -> LookUp | None:
        self._check()
        octets = _octets(name)
        if family not in _FAMILIES:
            finish(ARES_ENOTIMP, "", [], [])
            return None
        return self._service.addresses(finish, octets, *_FAMILIES[family], ordered)

    def gethostbyaddr(self, callback: Callable[[Result], Any], addr: bytes) -> LookUp:
        """Look up the name, the aliases and the addresses of the host with an address.

        :param addr: The address in figures, in octets.
        :raises InvalidIP: *addr* is no address.
        """
        self._check()
        address = _octets(addr).decode("latin-1")

        def finish(status: int, found: str, aliases: list[str], addresses: list[str]) -> None:
            if status:
                # An address without a name of this kind counts as unknown.
                failure = ARES_ENOTFOUND if status == ARES_ENODATA else status
                callback(Result(exception=_host_error(failure)))
                return
            value = ares_host_result(_family_of(address), (found, aliases, addresses))
            callback(Result(value))

        try:
            return self._service.names(finish, address.partition("%")[0])
        except ValueError:
            raise InvalidIP(address) from None

    def getnameinfo(
        self, callback: Callable[[Result], Any], sockaddr: tuple[Any, ...], flags: int
    ) -> LookUp | None:
        """Look up the names of the host and of the service of a socket address.

        The host is in figures. Where it has no name it is given back in figures, unless *flags*
        has ``NI_NAMEREQD``.

        :raises InvalidIP: The host is not in figures.
        """
        self._check()
        plain = flags & ~(NI_NAMEREQD | NI_NOFQDN) | NI_NUMERICHOST
        try:
            figures, service = native_getnameinfo(sockaddr, plain)
        except gaierror as error:
            if error.errno in (EAI_NONAME, EAI_ADDRFAMILY):
                raise InvalidIP(str(sockaddr[0])) from None
            raise
        if flags & NI_NUMERICHOST:
            callback(Result((figures, service)))
            return None

        def finish(status: int, found: str, aliases: list[str], addresses: list[str]) -> None:
            if not status:
                callback(Result((_shortened(found, flags), service)))
            elif flags & NI_NAMEREQD:
                callback(Result(exception=self.address_error(ARES_ENOTFOUND)))
            else:
                callback(Result((figures, service)))

        return self._service.names(finish, figures.partition("%")[0])

    def getaddrinfo(
        self,
        callback: Callable[[Result], Any],
        name: bytes,
        service: Any,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> LookUp | None:
        """Look up how to connect to a host and a service, as :func:`socket.getaddrinfo` does.

        :param name: The host, in octets.
        :param service: The name or the number of the service, or ``None``.
        :raises socket.gaierror: The service is not known, or the arguments make no sense.
        """
        self._check()
        octets = _octets(name)
        if family not in _FAMILIES:
            callback(Result(exception=self.address_error(ARES_ENOTIMP)))
            return None
        kinds = {}
        for each in (family,) if family else (AF_INET, AF_INET6):
            try:
                kinds[each] = _kinds(service, each, type, proto, flags)
            except gaierror as error:
                # This host has no address of that family, which AI_ADDRCONFIG asks to regard.
                regarded = flags & AI_ADDRCONFIG and error.errno in (EAI_NONAME, EAI_ADDRFAMILY)
                if family or not regarded:
                    raise
        if not kinds:
            callback(Result(exception=self.address_error(ARES_ENOTFOUND)))
            return None
        v4, v6 = AF_INET in kinds, AF_INET6 in kinds
        mapped = family == AF_INET6 and flags & AI_V4MAPPED

        def finish(status: int, found: str, aliases: list[str], addresses: list[str]) -> None:
            if status:
                callback(Result(exception=self.address_error(status)))
                return
            if mapped:
                if not flags & AI_ALL:
                    own = [address for address in addresses if ":" in address]
                    addresses = own or addresses
                addresses = [a if ":" in a else f"::ffff:{a}" for a in addresses]
            canonical = [found if flags & AI_CANONNAME else ""]
            callback(
                Result(
                    [
                        (
                            _family_of(address),
                            kind,
                            protocol,
                            canonical.pop() if canonical else "",
                            (address, port, 0, 0) if ":" in address else (address, port),
                        )
                        for address in addresses
                        for kind, protocol, port in kinds[_family_of(address)]
                    ]
                )
            )

        return self._service.addresses(finish, octets, v4 or bool(mapped), v6, True)


def _octets(name: Any) -> bytes:
    if not isinstance(name, bytes):
        raise TypeError(f"expected bytes, {type(name).__name__} found")
    return name


def _servers(servers: Any) -> list[str]:
    if not servers:
        return []
    if isinstance(servers, str):
        servers = servers.split(",")
    return [s.decode("latin-1") if isinstance(s, bytes) else str(s).strip() for s in servers]


def _shortened(name: str, flags: int) -> str:
    """Return a name without this host's own domain, where ``NI_NOFQDN`` asks for that."""
    domain = gethostname().partition(".")[2]
    if flags & NI_NOFQDN and domain:
        return name.removesuffix(f".{domain}")
    return name
