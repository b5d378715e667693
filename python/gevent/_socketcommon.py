"""Functions that sockets of every kind share: waiting for descriptors, looking up names."""

from __future__ import annotations

import os
import socket as __socket__
from collections.abc import Callable
from errno import EBADF
from operator import index
from socket import (
    AF_INET,
    AF_INET6,
    AddressFamily,
    SocketKind,
    gethostname,
    inet_pton,
)
from typing import Any

from gevent._config import config
from gevent._core import get_hub, wait_descriptor
from gevent.exceptions import ConcurrentObjectUseError
from gevent.timeout import Timeout


class cancel_wait_ex(OSError):
    """Raised in a greenlet that waits for a descriptor when another one closes it."""

    def __init__(self) -> None:
        super().__init__(EBADF, "File descriptor was closed in another greenlet")


class _Default:
    """Stands for "raise :class:`socket.timeout`" where ``None`` means something else."""

    def __repr__(self) -> str:
        return "<default value>"


_DEFAULT: Any = _Default()


def _timed_out(seconds: float, timeout_exc: Any) -> BaseException:
    if timeout_exc is _DEFAULT:
        return TimeoutError("timed out")
    if isinstance(timeout_exc, BaseException):
        return timeout_exc
    if isinstance(timeout_exc, type):
        error: BaseException = timeout_exc()
        return error
    return Timeout(seconds, timeout_exc)


def wait(
    watcher: Any,
    timeout: float | None = None,
    timeout_exc: Any = _DEFAULT,
    hub: Any = None,
) -> None:
    """Wait until *watcher*, a watcher of the loop that is not started, fires.

    :param timeout: The most seconds to wait; ``None`` for no limit.
    :param timeout_exc: The error to raise then, by default ``socket.timeout("timed out")``; an
        exception or anything else that :class:`gevent.Timeout` takes.
    :raises ConcurrentObjectUseError: Another greenlet waits for *watcher*.
    :raises OSError: :func:`cancel_wait` was called meanwhile (``EBADF`` by default).
    """
    if watcher.callback is not None:
        raise ConcurrentObjectUseError(
            f"This socket is already used by another greenlet: {watcher.callback!r}"
        )
    hub = get_hub() if hub is None else hub
    if timeout is None:
        hub.wait(watcher)
        return
    with Timeout(timeout, _timed_out(timeout, timeout_exc)):
        hub.wait(watcher)


def _wait_for(fileno: int, events: int, timeout: float | None, timeout_exc: Any) -> None:
    if index(fileno) < 0:
        raise ValueError(f"fd must be non-negative: {fileno}")
    if timeout is not None and timeout < 0 and config.compat:
        from gevent.compat import warn

        warn("a negative timeout", "None, or no timeout", stacklevel=3)
        timeout = None
    if not wait_descriptor(fileno, events, timeout) and timeout_exc is not False:
        raise _timed_out(timeout or 0, timeout_exc)


def wait_read(fileno: int, timeout: float | None = None, timeout_exc: Any = _DEFAULT) -> None:
    """Wait until the descriptor *fileno* can be read from.

    :param timeout: The most seconds to wait; ``None`` for no limit.
    :param timeout_exc: The error to raise then, as for :func:`wait`; ``False``: nothing.
    :raises OSError: *fileno* is not open.
    """
    _wait_for(fileno, 1, timeout, timeout_exc)


def wait_write(
    fileno: int,
    timeout: float | None = None,
    timeout_exc: Any = _DEFAULT,
    event: Any = None,
) -> None:
    """Wait until the descriptor *fileno* can be written to; as :func:`wait_read`.

    :param event: Of no effect.
    """
    _wait_for(fileno, 2, timeout, timeout_exc)


def wait_readwrite(
    fileno: int,
    timeout: float | None = None,
    timeout_exc: Any = _DEFAULT,
    event: Any = None,
) -> None:
    """Wait until the descriptor *fileno* can be read from or written to; as :func:`wait_read`.

    :param event: Of no effect.
    """
    _wait_for(fileno, 3, timeout, timeout_exc)


def cancel_wait(watcher: Any, error: Any = cancel_wait_ex) -> None:
    """Raise *error*, in the hub's next turn, in the greenlet that waits for *watcher*, if any."""
    get_hub().cancel_wait(watcher, error)


