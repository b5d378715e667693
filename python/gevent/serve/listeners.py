"""The listening sockets: where they are, and how they are opened."""

from __future__ import annotations

import errno
import os
import socket
import stat

UNIX = "unix:"


class ServeError(Exception):
    """Why serving cannot start, in one line."""


def open_listeners(bind: str, count: int, backlog: int) -> list[socket.socket]:
    """Return a listening socket for each of *count* workers.

    On TCP each is its own, and the kernel spreads connections over them (``SO_REUSEPORT``,
    socket(7)). A Unix socket, which that does not work for, is shared.

    :param bind: ``HOST:PORT``, ``[HOST]:PORT`` or ``unix:PATH``.
    :param backlog: How many connections may wait at each.
    :raises ServeError: *bind* is no address, or in use, or may not be used.
    """
    try:
        if bind.startswith(UNIX):
            shared = _open_unix(bind.removeprefix(UNIX), backlog)
            return [shared, *(shared.dup() for _ in range(count - 1))]
        return _open_tcp(*_host_and_port(bind), count, backlog)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ServeError(f"cannot listen at {bind}: {reason}") from error


def address_of(listener: socket.socket) -> str:
    """Return where *listener* listens, as it would be written in a URL."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return UNIX + name
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"{host}:{name[1]}"


def _host_and_port(bind: str) -> tuple[str, int]:
    host, colon, port = bind.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ServeError(f"cannot listen at {bind}: not of the form HOST:PORT or unix:PATH")
    return host, int(port)


def _open_tcp(host: str, port: int, count: int, backlog: int) -> list[socket.socket]:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    # A server that shares its port would let us in unnoticed: one that does not share finds it.
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        address = probe.getsockname()
    listeners = []
    for _ in range(count):
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        listeners.append(listener)
    # Only now: what connects early would find some of them only.
    for listener in listeners:
        listener.listen(backlog)
    return listeners


def _open_unix(path: str, backlog: int) -> socket.socket:
    if not path:
        raise ServeError(f"cannot listen at {UNIX}: no path")
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(backlog)
    return listener


def _remove_stale(path: str) -> None:
    """Remove a socket that nobody listens at any more."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect(path)
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        os.unlink(path)
    else:
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
