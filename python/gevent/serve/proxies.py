"""Information of trusted proxies on the client: ``X-Forwarded-*``, or ``Forwarded`` (RFC 7239).

Any client can send these fields. So they are used only when the connection comes from a proxy that
the operator trusts. They are dropped from other connections, and fields of the kind that the
proxies do not set are always dropped.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import Any

from gevent.serve.converters import UNIX_CLIENTS

X_FORWARDED = tuple(
    f"HTTP_X_FORWARDED_{name}" for name in ("FOR", "PROTO", "HOST", "PORT", "PREFIX")
)
FORWARDED = ("HTTP_FORWARDED",)

_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_PORTS = {"http": "80", "https": "443"}
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(?::(\d{1,5}))?", re.ASCII)
_PREFIX = re.compile(r"(/[!-~]*)?", re.ASCII)
#: A pair of a `Forwarded` element: a name, and a token or a quoted string.
_PAIR = re.compile(r'\s*([!#-\'*+.^-`|~\w-]+)=("(?:[^"\\]|\\.)*"|[^",;\s]*)\s*', re.ASCII)


def trust(networks: Iterable[str]) -> Callable[[str], bool]:
    """Return a function that returns true for an address of a trusted proxy.

    :param networks: Addresses and networks, and ``unix`` for every client of a Unix socket, whose
        address is empty.
    """
    named = list(networks)
    unix = UNIX_CLIENTS in named
    known = [ipaddress.ip_network(one, strict=False) for one in named if one != UNIX_CLIENTS]

    def is_trusted(text: str) -> bool:
        address = _address(text)
        if address is None:
            return unix and not text
        return any(address in network for network in known)

    return is_trusted


def apply(environ: dict[str, Any], is_trusted: Callable[[str], bool], forwarded: bool) -> None:
    """Put into *environ* the client's address and URL as the trusted proxies state them.

    :param forwarded: True to believe ``Forwarded``, else ``X-Forwarded-*``.
    """
    believed, others = (FORWARDED, X_FORWARDED) if forwarded else (X_FORWARDED, FORWARDED)
    for name in others:
        environ.pop(name, None)
    if not is_trusted(environ.get("REMOTE_ADDR", "")):
        for name in believed:
            environ.pop(name, None)
        return
    if forwarded:
        _apply_forwarded(environ, is_trusted)
    else:
        _apply_x_forwarded(environ, is_trusted)


def _apply_x_forwarded(environ: dict[str, Any], is_trusted: Callable[[str], bool]) -> None:
    hops = [hop.strip() for hop in environ.get("HTTP_X_FORWARDED_FOR", "").split(",")]
    client = environ.get("REMOTE_ADDR", "")
    while hops and is_trusted(client):
        address = _address(_without_port(hops.pop()))
        if address is None:
            break
        client = str(address)
    _set_client(environ, client)
    # Each proxy appends its own value, so the nearest proxy's is the last one.
    proto, host, port, prefix = (
        environ.get(name, "").rpartition(",")[2].strip() for name in X_FORWARDED[1:]
    )
    _set_scheme(environ, proto)
    _set_host(environ, host)
    if port.isascii() and port.isdigit() and int(port) < 65536:
        environ["SERVER_PORT"] = port
    if prefix and _PREFIX.fullmatch(prefix.rstrip("/")):
        environ["SCRIPT_NAME"] = prefix.rstrip("/")


def _apply_forwarded(environ: dict[str, Any], is_trusted: Callable[[str], bool]) -> None:
    hops = _elements(environ.get("HTTP_FORWARDED", ""))
    client = environ.get("REMOTE_ADDR", "")
    last: dict[str, str] = {}
    while hops and is_trusted(client):
        last = hops.pop()
        address = _address(_without_port(last.get("for", "")))
        if address is None:
            break
        client = str(address)
    _set_client(environ, client)
    _set_scheme(environ, last.get("proto", ""))
    _set_host(environ, last.get("host", ""))


def _elements(field: str) -> list[dict[str, str]]:
    """Return the elements of a `Forwarded` field; none when it is malformed."""
    elements: list[dict[str, str]] = [{}]
    place = 0
    while place < len(field):
        pair = _PAIR.match(field, place)
        if pair is not None:
            name, value = pair[1].lower(), pair[2]
            if value.startswith('"'):
                value = re.sub(r"\\(.)", r"\1", value[1:-1])
            elements[-1].setdefault(name, value)
            place = pair.end()
        if place < len(field):
            if field[place] not in ",;" and not field[place].isspace():
                return []
            if field[place] == ",":
                elements.append({})
            place += 1
    return [element for element in elements if element]


def _set_client(environ: dict[str, Any], client: str) -> None:
    if client != environ.get("REMOTE_ADDR", ""):
        environ["REMOTE_ADDR"] = client
        # The port belongs to the proxy's connection and not to the client's.
        environ.pop("REMOTE_PORT", None)


def _set_scheme(environ: dict[str, Any], proto: str) -> None:
    scheme = _SCHEMES.get(proto.lower())
    if scheme:
        environ["wsgi.url_scheme"] = scheme


def _set_host(environ: dict[str, Any], host: str) -> None:
    found = _HOST.fullmatch(host)
    if found:
        environ["HTTP_HOST"] = host
        environ["SERVER_NAME"] = found[1]
        environ["SERVER_PORT"] = found[2] or _PORTS[environ["wsgi.url_scheme"]]


def _without_port(node: str) -> str:
    if node.startswith("["):
        return node[1:].partition("]")[0]
    return node.partition(":")[0] if node.count(":") == 1 else node


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address in *text*, or None. An IPv4-mapped IPv6 address is returned as IPv4."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def behind_proxies(networks: Iterable[str], header: str) -> type:
    """Return a base class of handlers whose requests and log lines name the real client."""
    is_trusted = trust(networks)
    forwarded = header == "forwarded"

    class BehindProxies:
        environ: Any

        def get_environ(self) -> dict[str, Any]:
            environ: dict[str, Any] = super().get_environ()  # type: ignore[misc]
            apply(environ, is_trusted, forwarded)
            return environ

        def format_request(self) -> str:
            line: str = super().format_request()  # type: ignore[misc]
            client = (getattr(self, "environ", None) or {}).get("REMOTE_ADDR")
            _, dash, rest = line.partition(" - - [")
            return f"{client}{dash}{rest}" if client and dash else line

    return BehindProxies
