"""Names of gevent 0.13 that gevent has renamed or dropped since, for programs of that age.

All of it works, gives a :class:`DeprecationWarning` that names today's spelling, and is loaded
when it is first used. It is found where it was:

* ``gevent``: ``core``, ``spawn_link``, ``spawn_link_value``, ``spawn_link_exception``,
  ``shutdown``, and ``signal(signalnum, handler, *args)``, which is still the module
  :mod:`gevent.signal` too;
* ``Greenlet``: ``link``, ``link_value``, ``link_exception`` and ``unlink`` without an argument, or
  with a greenlet, in which :exc:`gevent.greenlet.LinkedExited` or one of its kind is raised then;
  the argument may be called *receiver*;
* ``Group`` and ``Pool``: ``spawn_link``, ``spawn_link_value``, ``spawn_link_exception``;
* ``gevent.pool.GreenletSet``, ``gevent.hub.DispatchExit``, ``gevent.hub.shutdown``,
  ``gevent.socket.ssl``, ``sslerror`` and ``bind_and_listen``, ``gevent.util.lazy_property``;
* the modules ``gevent.coros``, ``gevent.rawgreenlet``, ``gevent.proc``, ``gevent.dns``,
  ``gevent.http``, ``gevent.wsgi``, ``gevent.sslold``, ``gevent.win32util``;
* ``gevent.core`` in the manner of libevent: ``event`` and its kinds, ``dispatch``, ``dns_*``,
  ``buffer``, ``http`` …, see :mod:`gevent.compat.libevent`. ``timer`` and ``signal`` are what they
  are today if the first argument is a loop, and what they were otherwise.

Some calls meant something else than today and look the same: ``Queue(0)``, for one, made a
channel. They do so again with the setting ``gevent.config.compat``, the environment
variable ``GEVENT_COMPAT``; ``docs/gevent-0.13.md`` lists them all.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

__all__ = ["old_name", "warn"]

_LIBEVENT = "gevent.compat.libevent"
_EVDNS = "gevent.compat.evdns"
_EVHTTP = "gevent.compat.evhttp"
_WATCHERS = "the watchers of gevent.get_hub().loop"
_RESOLVER = "the functions of gevent.socket"

#: By module: where an old name is, and what takes its place.
_NAMES: dict[str, dict[str, tuple[str, str]]] = {
    "gevent.core": {
        **dict.fromkeys(
            (
                "event",
                "read_event",
                "write_event",
                "readwrite_event",
                "active_event",
                "EV_TIMEOUT",
                "EV_READ",
                "EV_WRITE",
                "EV_SIGNAL",
                "EV_PERSIST",
            ),
            (_LIBEVENT, _WATCHERS),
        ),
        "init": (_LIBEVENT, "gevent.get_hub()"),
        "dispatch": (_LIBEVENT, "gevent.get_hub().join()"),
        "get_method": (_LIBEVENT, "gevent.get_hub().backend"),
        **dict.fromkeys(
            (
                "dns_init",
                "dns_shutdown",
                "dns_err_to_string",
                "dns_resolve_ipv4",
                "dns_resolve_ipv6",
                "dns_resolve_reverse",
                "dns_resolve_reverse_ipv6",
                "DNS_ERR_NONE",
                "DNS_ERR_FORMAT",
                "DNS_ERR_SERVERFAILED",
                "DNS_ERR_NOTEXIST",
                "DNS_ERR_NOTIMPL",
                "DNS_ERR_REFUSED",
                "DNS_ERR_TRUNCATED",
                "DNS_ERR_UNKNOWN",
                "DNS_ERR_TIMEOUT",
                "DNS_ERR_SHUTDOWN",
                "DNS_IPv4_A",
                "DNS_PTR",
                "DNS_IPv6_AAAA",
                "DNS_QUERY_NO_SEARCH",
            ),
            (_EVDNS, _RESOLVER),
        ),
        "buffer": ("gevent.compat.evbuffer", "io.BytesIO"),
        **dict.fromkeys(
            ("http", "http_request", "http_connection"), (_EVHTTP, "gevent.pywsgi.WSGIServer")
        ),
    },
    "gevent.greenlet": dict.fromkeys(
        ("LinkedExited", "LinkedCompleted", "LinkedFailed", "LinkedKilled"),
        ("gevent.compat.links", "Greenlet.get() or a callback given to Greenlet.link()"),
    ),
    "gevent.hub": {
        "DispatchExit": ("gevent.compat.ends", "gevent.exceptions.LoopExit"),
        "fork": ("gevent.os", "gevent.fork"),
        "shutdown": ("gevent", "gevent.get_hub().join(), or sys.exit()"),
    },
    "gevent.pool": {"GreenletSet": ("gevent.compat.links", "gevent.pool.Group")},
    "gevent.socket": {
        **dict.fromkeys(
            ("ssl", "wrap_ssl", "sslerror"),
            ("gevent.compat.tls", "gevent.ssl.SSLContext.wrap_socket(), gevent.ssl.SSLError"),
        ),
        **dict.fromkeys(
            ("bind_and_listen", "tcp_listener"),
            ("gevent.compat.listening", "gevent.socket.create_server()"),
        ),
    },
    "gevent.util": {
        "lazy_property": ("gevent.compat.properties", "functools.cached_property"),
    },
}


def warn(old: str, new: str, stacklevel: int = 2) -> None:
    """Warn that *old* is a name of gevent 0.13 which *new* replaces today.

    :param stacklevel: The frame whose line to name: 2 for the caller of this function's caller.
    """
    warnings.warn(
        f"{old} is of gevent 0.13; today: {new}", DeprecationWarning, stacklevel=stacklevel + 1
    )


def old_name(module: str, name: str) -> Any:
    """Return what *name* was in *module*: for the ``__getattr__`` of modules.

    :raises AttributeError: It was nothing.
    """
    try:
        place, today = _NAMES[module][name]
    except KeyError:
        raise AttributeError(f"module {module!r} has no attribute {name!r}") from None
    warn(f"{module}.{name}", today, stacklevel=3)
    return getattr(importlib.import_module(place), name)
