"""The class :class:`gevent.socket.socket`, and the functions that make sockets."""

from __future__ import annotations

import _socket
import os
import stat
from collections.abc import Iterable
from errno import EAGAIN, EALREADY, EBADF, EINPROGRESS, EISCONN
from socket import (  # type: ignore[attr-defined]
    AF_UNIX,
    MSG_DONTWAIT,
    SO_ERROR,
    SOCK_STREAM,
    SOL_SOCKET,
    AddressFamily,
    _GiveupOnSendfile,
)
from socket import socket as _StdlibSocket
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from gevent._core import SocketBase
from gevent._polling import poll_until
from gevent._socketcommon import _DEFAULT, _as_enum, _os_error, _resolve_addr
from gevent._socketcommon import wait as _wait_on_watcher

__all__ = ["SocketType", "fromfd", "socket", "socketpair"]


# The most bytes that one sendfile(2) takes.
_BLOCK = 0x7FFFF000


class _wrefsocket(_socket.socket):
    """A C-level socket that can be referred to weakly."""

    __slots__ = ("__weakref__",)


class _closedsocket:
    """The value of ``_sock`` once the descriptor is gone: every use fails with ``EBADF``."""

    __slots__ = ("_fileno", "_reason")

    def __init__(self, fileno: int, reason: str) -> None:
        self._fileno = fileno
        self._reason = reason

    def __getattr__(self, name: str) -> Any:
        raise _os_error(EBADF)

    def __bool__(self) -> bool:
        return False

    def fileno(self) -> int:
        """Return -1."""
        return -1

    def close(self) -> None:
        """Do nothing."""

    def detach(self) -> int:
        """Return -1."""
        return -1

    def __repr__(self) -> str:
        place = f"{hex(id(self))} fd={self._fileno}"
        return f"<socket object [closed proxy at {place} {self._reason}]>"


if TYPE_CHECKING:
    # Programs pass sockets of ours to functions that take the standard library's: in a patched
    # process these are the same class, and elsewhere they behave alike. So type checkers see them
    # as sockets of the standard library.
    class _Base(SocketBase, _StdlibSocket):  # type: ignore[misc]
        pass
else:
    _Base = SocketBase


