"""The transports of sockets: their set-up and their end.

The base classes, which are part of the engine, do the rest for each message.
"""

from __future__ import annotations

import sys
import warnings
from asyncio import base_events, constants, transports, trsock
from asyncio.log import logger
from collections import deque
from contextvars import Context
from typing import Any
from weakref import WeakKeyDictionary

from gevent import _socket3
from gevent._core import DatagramTransport as _DatagramTransport
from gevent._core import StreamTransport
from gevent.monkey.api import get_original

__all__ = ["DatagramTransport", "SocketTransport", "is_plain"]

# Since CPython 3.13 a server knows its transports, for ``Server.close_clients``.
_SERVER_KNOWS_TRANSPORTS = sys.version_info >= (3, 13)
# Since CPython 3.13 empty datagrams are sent, and count in the buffer.
_SENDS_EMPTY_DATAGRAMS = sys.version_info >= (3, 13)
_BYTES_LIKE = (bytes, bytearray, memoryview)
_DATAGRAM_HEADER = 8 if _SENDS_EMPTY_DATAGRAMS else 0


#: The methods by which asyncio's own transports move data.
_TRANSFERS = ("recv", "recv_into", "recvfrom", "send", "sendmsg", "sendto")
#: The answers of `is_plain`, by the sockets' classes.
_plain: WeakKeyDictionary[type, bool] = WeakKeyDictionary()


def is_plain(sock: Any) -> bool:
    """Return true if all that *sock* sends and receives passes through its descriptor unchanged.

    That does not hold for objects that wrap a socket, and for classes that override its methods.
    Only asyncio's own transports call these.
    """
    kind = type(sock)
    plain = _plain.get(kind)
    if plain is None:
        plain = _plain[kind] = any(
            issubclass(kind, base)
            and all(getattr(kind, name) is getattr(base, name) for name in _TRANSFERS)
            for base in (get_original("socket", "socket"), _socket3.socket)
        )
    return plain


def _set_result_unless_cancelled(future: Any, result: Any) -> None:
    if not future.cancelled():
        future.set_result(result)


def limits_of(high: int | None, low: int | None) -> tuple[int, int]:
    """Return the lower and the upper limit of a write buffer, in bytes, with asyncio's defaults.

    :raises ValueError: unless *high* is at least *low*, and that at least 0.
    """
    if high is None:
        high = 64 * 1024 if low is None else 4 * low
    if low is None:
        low = high // 4
    if not high >= low >= 0:
        raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
    return low, high


