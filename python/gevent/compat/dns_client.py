"""Queries to name servers for the records of a name and their lifetimes, as libevent made them.

Which servers are asked is said by ``/etc/resolv.conf``, or by the settings that the ares resolver
has: ``resolver_nameservers``, ``resolver_timeout``, ``ares_udp_port`` and their like. What
``/etc/hosts`` says needs no server.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, SOCK_DGRAM, SOCK_STREAM
from typing import Any

from gevent._config import config
from gevent.resolver._hostsfile import HostsFile
from gevent.socket import socket

__all__ = ["AAAA", "PTR", "A", "Failed", "TimedOut", "addresses", "names"]

A, CNAME, PTR, AAAA = 1, 5, 12, 28
_IN = 1
_NOERROR, _SERVER_FAILED, _NOT_THERE = 0, 2, 3

#: The seconds that an entry of the hosts file is valid for: the file may change at any time.
HOSTS_TTL = 60

#: The most aliases that may follow each other.
_LONGEST_CHAIN = 16


class Failed(Exception):
    """There is no answer: the name server responded with an error, *rcode*."""

    def __init__(self, rcode: int) -> None:
        super().__init__(rcode)
        self.rcode = rcode


class TimedOut(Failed):
    """No name server answered in time."""

    def __init__(self) -> None:
        super().__init__(_SERVER_FAILED)


class _Malformed(Exception):
    """The received message is not a response to the query."""


@dataclass
class _Settings:
    """The name servers to ask, and the way of asking."""

    servers: list[str] = field(default_factory=list)
    search: list[str] = field(default_factory=list)
    ndots: int = 1
    timeout: float = 5.0
    attempts: int = 2
    udp_port: int = 53
    tcp_port: int = 53


def _settings() -> _Settings:
    found = _Settings()
    try:
        with open("/etc/resolv.conf", encoding="utf-8", errors="replace") as file:
            lines = [words for words in map(str.split, file) if len(words) > 1]
    except OSError:
        lines = []
    for keyword, *words in lines:
        if keyword == "nameserver":
            found.servers.append(words[0])
        elif keyword in ("search", "domain"):
            found.search = words
        elif keyword == "options":
            _apply(found, words)
    if servers := config.resolver_nameservers or config.ares_servers:
        found.servers = list(servers)
    found.servers = found.servers or ["127.0.0.1"]
    found.timeout = config.resolver_timeout or config.ares_timeout or found.timeout
    found.attempts = config.ares_tries or found.attempts
    found.udp_port = config.ares_udp_port or 53
    found.tcp_port = config.ares_tcp_port or 53
    return found


def _apply(found: _Settings, options: list[str]) -> None:
    for option in options:
        name, _, number = option.partition(":")
        if name in ("ndots", "timeout", "attempts") and number.isdigit():
            setattr(found, name, int(number))


@cache
def _hosts() -> HostsFile:
    return HostsFile()


def addresses(name: str, kind: int, search: bool) -> tuple[int, list[bytes]]:
    """Return the seconds that the addresses of a host are valid for, and the packed addresses.

    :param kind: ``A`` or ``AAAA``.
    :param search: True to try the name in the domains of the search list too.
    :raises Failed: There are none.
    """
    family = AF_INET if kind == A else AF_INET6
    known = _hosts().addresses(name, [family])
    if known is not None:
        return HOSTS_TTL, [ip_address(address).packed for address in known[2]]
    settings = _settings()
    failure = Failed(_NOT_THERE)
    for candidate in _candidates(name, search, settings):
        try:
            return _ask(candidate, kind, settings)
        except Failed as error:
            if error.rcode != _NOT_THERE:
                raise
            failure = error
    raise failure


def names(packed: bytes) -> tuple[int, list[str]]:
    """Return the seconds that the names of an address are valid for, and the names.

    :raises Failed: There are none.
    :raises ValueError: *packed* is no address.
    """
    address = ip_address(packed)
    if known := _hosts().names(str(address)):
        return HOSTS_TTL, known[:1]
    return _ask(address.reverse_pointer, PTR, _settings())


def _candidates(name: str, search: bool, settings: _Settings) -> Iterator[str]:
    if name.endswith(".") or not search:
        yield name.removesuffix(".")
        return
    in_domains = [f"{name}.{domain.strip('.')}" for domain in settings.search]
    is_complete = name.count(".") >= settings.ndots
    yield from [name, *in_domains] if is_complete else [*in_domains, name]


def _ask(name: str, kind: int, settings: _Settings) -> tuple[int, list[Any]]:
    """Ask one server after the other until one answers; return the least TTL, and the values."""
    query = _encode(name, kind)
    failure: Failed = TimedOut()
    for _ in range(settings.attempts):
        for server in settings.servers:
            try:
                response = _exchange(server, query, settings)
                return _decode(response, query, kind)
            except Failed as error:
                if error.rcode == _NOT_THERE:
                    raise
                failure = error
            except _Malformed:
                failure = Failed(_SERVER_FAILED)
            except OSError:
                # The next server may be reached, and answer in time.
                continue
    raise failure


def _encode(name: str, kind: int) -> bytes:
    labels = name.encode("ascii" if name.isascii() else "idna").split(b".")
    if not all(0 < len(label) < 64 for label in labels) or sum(map(len, labels)) > 230:
        raise Failed(_NOT_THERE)
    wire = b"".join(bytes([len(label)]) + label for label in labels)
    header = os.urandom(2) + struct.pack("!HHHHH", 0x0100, 1, 0, 0, 0)
    return header + wire + struct.pack("!BHH", 0, kind, _IN)


def _is_response(message: bytes, query: bytes) -> bool:
    """Return true if *message* answers the very question of *query*; names are in any case."""
    end = len(query)
    return (
        len(message) >= end
        and message[:2] == query[:2]
        and bool(message[2] & 0x80)
        and message[12:end].lower() == query[12:].lower()
    )


def _exchange(server: str, query: bytes, settings: _Settings) -> bytes:
    family = AF_INET6 if ":" in server else AF_INET
    with socket(family, SOCK_DGRAM) as sock:
        sock.settimeout(settings.timeout)
        sock.connect((server, settings.udp_port))
        sock.send(query)
        while not _is_response(message := sock.recv(4096), query):
            pass
    if not message[2] & 0x02:
        return message
    # The response was cut off.
    with socket(family, SOCK_STREAM) as sock, sock.makefile("rb") as file:
        sock.settimeout(settings.timeout)
        sock.connect((server, settings.tcp_port))
        sock.sendall(struct.pack("!H", len(query)) + query)
        message = file.read(int.from_bytes(file.read(2), "big"))
    if not _is_response(message, query):
        raise _Malformed
    return message


@dataclass
class _Record:
    owner: str
    kind: int
    ttl: int
    start: int
    end: int


def _decode(message: bytes, query: bytes, kind: int) -> tuple[int, list[Any]]:
    rcode = message[3] & 0x0F
    if rcode != _NOERROR:
        raise Failed(rcode)
    owner, _ = _name_at(message, 12)
    records = _records(message, len(query))
    ttls = []
    for _ in range(_LONGEST_CHAIN):
        found = [each for each in records if (each.owner, each.kind) == (owner, kind)]
        if found:
            ttls += [each.ttl for each in found]
            return min(ttls), [_value(message, each) for each in found]
        alias = next((each for each in records if (each.owner, each.kind) == (owner, CNAME)), None)
        if alias is None:
            break
        ttls.append(alias.ttl)
        owner, _ = _name_at(message, alias.start)
    raise Failed(_NOT_THERE)


def _records(message: bytes, at: int) -> list[_Record]:
    records = []
    for _ in range(int.from_bytes(message[6:8], "big")):
        owner, at = _name_at(message, at)
        if at + 10 > len(message):
            raise _Malformed
        kind, class_, ttl, length = struct.unpack_from("!HHIH", message, at)
        start = at + 10
        at = start + length
        if at > len(message):
            raise _Malformed
        if class_ == _IN:
            records.append(_Record(owner, kind, ttl, start, at))
    return records


def _value(message: bytes, record: _Record) -> bytes | str:
    if record.kind == PTR:
        return _name_at(message, record.start)[0]
    value = message[record.start : record.end]
    if len(value) != (4 if record.kind == A else 16):
        raise _Malformed
    return value


def _name_at(message: bytes, at: int) -> tuple[str, int]:
    """Return the name at a place in lower case, and the place behind it."""
    labels: list[str] = []
    behind = 0
    # A name has at most 127 labels, so more pointers than that are a circle.
    for _ in range(256):
        if at >= len(message):
            break
        length = message[at]
        if length == 0:
            return ".".join(labels).lower(), behind or at + 1
        if length >= 0xC0:
            behind = behind or at + 2
            at = int.from_bytes(message[at : at + 2], "big") & 0x3FFF
            continue
        labels.append(message[at + 1 : at + 1 + length].decode("latin-1"))
        at += 1 + length
    raise _Malformed
