"""What is patched: one row per module of the standard library, in the order of patching."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import NamedTuple

__all__ = ["DNS_NAMES", "ROWS", "TABLE", "Row"]


class Row(NamedTuple):
    """How one module of the standard library becomes cooperative."""

    #: The argument of ``patch_all`` that decides.
    option: str
    #: The module that is patched.
    target: str
    #: The module whose ``__implements__`` names what is replaced.
    source: str

    def modules(self) -> tuple[ModuleType, ModuleType]:
        """Import and return the target and the source."""
        # The source comes first: it may need the originals.
        source = import_module(self.source)
        return import_module(self.target), source


# fmt: off
TABLE = (
    #   option        target        source
    Row("os",         "os",         "gevent.os"),
    Row("thread",     "_thread",    "gevent.thread"),
    Row("thread",     "threading",  "gevent.threading"),
    Row("time",       "time",       "gevent.time"),
    Row("socket",     "socket",     "gevent.socket"),
    Row("select",     "select",     "gevent.select"),
    Row("select",     "selectors",  "gevent.selectors"),
    Row("ssl",        "ssl",        "gevent.ssl"),
    Row("subprocess", "subprocess", "gevent.subprocess"),
    Row("signal",     "signal",     "gevent.signal"),
    Row("queue",      "queue",      "gevent.queue"),
)
# fmt: on

#: The row of each module.
ROWS = {row.target: row for row in TABLE}

#: What ``patch_dns`` replaces in :mod:`socket`, and ``patch_socket(dns=False)`` leaves alone.
DNS_NAMES = (
    "getaddrinfo",
    "gethostbyname",
    "gethostbyname_ex",
    "gethostbyaddr",
    "getnameinfo",
    "getfqdn",
)