class _SocketTransport:
    """The part that transports of stream and of datagram sockets have in common."""

    # A default, as the destructor reads this also when the constructor failed.
    _server: Any = None
    # These are attributes of the base classes.
    set_protocol: Any
    is_reading: Any
    get_write_buffer_size: Any
    _begin_reading: Any
    _detach: Any
    _force_close: Any
    _sock: Any
    _sock_fd: int
    _loop: Any
    _protocol: Any
    _protocol_paused: bool
    _limits: tuple[int, int]
    _closing: bool

    def _set_up(
        self,
        loop: Any,
        sock: Any,
        protocol: Any,
        waiter: Any,
        extra: dict[str, Any] | None,
        context: Context | None,
    ) -> None:
        self._extra = {} if extra is None else extra
        self._extra["socket"] = trsock.TransportSocket(sock)
        try:
            self._extra["sockname"] = sock.getsockname()
        except OSError:
            self._extra["sockname"] = None
        if "peername" not in self._extra:
            try:
                self._extra["peername"] = sock.getpeername()
            except OSError:
                self._extra["peername"] = None
        self.set_protocol(protocol)
        loop._transports[self._sock_fd] = self
        loop.call_soon(protocol.connection_made, self, context=context)
        # Nothing is read before the protocol has been given the transport.
        loop.call_soon(self._begin_reading, context, context=context)
        if waiter is not None:
            loop.call_soon(_set_result_unless_cancelled, waiter, None, context=context)

    def __repr__(self) -> str:
        parts = [type(self).__name__]
        if self._sock is None:
            parts.append("closed")
        elif self._closing:
            parts.append("closing")
        parts.append(f"fd={self._sock_fd}")
        loop = self._loop
        if loop is not None and not loop.is_closed():
            parts.append("read=polling" if self.is_reading() else "read=idle")
            size = self.get_write_buffer_size()
            parts.append(f"write=<{'polling' if size else 'idle'}, bufsize={size}>")
        return f"<{' '.join(parts)}>"

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if self._sock is not None:
            _warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
            self._detach().close()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return the piece of information about the connection that has *name*, or *default*."""
        return self._extra.get(name, default)

    def abort(self) -> None:
        """Close the transport without sending what is buffered."""
        self._force_close(None)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the buffer sizes, in bytes, at which the protocol writes on and pauses."""
        return self._limits

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the sizes of the write buffer at which the protocol pauses and writes on, in bytes.

        :raises ValueError: unless *high* is at least *low*, and that at least 0.
        """
        self._limits = limits_of(high, low)
        self._check_limits()

    def _check_limits(self) -> None:
        if not self._protocol_paused and self.get_write_buffer_size() > self._limits[1]:
            self._protocol_paused = True
            self._pause_protocol()

    def _pause_protocol(self) -> None:
        self._call_protocol("pause_writing")

    def _resume_protocol(self) -> None:
        self._protocol_paused = False
        self._call_protocol("resume_writing")

    def _call_protocol(self, name: str) -> None:
        try:
            getattr(self._protocol, name)()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._report(error, f"protocol.{name}() failed")

    def _report(self, error: BaseException, message: str = "Fatal error on transport") -> None:
        self._loop.call_exception_handler(
            {
                "message": message,
                "exception": error,
                "transport": self,
                "protocol": self._protocol,
            }
        )

    def _warn_of_lost_writes(self) -> None:
        logger.warning("socket.send() raised exception.")

    def _fatal_error(self, error: BaseException, message: str = "Fatal error on transport") -> None:
        loop = self._loop
        if loop is not None:
            if not isinstance(error, OSError):
                self._report(error, message)
            elif loop.get_debug():
                logger.debug("%r: %s", self, message, exc_info=error)
        self._force_close(error)

    def _schedule_connection_lost(self, error: BaseException | None) -> None:
        self._loop.call_soon(self._call_connection_lost, error)

    def _call_connection_lost(self, error: BaseException | None) -> None:
        protocol = self._protocol
        try:
            if protocol is not None:
                protocol.connection_lost(error)
        finally:
            sock = self._detach()
            if sock is not None:
                sock.close()


class _StreamInterface(transports._FlowControlMixin, transports.Transport):
    """The class that transports of stream sockets pass for."""


class SocketTransport(_SocketTransport, StreamTransport):
    """The transport of a stream socket.

    ``isinstance`` takes it for an :class:`asyncio.Transport`, as programs check for that. It cannot
    be derived from that class, as CPython allows one base class with a memory layout of its own.
    """

    __class__ = property(lambda self: _StreamInterface)
    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.TRY_NATIVE

    def __init__(
        self,
        loop: Any,
        sock: Any,
        protocol: Any,
        waiter: Any = None,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        context: Context | None = None,
    ) -> None:
        base_events._set_nodelay(sock)  # type: ignore[attr-defined]
        self._server = server
        if server is not None:
            server._attach(*self._as_client())
        self._set_up(loop, sock, protocol, waiter, extra, context)

    def _as_client(self) -> tuple[Any, ...]:
        return (self,) if _SERVER_KNOWS_TRANSPORTS else ()

    def can_write_eof(self) -> bool:
        """Return true: the sending side can be closed by itself."""
        return True

    def _call_connection_lost(self, error: BaseException | None) -> None:
        waiter = self._empty_waiter
        try:
            # ``super()`` needs the name ``__class__``, which is a property here.
            _SocketTransport._call_connection_lost(self, error)
        finally:
            server, self._server = self._server, None
            if server is not None:
                server._detach(*self._as_client())
            if waiter is not None and not waiter.done():
                waiter.set_exception(ConnectionError("Connection is closed by peer"))

    def _make_empty_waiter(self) -> Any:
        if self._empty_waiter is not None:
            raise RuntimeError("Empty waiter is already set")
        waiter = self._loop.create_future()
        self._empty_waiter = waiter
        if not self.get_write_buffer_size():
            waiter.set_result(None)
        return waiter

    def _reset_empty_waiter(self) -> None:
        self._empty_waiter = None


class _DatagramInterface(transports._FlowControlMixin, transports.DatagramTransport):
    """The class that transports of datagram sockets pass for."""


class DatagramTransport(_SocketTransport, _DatagramTransport):
    """The transport of a datagram socket; it passes for an :class:`asyncio.DatagramTransport`."""

    __class__ = property(lambda self: _DatagramInterface)

    def __init__(
        self,
        loop: Any,
        sock: Any,
        protocol: Any,
        address: Any = None,
        waiter: Any = None,
        extra: dict[str, Any] | None = None,
        context: Context | None = None,
    ) -> None:
        self._address = address
        self._buffer: deque[tuple[bytes, Any]] = deque()
        self._buffer_size = 0
        self._protocol_paused = False
        self._limits = limits_of(None, None)
        self._set_up(loop, sock, protocol, waiter, extra, context)
        self._is_connected = bool(self._extra["peername"])

    def get_write_buffer_size(self) -> int:
        """Return how many bytes have still to be sent."""
        return self._buffer_size

    def sendto(self, data: Any, addr: Any = None) -> None:
        """Send a datagram to *addr*, or to the peer of the transport.

        :param data: Bytes or the like.
        :raises ValueError: if *addr* is not the peer of a transport that has one.
        """
        if not isinstance(data, _BYTES_LIKE):
            kind = type(data).__name__
            raise TypeError(f"data argument must be a bytes-like object, not {kind!r}")
        address = self._address
        if address:
            if addr not in (None, address):
                raise ValueError(f"Invalid address: must be None or {address}")
            addr = address
            if self._conn_lost:
                if self._conn_lost >= constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES:
                    self._warn_of_lost_writes()
                self._conn_lost += 1
                return
        if not data and not _SENDS_EMPTY_DATAGRAMS:
            return
        if self._try_to_send(data, addr):
            return
        self._buffer.append((bytes(data), addr))
        self._buffer_size += len(data) + _DATAGRAM_HEADER
        if not self._is_waiting:
            self._wait_to_send()
        self._check_limits()

    def _try_to_send(self, data: Any, addr: Any) -> bool:
        """Return false if the datagram is to be kept for later."""
        try:
            return self._send(data, addr)
        except OSError as error:
            self._protocol.error_received(error)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._fatal_error(error, "Fatal write error on datagram transport")
        return True

    def _send_waiting(self) -> None:
        self._is_waiting = False
        buffer = self._buffer
        try:
            while buffer:
                data, addr = buffer.popleft()
                size = len(data) + _DATAGRAM_HEADER
                self._buffer_size -= size
                if not self._try_to_send(data, addr):
                    buffer.appendleft((data, addr))
                    self._buffer_size += size
                    break
        finally:
            if buffer and not self._is_waiting:
                self._wait_to_send()
        if self._protocol_paused and self._buffer_size <= self._limits[0]:
            self._resume_protocol()
        if not buffer and self._closing and self._begin_closing(True):
            self._call_connection_lost(None)

    def close(self) -> None:
        """Close the transport once everything is sent; ``connection_lost`` is called then."""
        if self._begin_closing(False) and not self._buffer and self._begin_closing(True):
            self._schedule_connection_lost(None)

    def _force_close(self, error: BaseException | None) -> None:
        if self._begin_closing(True):
            self._buffer.clear()
            self._buffer_size = 0
            self._schedule_connection_lost(error)
