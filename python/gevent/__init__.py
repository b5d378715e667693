"""Greenlets over an event loop: concurrent programs written like sequential ones.

A drop-in for gevent whose engine, :mod:`gevent._core`, is Rust. ``__version__`` is the version of
gevent that it stands for, which dependents compare; ``__implementation__`` says whose it is.

:mod:`gevent.compat` is about the names of gevent 0.13.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gevent._installation import refuse_a_mixture, refuse_other_pythons

# Before the first import that takes a compiled module, or that one of gevent's could be found for.
refuse_other_pythons()
refuse_a_mixture(__path__[0])

from gevent import _engine

# The engine finds the package's objects by this, also those that the next imports raise. Where
# imports are lazy (PEP 810), an import by itself would not have run yet.
_engine.register()

from gevent._config import config
from gevent._core import (
    CancelScope,
    Greenlet,
    fail_after,
    get_hub,
    getcurrent,
    getswitchinterval,
    idle,
    kill,
    move_on_after,
    setswitchinterval,
    sleep,
    spawn,
    spawn_raw,
)
from gevent._core import (
    __version__ as _own_version,
)
from gevent._structured import TaskGroup
from gevent._waiting import iwait, wait
from gevent.exceptions import Cancelled, GreenletExit
from gevent.greenlet import joinall, killall
from gevent.hub import reinit
from gevent.hub import signal as signal_handler
from gevent.os import fork
from gevent.timeout import Timeout, with_timeout

__all__ = [
    "CancelScope",
    "Cancelled",
    "Greenlet",
    "GreenletExit",
    "TaskGroup",
    "Timeout",
    "config",
    "fail_after",
    "fork",
    "get_hub",
    "getcurrent",
    "getswitchinterval",
    "idle",
    "iwait",
    "joinall",
    "kill",
    "killall",
    "move_on_after",
    "reinit",
    "setswitchinterval",
    "signal_handler",
    "sleep",
    "spawn",
    "spawn_later",
    "spawn_raw",
    "wait",
    "with_timeout",
]

__version__ = "26.9.0"
# A plain name: with a module-level __getattr__ CPython would not specialise `gevent.sleep`.
__implementation__: str = f"gevent-rs {_own_version}"


class _VersionInfo(NamedTuple):
    major: int
    minor: int
    micro: int
    releaselevel: str
    serial: int


_VersionInfo.__name__ = "version_info"

#: Not the version: what gevent has said here since version 20.
version_info: _VersionInfo = _VersionInfo(20, 0, 0, "dev", 0)

# The last three are of gevent 0.13.
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec, TypeVar

    _P = ParamSpec("_P")
    _T = TypeVar("_T")

    # Positional by their underscores: this module is to be read by interpreters that are too old
    # for it, to refuse them, and they do not know of another way.
    def spawn_later(
        __seconds: float, __function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> Greenlet[..., _T]: ...

    def spawn_link(
        __function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> Greenlet[..., _T]: ...

    def spawn_link_value(
        __function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> Greenlet[..., _T]: ...

    def spawn_link_exception(
        __function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> Greenlet[..., _T]: ...
else:
    spawn_later = Greenlet.spawn_later
    spawn_link = Greenlet.spawn_link
    spawn_link_value = Greenlet.spawn_link_value
    spawn_link_exception = Greenlet.spawn_link_exception

from gevent import core as core

#: The folder of modules that gevent has dropped since, such as ``gevent.coros``.
__path__.append(f"{__path__[0]}/compat/modules")


def shutdown() -> None:
    """Wait, in the main greenlet, until nothing is left to do; in another one, end the program.

    Deprecated. Today :meth:`gevent.hub.Hub.join` and :func:`sys.exit` do so.
    """
    get_hub().shutdown()
