"""The event loop, the names of its events, and those of its flags.

There is one kind of loop, over epoll. It takes the names of other backends, as libev's does, and
says that it is the one that was asked for; nothing else comes of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from time import time

from gevent._core import callback as callback
from gevent._core import loop

__all__ = [
    "embeddable_backends",
    "get_header_version",
    "get_version",
    "loop",
    "recommended_backends",
    "supported_backends",
    "time",
]

MINPRI = -2
MAXPRI = 2

UNDEF = -1
NONE = 0
READ = 1
WRITE = 2
READWRITE = READ | WRITE
TIMER = 0x100
PERIODIC = 0x200
SIGNAL = 0x400
CHILD = 0x800
STAT = 0x1000
IDLE = 0x2000
PREPARE = 0x4000
CHECK = 0x8000
EMBED = 0x10000
FORK = 0x20000
CLEANUP = 0x40000
ASYNC = 0x80000
CUSTOM = 0x1000000
ERROR = -0x80000000

BACKEND_SELECT = 1
BACKEND_POLL = 2
BACKEND_EPOLL = 4
BACKEND_KQUEUE = 8
BACKEND_DEVPOLL = 0x10
BACKEND_PORT = 0x20
BACKEND_LINUXAIO = 0x40
BACKEND_IOURING = 0x80

NOINOTIFY = 0x100000
SIGNALFD = 0x200000
NOSIGMASK = 0x400000
_NOENV = 0x1000000
FORKCHECK = 0x2000000

_EVENTS = {
    READ: "READ",
    WRITE: "WRITE",
    0x80: "_IOFDSET",
    PERIODIC: "PERIODIC",
    SIGNAL: "SIGNAL",
    CHILD: "CHILD",
    STAT: "STAT",
    IDLE: "IDLE",
    PREPARE: "PREPARE",
    CHECK: "CHECK",
    EMBED: "EMBED",
    FORK: "FORK",
    CLEANUP: "CLEANUP",
    ASYNC: "ASYNC",
    CUSTOM: "CUSTOM",
    ERROR: "ERROR",
}

_FLAGS = {
    "port": BACKEND_PORT,
    "kqueue": BACKEND_KQUEUE,
    "linux_iouring": BACKEND_IOURING,
    "linux_aio": BACKEND_LINUXAIO,
    "epoll": BACKEND_EPOLL,
    "poll": BACKEND_POLL,
    "select": BACKEND_SELECT,
    "noenv": _NOENV,
    "forkcheck": FORKCHECK,
    "noinotify": NOINOTIFY,
    "signalfd": SIGNALFD,
    "nosigmask": NOSIGMASK,
}


class _EventsType:
    def __repr__(self) -> str:
        return "gevent.core.EVENTS"


#: Given to ``watcher.start()`` of an ``io`` watcher, it stands for the events that happened.
EVENTS = _EventsType()


def _events_to_str(events: int) -> str:
    names = []
    for bit, name in _EVENTS.items():
        if events & bit:
            names.append(name)
            events &= ~bit
    if events:
        names.append(hex(events))
    return "|".join(names)


def _flags_to_list(flags: int) -> list[str | int]:
    names: list[str | int] = []
    for name, bit in _FLAGS.items():
        if flags & bit:
            names.append(name)
            flags &= ~bit
    if flags:
        names.append(flags)
    return names


def _flags_to_int(flags: int | str | Iterable[str] | None) -> int:
    if not flags:
        return 0
    if isinstance(flags, int):
        return flags
    result = 0
    for name in flags.split(",") if isinstance(flags, str) else flags:
        try:
            result |= _FLAGS[name.strip().lower()]
        except KeyError:
            raise ValueError(
                f"Invalid backend or flag: {name!r}\nPossible values: {', '.join(sorted(_FLAGS))}"
            ) from None
    return result


def get_version() -> str:
    """Return the name and the version of what implements the loop."""
    from gevent import __implementation__

    return __implementation__


def get_header_version() -> str:
    """Return the same as :func:`get_version`: what was built is what runs."""
    return get_version()


def supported_backends() -> list[str]:
    """Return the backends that a loop can be asked for on this system."""
    return ["epoll", "poll", "select"]


def recommended_backends() -> list[str]:
    """Return the backends that a loop can be asked for, best first."""
    return ["epoll", "poll", "select"]


def embeddable_backends() -> list[str]:
    """Return the backends whose loop can be watched by another loop through its descriptor."""
    return ["epoll"]
