"""The modules that are patched: one row for each, in the order of patching."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import NamedTuple

from gevent.monkey._state import check_patchable

__all__ = ["DNS_NAMES", "LATE", "ROWS", "TABLE", "LateRow", "Row"]


class Row(NamedTuple):
    """The replacements that make one module of the standard library cooperative."""

    #: The argument of ``patch_all`` that enables the row.
    option: str
    #: The module that is patched.
    target: str
    #: The module whose ``__implements__`` has the names of the replaced attributes.
    source: str

    def modules(self) -> tuple[ModuleType, ModuleType]:
        """Import and return the target and the source.

        :raises RuntimeError: within a block of ``unpatched``.
        """
        # The source is imported first, as it may need the originals.
        source = import_module(self.source)
        check_patchable(self.target)
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


class LateRow(NamedTuple):
    """The replacements for a module that programs may import at any time."""

    #: The argument of ``patch_all`` that enables the row.
    option: str
    #: The module that is patched once it is imported.
    target: str
    #: The module with the function that patches it.
    source: str
    #: The name of the function, which takes the module.
    function: str = "patch"

    def apply(self, module: ModuleType) -> None:
        """Patch *module*, the target."""
        getattr(import_module(self.source), self.function)(module)


# fmt: off
LATE = (
    *(
        LateRow("thread", target, *source)
        for target, *source in (
            ("_multiprocessing",                "gevent._processes.synchronize"),
            ("multiprocessing.connection",      "gevent._processes.connection"),
            ("multiprocessing.forkserver",      "gevent._processes.launch", "patch_forkserver"),
            ("multiprocessing.managers",        "gevent._processes.exchange", "patch_managers"),
            ("multiprocessing.popen_fork",      "gevent._processes.launch", "patch_popen"),
            ("multiprocessing.popen_forkserver", "gevent._processes.launch", "patch_served"),
            ("multiprocessing.popen_spawn_posix", "gevent._processes.launch", "patch_spawn"),
            ("multiprocessing.queues",          "gevent._processes.queues"),
            ("multiprocessing.reduction",       "gevent._processes.launch", "patch_reduction"),
            ("multiprocessing.resource_sharer", "gevent._processes.launch", "patch_sharer"),
            ("multiprocessing.synchronize",     "gevent._processes.condition"),
            ("multiprocessing.util",            "gevent._processes.launch", "patch_util"),
            ("concurrent.futures.process",      "gevent._processes.exchange", "patch_executor"),
            # Celery's fork of multiprocessing.
            ("_billiard",                       "gevent._processes.synchronize"),
            ("billiard.connection",             "gevent._processes.connection"),
            ("billiard.popen_fork",             "gevent._processes.launch", "patch_popen"),
            ("billiard.popen_spawn_posix",      "gevent._processes.launch", "patch_spawn"),
            ("billiard.queues",                 "gevent._processes.queues"),
            ("billiard.resource_sharer",        "gevent._processes.launch", "patch_sharer"),
            ("billiard.synchronize",            "gevent._processes.condition"),
            ("billiard.util",                   "gevent._processes.launch", "patch_util"),
        )
    ),
    LateRow("asyncio", "asyncio.events",      "gevent._asyncio"),
    LateRow("asyncio", "asyncio.base_events", "gevent._asyncio", "patch_loops"),
    LateRow("asyncio", "uvloop",              "gevent._asyncio", "patch_uvloop"),
)
# fmt: on

#: The row of each module.
ROWS = {row.target: row for row in TABLE}

#: The names that ``patch_dns`` replaces in :mod:`socket`; ``patch_socket(dns=False)`` does not.
DNS_NAMES = (
    "getaddrinfo",
    "gethostbyname",
    "gethostbyname_ex",
    "gethostbyaddr",
    "getnameinfo",
    "getfqdn",
)
