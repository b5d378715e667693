"""One WebSocket, of a server or a client."""

from __future__ import annotations

import contextlib
import functools
import time
import weakref
from _socket import SHUT_RDWR, SHUT_WR
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

import gevent
from gevent._core import MSG_ALREADY_CLOSED, MSG_SOCKET_DEAD, WebSocketBase
from gevent._socket3 import socket as plain_socket
from gevent.websocket.deflate import PerMessageDeflate
from gevent.websocket.exceptions import ProtocolError, WebSocketError

__all__ = ["MSG_ALREADY_CLOSED", "MSG_CLOSED", "MSG_SOCKET_DEAD", "Stream", "WebSocket"]

MSG_CLOSED = "Connection closed"

# The size of the parts in which a message is written. Each part has a timeout of its own.
_PART = 16 * 1024


def _abandon(ref: Any) -> None:
    """End the connection of a WebSocket whose other side did not answer a close in time."""
    ws = ref()
    if ws is not None and not ws._ended:
        ws.ended_by = ws.ended_by or "close_timeout"
        with contextlib.suppress(OSError, AttributeError):
            ws._connection.socket.shutdown(SHUT_RDWR)


class Stream:
    """The byte stream of a connection: a socket, and the functions that read and write it.

    A `WebSocket` calls `recv` and `write`. If both are the socket's own methods when the WebSocket
    is made, it uses the socket directly.
    """

    __slots__ = ("recv", "socket", "write")

    def __init__(self, socket: Any) -> None:
        self.socket: Any = socket
        self.recv: Callable[[int], bytes] = socket.recv
        self.write: Callable[[bytes | memoryview], object] = socket.sendall

    def end_sending(self) -> None:
        """Close the sending side. What the other side sends can be received as before."""
        sock = self.socket
        tls = getattr(sock, "_sslobj", None)
        try:
            if tls is not None:
                before = sock.gettimeout()
                sock.settimeout(0)
                # This sends the closing alert of TLS, if that can be done without waiting.
                with contextlib.suppress(OSError):
                    tls.shutdown()
                sock.settimeout(before)
            sock.shutdown(SHUT_WR)
        except (OSError, AttributeError):
            # The connection has ended, or the object is only like a socket and has no shutdown.
            pass

    def drop_rest(self) -> None:
        """Read and drop what still comes, until the other side ends the connection.

        If it were closed with bytes unread, the kernel would reset it, and the other side could
        lose what was sent last. The bytes of TLS are dropped as they are.
        """
        sock = self.socket
        recv = (
            functools.partial(plain_socket.recv, sock)
            if isinstance(sock, plain_socket)
            else self.recv
        )
        with contextlib.suppress(OSError):
            while recv(65536):
                # Otherwise a side that sends without a pause would keep everybody waiting, and no
                # timeout could end this.
                gevent.sleep(0)

    def read(self, size: int) -> bytes:
        """Return `size` bytes; fewer when the connection ends before."""
        pieces = []
        while size > 0 and (data := self.recv(size)):
            pieces.append(data)
            size -= len(data)
        return b"".join(pieces)


def _plain_socket(stream: Any) -> plain_socket | None:
    """Return the socket of a stream that only passes calls on to a plain socket, or None."""
    sock = stream.socket if type(stream) is Stream else None
    if type(sock) is plain_socket and (stream.recv, stream.write) == (sock.recv, sock.sendall):
        return sock
    return None