class socket(_Base):
    """A socket whose operations let other greenlets run while they wait.

    Like :class:`socket.socket`, except: the descriptor itself never blocks, whatever the timeout
    is; closing the socket wakes all greenlets that wait for it, with ``OSError`` (``EBADF``); one
    greenlet may read while another writes, but two that read (or two that write) at once
    get :class:`gevent.exceptions.ConcurrentObjectUseError`; host names in addresses are looked up
    through the hub's resolver.

    :param family: ``AF_INET`` by default.
    :param type: ``SOCK_STREAM`` by default.
    :param proto: A protocol number, 0 by default.
    :param fileno: A descriptor to take over. Parameters that are not given are then read from it.
    """

    __slots__ = ()

    #: The class of the sockets that :meth:`accept` makes.
    _gevent_sock_class: type

    @property
    def family(self) -> Any:
        """The address family."""
        return _as_enum(self._family, AddressFamily)

    def __enter__(self) -> Self:
        return self

    def __exit__(  # type: ignore[override]
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._closed:
            self.close()

    def __repr__(self) -> str:
        number = self.fileno()
        if number == -1:
            what = repr(self._sock).removeprefix("<socket object").removesuffix(">")
        else:
            what = f", fd={number}, family={self._family}, type={self.type}, proto={self.proto}"
        kind = type(self)
        state = " [closed]" if self._closed else ""
        place = f"{state} at {hex(id(self))}"
        return f"<{kind.__module__}.{kind.__name__}{place}{self._extra_repr()} object{what}>"

    def _extra_repr(self) -> str:
        return ""

    def __getstate__(self) -> Any:
        raise TypeError(f"Cannot serialize {type(self).__name__} object")

    def _wait(self, watcher: Any, timeout_exc: Any = _DEFAULT) -> None:
        """Wait for a watcher of this socket, for at most its timeout."""
        _wait_on_watcher(watcher, self.timeout, timeout_exc)

    def _resolved(self, address: Any) -> Any:
        return _resolve_addr(self, address)

    def connect(self, address: Any) -> None:
        """Connect to *address*; a host name in it is looked up first.

        :raises socket.gaierror: There is no such host.
        :raises TimeoutError: The timeout passed.
        :raises OSError: The connection failed. Without waiting (a timeout of 0),
            ``BlockingIOError`` (``EINPROGRESS``) says that it is being made.
        """
        number = self._connect(address)
        if number:
            raise _os_error(number)

    def connect_ex(self, address: Any) -> int:
        """Like :meth:`connect`, but return the error number of a failure, 0 for none.

        An error in *address* itself is raised; a timeout is ``EAGAIN``.
        """
        if self.fileno() < 0:
            return EBADF
        try:
            if self.timeout == 0:
                number: int = self._sock.connect_ex(_resolve_addr(self, address))
                return number
            return self._connect(address)
        except TimeoutError:
            return EAGAIN
        except _socket.gaierror:
            raise
        except OSError as error:
            return error.errno  # type: ignore[return-value]

    def _connect(self, address: Any) -> int:
        address = _resolve_addr(self, address)
        number: int = self._sock.connect_ex(address)
        if number == EAGAIN and self._family == AF_UNIX and self.timeout != 0:
            number = self._connect_when_there_is_room(address)
        if number == EISCONN:
            return 0
        if number not in (EINPROGRESS, EALREADY) or self.timeout == 0:
            return number
        self._rearm()
        while number in (EINPROGRESS, EALREADY):
            self._wait_ready(True)
            number = self._sock.getsockopt(SOL_SOCKET, SO_ERROR) or self._sock.connect_ex(address)
        return 0 if number == EISCONN else number

    def _connect_when_there_is_room(self, address: Any) -> int:
        """Connect to a local listener for which more connections wait than it has room for.

        A blocking socket would wait until some are accepted; to others the kernel reports nothing.
        """
        number: int = EAGAIN

        def attempt() -> bool:
            nonlocal number
            number = self._sock.connect_ex(address)
            return number != EAGAIN

        if not poll_until(attempt, self.timeout):
            raise TimeoutError("timed out")
        return number

    def bind(self, address: Any) -> None:
        """Give the socket a local address."""
        self._sock.bind(address)

    def listen(self, *args: int) -> None:
        """Have the socket take connections, with room for so many that wait to be accepted."""
        self._sock.listen(*args)

    def getsockname(self) -> Any:
        """Return the socket's own address."""
        return self._sock.getsockname()

    def getpeername(self) -> Any:
        """Return the other side's address."""
        return self._sock.getpeername()

    def getsockopt(self, *args: int) -> Any:
        """Return an option: ``getsockopt(level, option[, buffersize])``."""
        return self._sock.getsockopt(*args)

    def setsockopt(self, *args: Any) -> None:
        """Set an option: ``setsockopt(level, option, value)``, or ``(…, None, length)``."""
        self._sock.setsockopt(*args)

    def get_inheritable(self) -> bool:
        """Return true if child programs inherit the descriptor."""
        return os.get_inheritable(self.fileno())

    def set_inheritable(self, inheritable: bool) -> None:
        """Let child programs inherit the descriptor, or not."""
        os.set_inheritable(self.fileno(), inheritable)

    def dup(self) -> Self:
        """Return a new socket over a duplicate of the descriptor, with the same timeout."""
        number = _socket.dup(self.fileno())
        new = type(self)(self._family, self.type, self.proto, fileno=number)
        new.settimeout(self.timeout)
        return new

    def _retry(self, write: bool, name: str, *args: Any) -> Any:
        while True:
            try:
                return getattr(self._sock, name)(*args)
            except BlockingIOError:
                if self.timeout == 0:
                    raise
            self._wait_ready(write)

    def recvmsg(self, *args: Any) -> tuple[bytes, list[Any], int, Any]:
        """Receive data and ancillary data: ``recvmsg(bufsize[, ancbufsize[, flags]])``.

        :returns: ``(data, ancillary data, flags, address)``, as in the standard library.
        """
        received: tuple[bytes, list[Any], int, Any] = self._retry(False, "recvmsg", *args)
        return received

    def recvmsg_into(self, buffers: Iterable[Any], *args: Any) -> tuple[int, list[Any], int, Any]:
        """Like :meth:`recvmsg`, into *buffers*; the first item is the number of bytes."""
        received: tuple[int, list[Any], int, Any]
        received = self._retry(False, "recvmsg_into", list(buffers), *args)
        return received

    def sendmsg(
        self,
        buffers: Iterable[Any],
        ancdata: Iterable[Any] = (),
        flags: int = 0,
        address: Any = None,
    ) -> int:
        """Send the data of several buffers, and ancillary data; return how many bytes.

        With ``MSG_DONTWAIT`` among the *flags* it does not wait, and raises ``BlockingIOError``.
        """
        address = _resolve_addr(self, address)
        if flags & MSG_DONTWAIT:
            sent: int = self._sock.sendmsg(buffers, ancdata, flags, address)
        else:
            sent = self._retry(True, "sendmsg", list(buffers), list(ancdata), flags, address)
        return sent

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Send the binary file *file* from *offset*, up to *count* bytes (``None``: all).

        A regular file is sent by the system call of that name, another one by :meth:`send`. The
        file's position is then behind the bytes that were sent.

        :returns: The number of bytes.
        :raises ValueError: *file* is a text file, this is no stream socket or does not wait.
        """
        try:
            return self._sendfile_use_sendfile(file, offset, count)
        except _GiveupOnSendfile:
            sent: int = self._sendfile_use_send(file, offset, count)
            return sent

    def _sendfile_use_sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        self._check_sendfile_params(file, offset, count)
        if self.timeout == 0:
            raise ValueError("non-blocking sockets are not supported")
        try:
            fileno = file.fileno()
            regular = stat.S_ISREG(os.fstat(fileno).st_mode)
        except (AttributeError, OSError) as error:
            raise _GiveupOnSendfile(error) from error
        if not regular:
            raise _GiveupOnSendfile(f"{file!r} is no regular file")
        sent = 0
        try:
            while count is None or sent < count:
                block = _BLOCK if count is None else min(_BLOCK, count - sent)
                try:
                    part = os.sendfile(self.fileno(), fileno, offset + sent, block)
                except BlockingIOError:
                    self._wait_ready(True)
                    continue
                except OSError as error:
                    if sent:
                        raise
                    # Not a file that can be mapped, as the system call wants it.
                    raise _GiveupOnSendfile(error) from error
                if part == 0:
                    break
                sent += part
            return sent
        finally:
            if sent and hasattr(file, "seek"):
                file.seek(offset + sent)

    _check_sendfile_params: Any = _StdlibSocket._check_sendfile_params  # type: ignore[attr-defined]
    _sendfile_use_send: Any = _StdlibSocket._sendfile_use_send  # type: ignore[attr-defined]
    if not TYPE_CHECKING:
        makefile = _StdlibSocket.makefile


socket._gevent_sock_class = socket
SocketType = socket


def fromfd(fd: int, family: int, type: int, proto: int = 0) -> socket:
    """Return a socket over a duplicate of the descriptor *fd*."""
    return socket(family, type, proto, fileno=_socket.dup(fd))


def socketpair(
    family: int | None = None, type: int = SOCK_STREAM, proto: int = 0
) -> tuple[socket, socket]:
    """Return two sockets that are connected to each other, ``AF_UNIX`` ones by default."""
    family = AF_UNIX if family is None else family
    one, other = (
        socket(family, type, proto, fileno=made.detach())
        for made in _socket.socketpair(family, type, proto)
    )
    one._pair_with(other)
    return one, other
