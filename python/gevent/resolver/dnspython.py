"""The resolver over the package dnspython: it asks the name servers itself, without threads."""

from __future__ import annotations

import time
from _socket import (
    AF_INET,
    AF_INET6,
    AF_UNSPEC,
    AI_ADDRCONFIG,
    AI_CANONNAME,
    AI_NUMERICHOST,
    AI_V4MAPPED,
    EAI_AGAIN,
    EAI_FAMILY,
    EAI_NODATA,
    EAI_NONAME,
    NI_NAMEREQD,
    NI_NUMERICHOST,
    SOCK_DGRAM,
    SOCK_STREAM,
    gaierror,
    herror,
)
from _socket import getaddrinfo as native_getaddrinfo
from _socket import getnameinfo as native_getnameinfo
from typing import Any

from gevent._config import config
from gevent._socket3 import socket
from gevent.hub import get_hub, sleep
from gevent.resolver import AbstractResolver
from gevent.resolver._hostsfile import HostsFile
from gevent.timeout import Timeout

try:
    import dns.exception
    import dns.inet
    import dns.message
    import dns.nameserver
    import dns.rdataclass
    import dns.rdatatype
    import dns.resolver
    import dns.reversename
except ImportError as _missing:
    raise ImportError(
        "the resolver dnspython needs the package dnspython: pip install 'gevent-rs[dnspython]'"
    ) from _missing

__all__ = ["Resolver"]

_RECORDS = {
    AF_INET: [(dns.rdatatype.A, AF_INET)],
    AF_INET6: [(dns.rdatatype.AAAA, AF_INET6)],
    AF_UNSPEC: [(dns.rdatatype.A, AF_INET), (dns.rdatatype.AAAA, AF_INET6)],
}


def _read_response(
    request: dns.message.Message, octets: bytes, datagram: bool
) -> dns.message.Message | None:
    """Return the response to *request* that *octets* are, ``None`` if they are something else."""
    try:
        response = dns.message.from_wire(
            octets,
            keyring=request.keyring,
            request_mac=request.mac,
            raise_on_truncation=datagram,
        )
    except dns.message.Truncated as truncated:
        if request.is_response(truncated.message()):  # type: ignore[no-untyped-call]
            raise
        return None
    except dns.exception.DNSException:
        # Any host that guesses the port can send datagrams.
        return None
    return response if request.is_response(response) else None


def _exchange(
    request: dns.message.Message,
    nameserver: dns.nameserver.Do53Nameserver,
    timeout: float,
    tcp: bool,
    source: tuple[str | None, int],
) -> dns.message.Message:
    """Return what *nameserver* answers to *request* within *timeout* seconds.

    :raises dns.exception.Timeout: There was no answer.
    :raises dns.message.Truncated: The answer is too long for a datagram.
    """
    address, port = nameserver.address, nameserver.port
    family = dns.inet.af_for_address(address)
    wire = request.to_wire()
    with (
        Timeout.start_new(timeout, dns.exception.Timeout(timeout=timeout)),  # type: ignore[no-untyped-call]
        socket(family, SOCK_STREAM if tcp else SOCK_DGRAM) as sock,
    ):
        if any(source):
            anywhere = "::" if family == AF_INET6 else "0.0.0.0"
            sock.bind((source[0] or anywhere, source[1]))
        sock.connect(dns.inet.low_level_address_tuple((address, port), family))
        if not tcp:
            sock.send(wire)
            while (response := _read_response(request, sock.recv(65535), True)) is None:
                pass
            return response
        sock.sendall(len(wire).to_bytes(2, "big") + wire)
        with sock.makefile("rb") as stream:
            octets = stream.read(int.from_bytes(stream.read(2), "big"))
        response = _read_response(request, octets, False)
        if response is None:
            raise dns.exception.FormError("no response to the request")  # type: ignore[no-untyped-call]
        return response


class _DnsResolver(dns.resolver.Resolver):
    """dnspython's resolver over gevent's sockets: only the calling greenlet waits."""

    def resolve(
        self,
        qname: Any,
        rdtype: Any = dns.rdatatype.A,
        rdclass: Any = dns.rdataclass.IN,
        tcp: bool = False,
        source: str | None = None,
        raise_on_no_answer: bool = True,
        source_port: int = 0,
        lifetime: float | None = None,
        search: bool | None = None,
    ) -> dns.resolver.Answer:
        """Return the answer to a query; see :meth:`dns.resolver.Resolver.resolve`."""
        # dnspython's own loops, for threads and for asyncio, are over this class too.
        query = dns.resolver._Resolution(
            self, qname, rdtype, rdclass, tcp, raise_on_no_answer, search
        )
        start = time.time()
        while True:
            request, answer = query.next_request()
            if answer is not None:
                return answer
            done = False
            while not done:
                nameserver, tcp, backoff = query.next_nameserver()
                if backoff:
                    sleep(backoff)
                timeout = self._compute_timeout(start, lifetime, query.errors)
                try:
                    response = self._ask(request, nameserver, timeout, tcp, (source, source_port))
                except Exception as failure:
                    _, done = query.query_result(None, failure)
                    continue
                answer, done = query.query_result(response, None)
                if answer is not None:
                    return answer

    @staticmethod
    def _ask(
        request: Any, nameserver: Any, timeout: float, tcp: bool, source: tuple[str | None, int]
    ) -> dns.message.Message:
        if isinstance(nameserver, dns.nameserver.Do53Nameserver):
            return _exchange(request, nameserver, timeout, tcp, source)
        # Over TLS or HTTPS, which dnspython does with blocking sockets.
        response: dns.message.Message = get_hub().threadpool.apply(
            nameserver.query, (request, timeout, source[0], source[1], tcp)
        )
        return response


