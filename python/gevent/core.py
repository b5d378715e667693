"""The event loop, the names of its events, and those of its flags.

There is one kind of loop, over epoll. It takes the names of other backends, as libev's does, and
says that it is the one that was asked for; nothing else comes of it.
"""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any

from gevent._config import config
from gevent._core import EVENTS as EVENTS
from gevent._core import _check_flags as _check_flags
from gevent._core import _events_to_str as _events_to_str
from gevent._core import _flags_to_int as _flags_to_int
from gevent._core import _flags_to_list as _flags_to_list
from gevent._core import callback as callback
from gevent._core import loop as _loop
from gevent._core import supported_backends, watchers
from gevent._either import either

__all__ = [
    "embeddable_backends",
    "get_header_version",
    "get_version",
    "loop",
    "recommended_backends",
    "supported_backends",
    "time",
]

watcher = watchers.watcher
io = watchers.io
timer: type[Any] = either(watchers.timer, "timer")
signal: type[Any] = either(watchers.signal, "signal")
idle = watchers.idle
prepare = watchers.prepare
check = watchers.check
fork = watchers.fork
async_ = watchers.async_
child = watchers.child
stat = watchers.stat

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

#: True: a loop has a descriptor of its own, and accepts the names of backends.
LIBEV_EMBED = True

NOINOTIFY = 0x100000
SIGNALFD = 0x200000
NOSIGMASK = 0x400000
FORKCHECK = 0x2000000


def get_version() -> str:
    """Return the name and the version of the implementation of the loop."""
    from gevent import __implementation__

    return __implementation__


def get_header_version() -> str:
    """Return the same as :func:`get_version`: what was built is what runs."""
    return get_version()


def recommended_backends() -> list[str]:
    """Return the backends that a loop can be asked for, best first."""
    return ["epoll", "poll", "select"]


def embeddable_backends() -> list[str]:
    """Return the backends whose loop can be watched by another loop through its descriptor."""
    return ["epoll"]


if TYPE_CHECKING:
    loop = _loop
else:

    def __getattr__(name: str) -> Any:
        if name.startswith("__"):
            # Every import asks for __path__.
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name == "loop":
            if not config.compat:
                return _loop
            # The function of gevent 0.13: a call of either looks the same.
            from gevent.compat.libevent import loop

            return loop
        # A name of gevent 0.13, or none at all.
        from gevent.compat import old_name

        return old_name(__name__, name)