class WebSocket(WebSocketBase):
    """One WebSocket: `receive()` and `send()` whole messages, `close()` when done.

    Any number of greenlets may send, and each message stays in one piece. One greenlet may receive.
    Pings are answered, and a close is acknowledged, while a greenlet receives.

    A message is sent immediately, unless more messages have been received already. Then it is kept
    to be sent together with the answers to those, but no longer than until the greenlet lets others
    run.

    `environ` is that of the request, None for a client. `closed` is true once messages can no
    longer be sent, `stream` is the `Stream` of the connection, None once it is closed, and
    `handler` is the `WebSocketHandler`, None for a client. `close_code` and `close_reason` are
    those of the other side's close. The code is None as long as there is none, 1005 when it gave no
    code, and 1006 when the connection ended without a close. `ended_by` names the limit of the
    server that ended the connection, None if none did.
    """

    OPCODE_CONTINUATION: ClassVar[int] = 0x00
    OPCODE_TEXT: ClassVar[int] = 0x01
    OPCODE_BINARY: ClassVar[int] = 0x02
    OPCODE_CLOSE: ClassVar[int] = 0x08
    OPCODE_PING: ClassVar[int] = 0x09
    OPCODE_PONG: ClassVar[int] = 0x0A

    _is_client: ClassVar[bool] = False

    def __init__(
        self,
        environ: dict[str, Any] | None,
        stream: Stream,
        handler: Any,
        *,
        protocol: str | None = None,
        compression: PerMessageDeflate | None = None,
        max_message_size: int = 2**24,
        message_timeout: float | None = None,
        write_timeout: float | None = None,
        close_timeout: float | None = None,
        min_rate: float | None = None,
        received: bytes = b"",
    ) -> None:
        """Speak WebSocket over a `stream` on which the handshake is done.

        :param protocol: the subprotocol that was agreed on.
        :param compression: the `PerMessageDeflate` that was agreed on.
        :param max_message_size: the most bytes of a message that are accepted, before and after
            decompression.
        :param message_timeout: seconds to wait for more of a message that has begun.
        :param write_timeout: seconds to wait for the other side to take more of what is sent.
        :param close_timeout: seconds that the other side has, once this one closes, to close too.
        :param min_rate: how many bytes extend the first two timeouts by a second; without it, any
            progress restarts them.
        :param received: the bytes that came after the handshake.
        """
        super().__init__(
            self._is_client, max_message_size, compression, received, _plain_socket(stream)
        )
        if message_timeout is not None:
            self._limit_messages(message_timeout, min_rate)
        self.environ = environ
        self.stream: Stream | None = stream
        # A weak reference, as the handler refers to the WebSocket: a cycle would keep both until
        # the garbage collector runs.
        self._handler = None if handler is None else weakref.ref(handler)
        self.close_code: int | None = None
        self.close_reason: str = ""
        self.ended_by: str | None = None
        self._write_timeout = write_timeout
        self._close_timeout = close_timeout
        self._min_rate = min_rate
        self._deadline: Any = None
        self._protocol = protocol
        self._connection = stream
        self._ended = False
        self._broken = False

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<{type(self).__name__} {self.path or ''} {state} at {id(self):#x}>"

    @property
    def handler(self) -> Any:
        """The `WebSocketHandler`; None for a client, and once the connection is over."""
        return None if self._handler is None else self._handler()

    @property
    def origin(self) -> str | None:
        """The origin of the page that connected, or None."""
        return self._from_environ("HTTP_ORIGIN")

    @property
    def protocol(self) -> str | None:
        """The subprotocol: the one agreed on, else what the client asked for, or None."""
        return self._protocol or self._from_environ("HTTP_SEC_WEBSOCKET_PROTOCOL")

    @property
    def version(self) -> str | None:
        """The version of the protocol, as text, or None."""
        return self._from_environ("HTTP_SEC_WEBSOCKET_VERSION")

    @property
    def path(self) -> str | None:
        """The path of the request, or None."""
        return self._from_environ("PATH_INFO")

    @property
    def current_app(self) -> Any:
        """The `WebSocketApplication` that handles this connection, or None."""
        client = getattr(self.handler, "active_client", None)
        return getattr(client, "application", None)

    def _from_environ(self, name: str) -> str | None:
        return None if self.environ is None else self.environ.get(name)

    def _receive_some(self) -> bool:
        """Receive with the stream's `recv`; return true if anything came."""
        left = self._message_time_left()
        if left is None:
            data = self._connection.recv(self._wanted)
        else:
            begin, data = time.monotonic(), None
            with gevent.Timeout(max(left, 0.001), False):
                data = self._connection.recv(self._wanted)
            self._message_waited(time.monotonic() - begin)
            if data is None:
                self._message_expired()
                return False
        if data:
            self._feed(data)
        return bool(data)

    def _message_expired(self) -> None:
        """Close the connection because the rest of a message did not come in time."""
        self.ended_by = "message_timeout"
        self._break_off(1008, "message took too long")

    def _break_off(self, code: int, reason: str) -> None:
        """Close the connection because of an error of the other side."""
        self.close_code, self.close_reason = code, reason
        self._broken = True
        self.close(code, reason)
        # The end of the stream shows the other side that nothing follows the close, so that it ends
        # the connection.
        self._connection.end_sending()

    def _control(self, opcode: int, payload: Any, reason: str = "") -> bool:
        """Handle a control frame; return true if it ends the connection.

        Of a close frame, `payload` is the code and `reason` the reason.
        """
        if opcode == self.OPCODE_PING:
            self.handle_ping(payload)
        elif opcode == self.OPCODE_PONG:
            self.handle_pong(payload)
        else:
            self.close_code, self.close_reason = payload or 1005, reason
            self._ended = True
            if not self.closed:
                self._send_close(payload, "")
            if not self._is_client:
                # The server has to end the connection first (RFC 6455 section 7.1.1).
                self._connection.end_sending()
        return self._ended

    def handle_ping(self, payload: bytes) -> None:
        """Answer a ping. A subclass may do more."""
        if not self.closed:
            # The greenlet that receives gets the error that ended the connection.
            with contextlib.suppress(WebSocketError):
                self.send_frame(payload, self.OPCODE_PONG)

    def handle_pong(self, payload: bytes) -> None:
        """Do nothing with a pong. A subclass may do more."""

    def _lost(self) -> None:
        self._ended = True
        if self.close_code is None:
            self.close_code = 1006
        self.closed: bool = True
        self.stream = None
        self._release()

    def _connection_over(self) -> None:
        """Release what the connection needed, and break the reference cycles it was part of."""
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline is not gevent.getcurrent():
            deadline.kill(block=False)
        self._lost()
        environ = self.environ
        if environ is not None and environ.get("wsgi.websocket") is self:
            environ["wsgi.websocket"] = None

    def _send_in_turn(self, message: Any, binary: bool | None) -> None:
        """Send a message once other greenlets have sent theirs."""
        with self._sending:
            self._write(self._encode(message, binary))

    def _send_rest(self, data: bytes) -> None:
        """Send the rest of a message once other greenlets have sent theirs."""
        with self._sending:
            self._write(data)

    def _flush(self) -> None:
        """Have a new greenlet, which may wait, send the messages that are held back."""
        gevent.spawn(self._send_held)

    def _send_held(self) -> None:
        # The greenlet that receives gets the error that ended the connection.
        with self._sending, contextlib.suppress(WebSocketError):
            self._write(self._take_held())

    def _fail_to_send(self, error: OSError) -> NoReturn:
        self._lost()
        raise WebSocketError(MSG_SOCKET_DEAD) from error

    def send_frame(self, message: Any, opcode: int) -> None:
        """Send a frame as it is: a message that is not compressed, or a ping or pong.

        Raises `WebSocketError` as `send()` does, `ValueError` for an invalid opcode or payload.
        """
        if self.closed:
            raise WebSocketError(MSG_ALREADY_CLOSED)
        payload = message.encode() if isinstance(message, str) else message
        with self._sending:
            self._write(self._encode_frame(payload, opcode))

    def ping(self, payload: bytes = b"") -> None:
        """Send a ping of up to 125 bytes; its answer goes to `handle_pong()`."""
        self.send_frame(payload, self.OPCODE_PING)

    def _write(self, data: bytes) -> None:
        try:
            if self._write_timeout is None:
                self._connection.write(data)
            else:
                self._write_in_time(data)
        except OSError as error:
            self._fail_to_send(error)
        except BaseException:
            # After a timeout or a kill, part of a frame may have been sent, so no other frame can
            # follow it.
            self._lost()
            raise
        self._count_transfer(len(data))

    def _write_in_time(self, data: bytes) -> None:
        """Write in parts, each of which the other side takes in the time that is left.

        Each part that it takes extends that time. Raises `TimeoutError` when the time is over.
        """
        assert self._write_timeout is not None
        whole = left = self._write_timeout
        view = memoryview(data)
        for at in range(0, len(data), _PART):
            part = data if len(data) <= _PART else view[at : at + _PART]
            begin, limit = time.monotonic(), gevent.Timeout(left)
            try:
                with limit:
                    self._connection.write(part)
            except gevent.Timeout as expired:
                if expired is not limit:
                    raise
                self.ended_by = self.ended_by or "write_timeout"
                raise TimeoutError("the message was not taken in time (write_timeout)") from None
            earned = len(part) / self._min_rate if self._min_rate else whole
            left = max(0.001, min(whole, left - (time.monotonic() - begin) + earned))

    def close(self, code: int = 1000, message: str | bytes = b"") -> None:
        """Send a close: no more will be sent, for a reason of up to 123 bytes of UTF-8.

        The socket is not closed: the handler does that, when the other side has answered or was
        given time to. Closing again does nothing. Raises `ValueError` for a code that may not be
        sent or too long a reason.
        """
        if not self.closed:
            text = message if isinstance(message, str) else bytes(message).decode()
            self._send_close(code, text)

    def _send_close(self, code: int | None, text: str) -> None:
        data = self._encode_close(code, text)
        self.closed = True
        self.stream = None
        if self._close_timeout is not None and not self._ended and self._deadline is None:
            self._deadline = gevent.spawn_later(self._close_timeout, _abandon, weakref.ref(self))
        with self._sending:
            try:
                self._write(data)
            except OSError:
                self._lost()

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Wait until the other side has closed too, dropping what it still sends.

        Returns true if it has; `timeout` is in seconds. No greenlet may receive meanwhile.
        """
        with gevent.Timeout(timeout, False):
            while not self._ended:
                try:
                    self._drop_next()
                except ProtocolError:
                    self._broken = True
                except OSError:
                    self._ended = True
        return self._ended

    def _drop_next(self) -> None:
        item = None if self._broken or self._ended else self._next()
        if type(item) is tuple:
            self._control(*item)
        elif item is None:
            data = self._connection.recv(65536 if self._broken else self._wanted)
            if not data:
                self._lost()
            elif not self._broken:  # else it is dropped: a close before a reset might not be read
                self._feed(data)