def _text(name: Any) -> str:
    text: str = name.to_text(omit_final_dot=True)
    return text


class Resolver(AbstractResolver):
    """Looks up names in ``/etc/hosts`` and then at name servers, with dnspython's resolver.

    It uses no threads, so that any number of look-ups run at once, and it keeps answers for as
    long as they are good. It knows ``/etc/resolv.conf`` but not ``/etc/nsswitch.conf``: names that
    other services know are not found. It does not sort addresses, IPv4 comes first, and it ignores
    the flags ``AI_ADDRCONFIG``, ``AI_V4MAPPED`` and ``NI_NOFQDN``. The settings
    ``resolver_nameservers`` and ``resolver_timeout`` apply.

    :param hub: Of no effect.
    :raises dns.resolver.NoResolverConfiguration: No name server is known.
    """

    def __init__(self, hub: Any = None) -> None:
        nameservers = config.resolver_nameservers
        try:
            self._resolver = _DnsResolver()
        except dns.resolver.NoResolverConfiguration:
            if not nameservers:
                raise
            self._resolver = _DnsResolver(configure=False)
        if nameservers:
            self._resolver.nameservers = nameservers
        if config.resolver_timeout:
            self._resolver.lifetime = config.resolver_timeout
        self._resolver.cache = dns.resolver.LRUCache()
        self._hosts = HostsFile()

    @property
    def resolver(self) -> dns.resolver.Resolver:
        """The dnspython resolver; its ``nameservers``, ``lifetime`` and ``cache`` may be set."""
        return self._resolver

    def _look_up(self, host_bytes: bytes, family: int) -> tuple[str, list[str], list[str]]:
        """Return the name, the aliases and the addresses of a host."""
        if family not in _RECORDS:
            raise gaierror(EAI_FAMILY, self.EAI_FAMILY_MSG)
        records = _RECORDS[family]
        try:
            host = host_bytes.decode("ascii")
            known = self._hosts.addresses(host, [family for _, family in records])
            return known or self._query(host, [rdtype for rdtype, _ in records])
        except (UnicodeDecodeError, dns.exception.SyntaxError, dns.exception.FormError):
            # It cannot be a name at all.
            raise gaierror(EAI_NONAME, self.EAI_NONAME_MSG) from None

    def _query(self, host: str, rdtypes: list[Any]) -> tuple[str, list[str], list[str]]:
        name = host
        aliases: list[str] = []
        addresses: list[str] = []
        failure: dns.exception.DNSException | None = None
        for rdtype in rdtypes:
            try:
                answer = self._resolver.resolve(host, rdtype, raise_on_no_answer=False)
            except dns.resolver.NXDOMAIN:
                if addresses:
                    break
                raise gaierror(EAI_NONAME, self.EAI_NONAME_MSG) from None
            except (dns.resolver.NoNameservers, dns.exception.Timeout) as error:
                failure = error
                continue
            if answer.rrset is not None:
                name = _text(answer.canonical_name)
                aliases = [_text(link.name) for link in answer.chaining_result.cnames]
                addresses += [record.address for record in answer]
        if addresses:
            return name, aliases, addresses
        if failure is not None:
            raise gaierror(EAI_AGAIN, "Temporary failure in name resolution") from failure
        raise gaierror(EAI_NODATA, "No address associated with hostname")

    def _gethostbyname_ex(
        self, hostname_bytes: bytes, family: int
    ) -> tuple[str, list[str], list[str]]:
        return self._look_up(hostname_bytes, family)

    def _getaddrinfo(
        self, host_bytes: bytes, port: Any, family: int, socktype: int, proto: int, flags: int
    ) -> list[tuple[int, int, int, str, tuple[Any, ...]]]:
        name, _, addresses = self._look_up(host_bytes, family)
        # The C library knows the services and the types of sockets.
        others = flags & ~(AI_ADDRCONFIG | AI_V4MAPPED | AI_CANONNAME) | AI_NUMERICHOST
        found = [
            info
            for address in addresses
            for info in native_getaddrinfo(address, port, family, socktype, proto, others)
        ]
        if flags & AI_CANONNAME:
            found[0] = (*found[0][:3], name, found[0][4])
        return found

    def _gethostbyaddr(self, ip_address_bytes: bytes) -> tuple[str, list[str], list[str]]:
        address = ip_address_bytes.decode("ascii")
        names = self._hosts.names(address)
        if not names:
            try:
                answer = self._resolver.resolve(
                    dns.reversename.from_address(address), dns.rdatatype.PTR
                )
            except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
                raise herror(1, "Unknown host") from None
            except (dns.resolver.NoNameservers, dns.exception.Timeout) as error:
                raise herror(2, "Host name lookup failure") from error
            names = [_text(record.target) for record in answer]
        return names[0], names[1:], [address]

    def _getnameinfo(
        self, address_bytes: bytes, port: int, sockaddr: Any, flags: int
    ) -> tuple[str, str]:
        host, service = native_getnameinfo(sockaddr, flags & ~NI_NAMEREQD | NI_NUMERICHOST)
        try:
            host = self._gethostbyaddr(address_bytes)[0]
        except herror as failure:
            if flags & NI_NAMEREQD:
                raise gaierror(EAI_NONAME, self.EAI_NONAME_MSG) from failure
        return host, service