#: The number of look-ups so far, in all threads, for :func:`gevent.util.stats`.
look_ups = {"begun": 0, "ended": 0, "failed": 0}


def _look_up(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function of a resolver and count the look-up."""
    look_ups["begun"] += 1
    try:
        return function(*args)
    except BaseException:
        look_ups["failed"] += 1
        raise
    finally:
        look_ups["ended"] += 1


def gethostbyname(hostname: str) -> str:
    """Return an IPv4 address of a host, through the hub's resolver.

    :raises socket.gaierror: There is none.
    """
    address: str = _look_up(get_hub().resolver.gethostbyname, hostname)
    return address


def gethostbyname_ex(hostname: str) -> tuple[str, list[str], list[str]]:
    """Return the name, the aliases and the IPv4 addresses of a host, through the hub's resolver.

    :raises socket.gaierror: There is no such host.
    """
    found: tuple[str, list[str], list[str]]
    found = _look_up(get_hub().resolver.gethostbyname_ex, hostname)
    return found


def getaddrinfo(
    host: str | bytes | None,
    port: str | bytes | int | None,
    family: int = 0,
    type: int = 0,
    proto: int = 0,
    flags: int = 0,
) -> list[tuple[Any, Any, int, str, tuple[Any, ...]]]:
    """Return the addresses of *host* and *port*, through the hub's resolver.

    :returns: A list of ``(family, type, proto, canonical name, address)``, best first.
    :raises socket.gaierror: The look-up failed.
    """
    found = _look_up(get_hub().resolver.getaddrinfo, host, port, family, type, proto, flags)
    return [
        (_as_enum(family, AddressFamily), _as_enum(kind, SocketKind), *rest)
        for family, kind, *rest in found
    ]


def _as_enum(value: int, kind: Any) -> Any:
    try:
        return kind(value)
    except ValueError:
        return value


def gethostbyaddr(ip_address: str) -> tuple[str, list[str], list[str]]:
    """Return the name, the aliases and the addresses of the host that has an address.

    :raises socket.herror: No name is known.
    :raises socket.gaierror: *ip_address* is a name of no host.
    """
    found: tuple[str, list[str], list[str]]
    found = _look_up(get_hub().resolver.gethostbyaddr, ip_address)
    return found


def getnameinfo(sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
    """Return the names of the host and the service of a socket address.

    :param flags: ``NI_*`` flags.
    :raises socket.gaierror: The look-up failed.
    """
    found: tuple[str, str] = _look_up(get_hub().resolver.getnameinfo, sockaddr, flags)
    return found


def getfqdn(name: str = "") -> str:
    """Return the fully qualified name of a host, of this one by default.

    It is the first name with a dot that :func:`gethostbyaddr` returns, else *name* itself, or the
    result of ``gethostname()`` for this host.
    """
    name = name.strip()
    if not name or name in ("0.0.0.0", "::"):
        name = gethostname()
    try:
        hostname, aliases, _ = gethostbyaddr(name)
    except OSError:
        return name
    return next((known for known in (hostname, *aliases) if "." in known), hostname)


def _resolve_addr(sock: Any, address: Any) -> Any:
    """Return *address* with its host as figures, so that the C library need not look it up."""
    family = sock.family
    if family not in (AF_INET, AF_INET6) or not isinstance(address, tuple) or not address:
        return address
    host = address[0]
    if not isinstance(host, str) or host in ("", "<broadcast>"):
        # The C-level socket knows the addresses of any and all hosts, and refuses wrong ones.
        return address
    try:
        inet_pton(family, host)
    except OSError:
        pass
    except ValueError:
        # No name has a NUL or half a surrogate pair, of which the C-level socket complains.
        return address
    else:
        return address
    found = getaddrinfo(host, None, family, sock.type)
    figures, _, *scope = found[0][-1]
    return (figures, *address[1:], *(scope if len(address) == 2 else ()))


def _os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


__all__ = [
    "__socket__",
    "cancel_wait",
    "cancel_wait_ex",
    "getaddrinfo",
    "getfqdn",
    "gethostbyaddr",
    "gethostbyname",
    "gethostbyname_ex",
    "getnameinfo",
    "wait",
    "wait_read",
    "wait_readwrite",
    "wait_write",
]
