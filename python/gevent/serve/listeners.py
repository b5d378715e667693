"""The listening sockets: how they are opened, shared and closed.

The supervisor opens each address once, and all workers accept from that one socket. A socket for
each worker (``SO_REUSEPORT``) would spread the load without a thundering herd, but the kernel
chooses the worker when a connection comes: the connection then waits for that worker, however busy
it is, while others idle, and is lost if that worker dies.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import socket
import stat
import struct
from collections.abc import Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from gevent.serve.errors import ServeError, reason
from gevent.serve.identity import user_and_group
from gevent.serve.options import DEFAULT_BIND, Options

if TYPE_CHECKING:
    from collections.abc import Iterator

UNIX = "unix:"
DESCRIPTOR = "fd://"
#: The first descriptor that systemd passes, sd_listen_fds(3).
FIRST_PASSED = 3

#: ``SO_ATTACH_FILTER`` of socket(7), which the module `socket` leaves out.
_ATTACH_FILTER = 26
#: A classic BPF program over a TCP segment: drop it if it has SYN but not ACK, else take it whole.
_NO_NEW_CONNECTIONS = (
    (0x30, 0, 0, 13),  # load the byte of the flags
    (0x54, 0, 0, 0x12),  # keep SYN and ACK
    (0x15, 0, 1, 0x02),  # is it SYN alone?
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # take
)


class Listener:
    """A listening socket of the supervisor.

    :param sock: The socket, which is listening.
    :param inherited: True if another program opened it and goes on using it. Then only the
        descriptor is closed at the end.
    """

    def __init__(self, sock: socket.socket, *, inherited: bool = False) -> None:
        self.sock = sock
        self.inherited = inherited
        self.is_unix: bool = sock.family == socket.AF_UNIX
        #: The address in the form in which a URL has it.
        self.address: str = address_of(sock)
        self._file = None if inherited or not self.is_unix else _identity(sock.getsockname())

    def refuse_new(self) -> None:
        """Have the kernel take no new connections, but keep those that wait to be accepted.

        A Unix socket loses its name. New connections over TCP are not answered until
        :meth:`close`, which must follow soon: they are refused at the second try of the client's
        kernel, a second later. Without this step, a connection that the kernel took in between the
        last ``accept`` and the closing would be reset.
        """
        if self.inherited:
            return
        if self.is_unix:
            self._unlink()
            return
        program = b"".join(struct.pack("HBBI", *step) for step in _NO_NEW_CONNECTIONS)
        memory = ctypes.create_string_buffer(program, len(program))
        pointer = struct.pack("HL", len(_NO_NEW_CONNECTIONS), ctypes.addressof(memory))
        with suppress(OSError):
            # A kernel without filters refuses this; a connection may then be reset as the socket is
            # closed.
            self.sock.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, pointer)

    def has_waiting(self) -> bool:
        """Return true if connections wait to be accepted."""
        if self.inherited:
            # They are for the program that opened the socket.
            return False
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Close the socket for all processes, also for those too busy to do it themselves."""
        if not self.inherited:
            self._unlink()
            if not self.is_unix:
                with suppress(OSError):
                    self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def _unlink(self) -> None:
        """Remove the file of a Unix socket, unless the path is another server's by now."""
        if self._file is None:
            return
        path = self.address.removeprefix(UNIX)
        with suppress(OSError):
            if _identity(path) == self._file:
                os.unlink(path)
        self._file = None


def open_listeners(options: Options, environ: Mapping[str, str]) -> list[Listener]:
    """Return the listening sockets that *options* ask for.

    Where the options have no address, the sockets that systemd passed to this process are used.

    :raises ServeError: An address is not valid, is in use, or may not be used by this process.
    """
    binds: Sequence[str] = options.bind
    if not binds:
        passed = passed_descriptors(environ)
        binds = [f"{DESCRIPTOR}{number}" for number in passed] or [DEFAULT_BIND]
    listeners: list[Listener] = []
    try:
        for bind in binds:
            listeners += _open(bind, options)
    except ServeError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def passed_descriptors(environ: Mapping[str, str]) -> range:
    """Return the descriptors that systemd passed to this process, sd_listen_fds(3)."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return range(0)
    count = environ.get("LISTEN_FDS", "")
    return range(FIRST_PASSED, FIRST_PASSED + (int(count) if count.isdigit() else 0))


def address_of(listener: socket.socket) -> str:
    """Return the address of *listener* in the form in which a URL has it."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        path = "@" + name[1:].decode(errors="replace") if isinstance(name, bytes) else name
        return UNIX + path
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"{host}:{name[1]}"


def _open(bind: str, options: Options) -> list[Listener]:
    try:
        if bind.startswith(UNIX):
            return [Listener(_open_unix(bind.removeprefix(UNIX), options))]
        if bind.startswith(DESCRIPTOR):
            return [Listener(_adopt(bind), inherited=True)]
        return [Listener(_open_tcp(*_host_and_port(bind), options))]
    except OSError as error:
        raise ServeError(f"cannot listen at {bind}: {reason(error)}") from error


def _host_and_port(bind: str) -> tuple[str, int]:
    host, colon, port = bind.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ServeError(
            f"cannot listen at {bind}: not of the form HOST:PORT or unix:PATH or fd://NUMBER"
        )
    return host, int(port)


def _open_tcp(host: str, port: int, options: Options) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if options.reuse_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        listener.listen(options.backlog)
    except BaseException:
        listener.close()
        raise
    return listener


def _adopt(bind: str) -> socket.socket:
    """Return the listening socket of an open descriptor."""
    number = bind.removeprefix(DESCRIPTOR)
    if not number.isascii() or not number.isdigit():
        raise ServeError(f"cannot listen at {bind}: not of the form fd://NUMBER")
    listener = socket.socket(fileno=int(number))
    if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        listener.detach()
        raise ServeError(f"cannot listen at {bind}: no listening socket")
    # Programs that the application starts must not inherit the socket.
    listener.set_inheritable(False)
    return listener


def _open_unix(path: str, options: Options) -> socket.socket:
    if not path:
        raise ServeError(f"cannot listen at {UNIX}: no path")
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _permissions(options.socket_mode):
            listener.bind(path)
        if options.user is not None or options.group is not None:
            uid, gid, _ = user_and_group(options.user, options.group)
            os.chown(path, -1 if uid is None else uid, -1 if gid is None else gid)
        listener.listen(options.backlog)
    except BaseException:
        listener.close()
        raise
    return listener


@contextmanager
def _permissions(mode: int | None) -> Iterator[None]:
    """Give files that are made within the block these permissions from the first moment on."""
    if mode is None:
        yield
        return
    before = os.umask(0o777 & ~mode)
    try:
        yield
    finally:
        os.umask(before)


def _identity(path: str) -> tuple[int, int]:
    """Return the device and inode, which identify a file among others of the same name."""
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _remove_stale(path: str) -> None:
    """Remove a socket that no process listens at any more."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            probe.connect(path)
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        with suppress(FileNotFoundError):
            os.unlink(path)
    except BlockingIOError:
        # The queue of the socket is full, so a server listens at it.
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)) from None
    else:
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
