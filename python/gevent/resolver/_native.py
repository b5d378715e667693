"""The C library's look-ups of addresses, on the hub's loop: its answers and its errors."""

from __future__ import annotations

import os
import re
from _socket import (
    AF_INET,
    AF_INET6,
    AF_UNSPEC,
    AI_ADDRCONFIG,
    AI_ALL,
    AI_CANONNAME,
    AI_NUMERICSERV,
    AI_PASSIVE,
    AI_V4MAPPED,
    EAI_AGAIN,
    EAI_NODATA,
    EAI_NONAME,
    SOCK_STREAM,
    gaierror,
)
from typing import Any, ClassVar

from gevent.resolver.ares import Resolver
from gevent.resolver.cares import ARES_ENODATA, ARES_ENOTFOUND, channel

__all__ = ["NativeLookups"]

# Plain names consist of these characters. Others, such as those that IDNA encodes, are left to
# CPython and the C library.
_PLAIN = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?")
# Labels have 63 octets at most, and none is empty.
_NO_LABEL = re.compile(r"[^.]{64}|\.\.")
_FLAGS = AI_PASSIVE | AI_CANONNAME | AI_NUMERICSERV | AI_ADDRCONFIG | AI_ALL | AI_V4MAPPED
_FAMILIES = (AF_UNSPEC, AF_INET, AF_INET6)
ARES_EFORMERR = 2
ARES_EBADNAME = 8


class _Channel(channel):
    """A channel whose errors are the C library's."""

    @staticmethod
    def address_error(status: int) -> gaierror:
        """Return what :func:`socket.getaddrinfo` raises where a look-up ends with this status."""
        if status == ARES_ENODATA:
            return gaierror(EAI_NODATA, "No address associated with hostname")
        if status in (ARES_EFORMERR, ARES_ENOTFOUND, ARES_EBADNAME):
            return gaierror(EAI_NONAME, "Name or service not known")
        return gaierror(EAI_AGAIN, "Temporary failure in name resolution")


class NativeLookups(Resolver):
    """Answers the usual calls of :func:`socket.getaddrinfo` without a thread.

    :meth:`answers` says whether it can: the system looks names up in the file of hosts and at name
    servers only, and the arguments are plain.

    :param hub: The hub whose loop to use.
    """

    cares_class: ClassVar[type] = _Channel

    def __init__(self, hub: Any) -> None:
        super().__init__(hub, use_environ=False)

    def __del__(self) -> None:
        if self.cares is not None:
            self.close()

    def answers(self, host: Any, family: int = AF_UNSPEC, flags: int = 0) -> bool:
        """Return true if a look-up with these arguments ends here as it does in the C library."""
        return (
            type(host) is str
            and _PLAIN.fullmatch(host) is not None
            and _NO_LABEL.search(host) is None
            and family in _FAMILIES
            and not flags & ~_FLAGS
            and "HOSTALIASES" not in os.environ
            and self.cares.is_complete()
        )

    def first_address(self, host: str) -> str:
        """Return what :func:`socket.gethostbyname` returns."""
        found = self.getaddrinfo(host, None, AF_INET, SOCK_STREAM)
        address: str = found[0][4][0]
        return address
