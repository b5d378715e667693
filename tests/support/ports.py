"""Ports that a test can name before anybody listens there."""

import random
import socket
from collections.abc import Iterable
from pathlib import Path

LOOPBACK = "127.0.0.1"
#: Sockets that hold the ports this process was given, for as long as it lives.
_held: list[socket.socket] = []


def free_port(among: Iterable[int] | None = None) -> int:
    """Return a port at which nobody listens, and nobody will but whom the caller tells it.

    It is none of those that the kernel gives to sockets that ask for any: a test beside this one
    would be given it as soon as it is free, and would then answer in the place of the server that
    is still starting, or where nobody should. Each port is given once as long as the process lives.

    It is one of *among*, if the caller names some.
    """
    ports = list(among or never_given() or range(10_000, 65_536))
    random.SystemRandom().shuffle(ports)
    for port in ports:
        if _hold(port):
            if _is_free(port):
                return port
            _held.pop().close()
    raise AssertionError("no port is free")


def unused_address() -> tuple[str, int]:
    """Return an address at which nobody listens: see `free_port`."""
    return LOOPBACK, free_port()


def never_given() -> range:
    """Return the ports that the kernel chooses for nobody (ip(7), ip_local_port_range).

    There are none where the machine's settings let it choose any.
    """
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    return max(range(10_000, first), range(last + 1, 65_536), key=len)


def _hold(port: int) -> bool:
    """Take the name of a port, which is free again when this process ends; False if it is taken.

    Names of abstract Unix sockets belong to a network namespace, as ports do (unix(7)).
    """
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        lock.bind(f"\0gevent-rs port {port}")
    except OSError:
        lock.close()
        return False
    _held.append(lock)
    return True


def _is_free(port: int) -> bool:
    """Try to bind it as a server may that knows no SO_REUSEADDR."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
    ):
        try:
            stream.bind((LOOPBACK, port))
            datagrams.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
