"""The class :class:`gevent.ssl.SSLSocket`."""

from __future__ import annotations

import errno
import ssl
import time
from _ssl import ENCODING_DER
from collections.abc import Callable
from socket import AF_INET, SO_TYPE, SOCK_STREAM, SOL_SOCKET
from ssl import (
    CERT_NONE,
    CHANNEL_BINDING_TYPES,
    PROTOCOL_TLS,
    SSL_ERROR_EOF,
    SSLError,
    SSLWantReadError,
    SSLWantWriteError,
)
from typing import TYPE_CHECKING, Any

from gevent._socket3 import socket

__all__ = ["SSLSocket"]


if TYPE_CHECKING:
    # For type checkers these are sockets of the standard library too, as plain sockets are.
    class _Base(socket, ssl.SSLSocket):  # type: ignore[misc]
        pass
else:
    _Base = socket


class SSLSocket(_Base):
    """A socket with TLS, made by :meth:`SSLContext.wrap_socket`.

    It works as :class:`ssl.SSLSocket` does, but the handshake, reading and writing let other
    greenlets run. The timeout applies to each of these operations.
    """

    def __init__(
        self,
        sock: Any = None,
        keyfile: str | None = None,
        certfile: str | None = None,
        server_side: bool = False,
        cert_reqs: int = CERT_NONE,
        ssl_version: int = PROTOCOL_TLS,
        ca_certs: str | None = None,
        do_handshake_on_connect: bool = True,
        family: int = AF_INET,
        type: int = SOCK_STREAM,
        proto: int = 0,
        fileno: int | None = None,
        suppress_ragged_eofs: bool = True,
        npn_protocols: Any = None,
        ciphers: str | None = None,
        server_hostname: str | None = None,
        _session: Any = None,
        _context: Any = None,
    ) -> None:
        if _context is None:
            # The import is here because the module of the context imports this one.
            from gevent._sslcontext import context_of

            _context = context_of(
                server_side, keyfile, certfile, cert_reqs, ssl_version, ca_certs, ciphers
            )
        if server_side and server_hostname:
            raise ValueError("server_hostname can only be specified in client mode")
        if server_side and _session is not None:
            raise ValueError("session can only be specified in client mode")
        if sock is not None and sock.getsockopt(SOL_SOCKET, SO_TYPE) != SOCK_STREAM:
            raise NotImplementedError("only stream sockets are supported")
        if _context.check_hostname and not server_hostname:
            raise ValueError("check_hostname requires server_hostname")
        self._sslobj: Any = None
        self._context = _context
        self._session = _session
        self.server_side = server_side
        self.server_hostname: str | None = _context._encode_hostname(server_hostname)
        self.do_handshake_on_connect = do_handshake_on_connect
        self.suppress_ragged_eofs = suppress_ragged_eofs
        if sock is None:
            super().__init__(family=family, type=type, proto=proto, fileno=fileno)
        else:
            timeout = sock.gettimeout()
            super().__init__(
                family=sock.family, type=sock.type, proto=sock.proto, fileno=sock.fileno()
            )
            self.settimeout(timeout)
            sock.detach()
        self._connected = self._is_connected()
        if self._connected:
            try:
                self._begin()
            except BaseException:
                self.close()
                raise

    def _is_connected(self) -> bool:
        try:
            self.getpeername()
        except OSError as failure:
            if failure.errno != errno.ENOTCONN:
                raise
        else:
            return True
        # Bytes that came in plain text before the connection ended must not be taken for bytes that
        # came through TLS.
        try:
            early = self._sock.recv(1)
        except OSError as failure:
            if failure.errno not in (errno.ENOTCONN, errno.EINVAL, errno.EAGAIN):
                raise
            return False
        if early:
            self.close()
            reason = "Closed before TLS handshake with data in recv buffer."
            error = SSLError(errno.ENOTCONN, reason)
            error.reason = reason
            error.library = None  # type: ignore[assignment]
            raise error
        return False

    def _create_object(self) -> None:
        self._sslobj = self._context._wrap_socket(
            self._sock, self.server_side, self.server_hostname, owner=self, session=self._session
        )

    def _begin(self) -> None:
        self._create_object()
        if self.do_handshake_on_connect:
            if self.timeout == 0:
                raise ValueError(
                    "do_handshake_on_connect should not be specified for non-blocking sockets"
                )
            self.do_handshake()

    @property
    def context(self) -> Any:
        """The context that made the socket. Another can be set, as for another host name."""
        return self._context

    @context.setter
    def context(self, context: Any) -> None:
        self._context = context
        if self._sslobj is not None:
            self._sslobj.context = context

    @property
    def session(self) -> Any:
        """The TLS session, ``None`` before the handshake."""
        return None if self._sslobj is None else self._sslobj.session

    @session.setter
    def session(self, session: Any) -> None:
        self._session = session
        if self._sslobj is not None:
            self._sslobj.session = session

    @property
    def session_reused(self) -> bool | None:
        """True if an earlier session was resumed; ``None`` before the handshake."""
        return None if self._sslobj is None else self._sslobj.session_reused

    def _extra_repr(self) -> str:
        return f" server={self.server_side}, cipher={self.cipher() or ''!r}"

    def dup(self) -> Any:
        """Raise ``NotImplementedError``."""
        raise NotImplementedError(f"Can't dup() {type(self).__name__} instances")

    def _persist(self, operation: str, call: Callable[..., Any], *args: Any) -> Any:
        """Repeat *call*, waiting for the socket, until it need not wait for the other side."""
        deadline = None
        while True:
            try:
                return call(*args)
            except (SSLWantReadError, SSLWantWriteError) as wanted:
                left = self.timeout
                if left == 0:
                    raise
                write = isinstance(wanted, SSLWantWriteError)
            if left is not None:
                now = time.monotonic()
                deadline = now + left if deadline is None else deadline
                # A timeout of 0 would mean not to wait at all.
                left = max(deadline - now, 1e-9)
            try:
                self._wait_ready(write, left)
            except TimeoutError:
                raise TimeoutError(f"The {operation} operation timed out") from None

    def _object(self, what: str) -> Any:
        if self._sslobj is None:
            raise ValueError(f"{what} on closed or unwrapped SSL socket.")
        return self._sslobj

    def read(self, nbytes: int = 1024, buffer: Any = None) -> Any:
        """Read up to *nbytes* bytes; into *buffer* if there is one, returning how many."""
        ssl_object = self._object("Read")
        args = (nbytes,) if buffer is None else (nbytes, buffer)
        try:
            return self._persist("read", ssl_object.read, *args)
        except SSLError as failure:
            if failure.args[0] == SSL_ERROR_EOF and self.suppress_ragged_eofs:
                return b"" if buffer is None else 0
            raise

    def write(self, data: Any) -> int:
        """Write *data*; return how many bytes."""
        written: int = self._persist("write", self._object("Write").write, data)
        return written

    def getpeercert(self, binary_form: bool = False) -> Any:
        """Return the other side's certificate: a dict, empty if it was not verified, or DER."""
        if self._sslobj is None:
            # This raises the error of a socket that is not connected.
            self.getpeername()
            raise ValueError("handshake not done yet")
        return self._sslobj.getpeercert(binary_form)

    def selected_npn_protocol(self) -> None:
        """Return ``None``, as OpenSSL does not support NPN any more."""

    def selected_alpn_protocol(self) -> str | None:
        """Return the protocol that was agreed upon."""
        return None if self._sslobj is None else self._sslobj.selected_alpn_protocol()

    def cipher(self) -> tuple[str, str, int] | None:
        """Return the cipher's name, the protocol that defines it, and the secret bits."""
        return None if self._sslobj is None else self._sslobj.cipher()

    def shared_ciphers(self) -> list[tuple[str, str, int]] | None:
        """Return the ciphers that both sides have."""
        return None if self._sslobj is None else self._sslobj.shared_ciphers()

    def compression(self) -> str | None:
        """Return the compression in use."""
        return None if self._sslobj is None else self._sslobj.compression()

    def version(self) -> str | None:
        """Return the protocol's version, such as ``"TLSv1.3"``."""
        return None if self._sslobj is None else self._sslobj.version()

    def get_channel_binding(self, cb_type: str = "tls-unique") -> bytes | None:
        """Return the channel binding data."""
        if cb_type not in CHANNEL_BINDING_TYPES:
            raise ValueError(f"{cb_type!r} channel binding type not implemented")
        return None if self._sslobj is None else self._sslobj.get_channel_binding(cb_type)

    if hasattr(ssl.SSLSocket, "get_verified_chain"):  # since CPython 3.13

        def get_verified_chain(self) -> list[bytes]:
            """Return the certificates that vouch for the other side, each in DER form."""
            return self._in_der(self._object("Chain").get_verified_chain())

        def get_unverified_chain(self) -> list[bytes]:
            """Return the certificates that the other side sent, each in DER form."""
            return self._in_der(self._object("Chain").get_unverified_chain())

        @staticmethod
        def _in_der(chain: list[Any] | None) -> list[bytes]:
            return [certificate.public_bytes(ENCODING_DER) for certificate in chain or ()]

    if hasattr(ssl.SSLSocket, "group"):  # since CPython 3.15

        def group(self) -> str | None:
            """Return the name of the group in which the keys were agreed upon."""
            return None if self._sslobj is None else self._sslobj.group()

        def client_sigalg(self) -> str | None:
            """Return the algorithm of the client's signature, if it showed a certificate."""
            return None if self._sslobj is None else self._sslobj.client_sigalg()

        def server_sigalg(self) -> str | None:
            """Return the algorithm of the server's signature."""
            return None if self._sslobj is None else self._sslobj.server_sigalg()

    def verify_client_post_handshake(self) -> Any:
        """Ask the client for its certificate, after the handshake (TLS 1.3)."""
        if self._sslobj is None:
            raise ValueError(f"No SSL wrapper around {self}")
        return self._sslobj.verify_client_post_handshake()

    def pending(self) -> int:
        """Return how many bytes can be read without waiting."""
        return 0 if self._sslobj is None else self._sslobj.pending()

    def send(self, data: Any, flags: int = 0, timeout: Any = ...) -> int:
        """Send some of *data*; return how many bytes."""
        if self._sslobj is None:
            return super().send(data, flags, *(() if timeout is ... else (timeout,)))
        self._refuse_flags(flags, "send")
        return self.write(data)

    def sendto(self, data: Any, flags_or_addr: Any, addr: Any = None) -> int:
        """Send without TLS; raise ``ValueError`` once TLS is in use."""
        self._refuse("sendto")
        return super().sendto(data, flags_or_addr, *(() if addr is None else (addr,)))

    def sendmsg(self, *args: Any, **kwargs: Any) -> Any:
        """Raise ``NotImplementedError``: ancillary data has no place in TLS."""
        raise NotImplementedError(f"sendmsg not allowed on instances of {type(self)}")

    def recvmsg(self, *args: Any, **kwargs: Any) -> Any:
        """Raise ``NotImplementedError``: ancillary data has no place in TLS."""
        raise NotImplementedError(f"recvmsg not allowed on instances of {type(self)}")

    def recvmsg_into(self, *args: Any, **kwargs: Any) -> Any:
        """Raise ``NotImplementedError``: ancillary data has no place in TLS."""
        raise NotImplementedError(f"recvmsg_into not allowed on instances of {type(self)}")

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all of *data*."""
        if self._sslobj is None:
            super().sendall(data, flags)
            return
        self._refuse_flags(flags, "sendall")
        sent = 0
        if isinstance(data, bytes) and data:
            # Most messages fit into one record, and one call.
            sent = self.write(data)
            if sent == len(data):
                return
        with memoryview(data) as view, view.cast("B") as octets:
            while sent < len(octets):
                sent += self.write(octets[sent:])

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Send a binary file; see :meth:`gevent.socket.socket.sendfile`."""
        if self._sslobj is None:
            return super().sendfile(file, offset, count)
        self._check_sendfile_params(file, offset, count)
        sent: int = self._sendfile_use_send(file, offset, count)
        return sent

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Receive up to *buflen* bytes."""
        if self._sslobj is None:
            return super().recv(buflen, flags)
        self._refuse_flags(flags, "recv")
        # Receiving 0 bytes must not wait, so it does not read from the TLS object.
        return self.read(buflen) if buflen else b""

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """Receive into *buffer*, up to *nbytes* bytes; return how many."""
        if self._sslobj is None:
            return super().recv_into(buffer, nbytes or 0, flags)
        self._refuse_flags(flags, "recv_into")
        if not nbytes:
            with memoryview(buffer) as view:
                nbytes = view.nbytes
            if not nbytes:
                return 0
        count: int = self.read(nbytes, buffer)
        return count

    def recvfrom(self, buflen: int = 1024, flags: int = 0) -> tuple[bytes, Any]:
        """Receive without TLS; raise ``ValueError`` once TLS is in use."""
        self._refuse("recvfrom")
        return super().recvfrom(buflen, flags)

    def recvfrom_into(
        self, buffer: Any, nbytes: int | None = None, flags: int = 0
    ) -> tuple[int, Any]:
        """Receive without TLS; raise ``ValueError`` once TLS is in use."""
        self._refuse("recvfrom_into")
        return super().recvfrom_into(buffer, nbytes or 0, flags)

    def _refuse_flags(self, flags: int, name: str) -> None:
        if flags:
            raise ValueError(f"non-zero flags not allowed in calls to {name}() on {type(self)}")

    def _refuse(self, name: str) -> None:
        if self._sslobj is not None:
            raise ValueError(f"{name} not allowed on instances of {type(self)}")

    def shutdown(self, how: int) -> None:
        """Shut the connection down without the closing alert of TLS."""
        self._sslobj = None
        super().shutdown(how)

    def unwrap(self) -> SSLSocket:
        """End TLS with the other side's agreement; return the socket, now without TLS."""
        if self._sslobj is None:
            raise ValueError(f"No SSL wrapper around {self}")
        self._persist("unwrap", self._sslobj.shutdown)
        self._sslobj = None
        return self

    def _real_close(self) -> None:
        self._sslobj = None
        super()._real_close()

    def do_handshake(self, block: bool = False) -> None:
        """Negotiate TLS.

        :param block: True to wait though the socket is non-blocking.
        :raises ssl.SSLError: The two sides do not agree, or a certificate is not valid.
        :raises TimeoutError: The timeout passed.
        """
        if self._sslobj is None:
            self.getpeername()
        timeout = self.timeout
        if block and timeout == 0:
            self.settimeout(None)
        try:
            self._persist("handshake", self._object("Handshake").do_handshake)
        finally:
            if block and timeout == 0:
                self.settimeout(timeout)

    def connect(self, addr: Any) -> None:
        """Connect to *addr* and negotiate TLS."""
        self._connect_tls(super().connect, addr)

    def connect_ex(self, addr: Any) -> int:
        """Like :meth:`connect`, returning the error number of a failed connection, or 0.

        If the connection is still being made, call :meth:`do_handshake` once it is there.
        """
        number: int = self._connect_tls(super().connect_ex, addr)
        return number

    def _connect_tls(self, connect: Callable[[Any], int | None], addr: Any) -> Any:
        if self.server_side:
            raise ValueError("can't connect in server-side mode")
        if self._connected or self._sslobj is not None:
            raise ValueError("attempt to connect already-connected SSLSocket!")
        self._create_object()
        try:
            number = connect(addr)
            if not number:
                self._connected = True
                if self.do_handshake_on_connect:
                    self.do_handshake()
            return number
        except BaseException:
            self._sslobj = None
            self._connected = False
            raise

    def accept(self) -> tuple[SSLSocket, Any]:
        """Wait for a connection and negotiate TLS; return it and the other side's address."""
        accepted, address = super().accept()
        try:
            wrapped = self._context.wrap_socket(
                accepted,
                do_handshake_on_connect=self.do_handshake_on_connect,
                suppress_ragged_eofs=self.suppress_ragged_eofs,
                server_side=True,
            )
        except BaseException:
            accepted.close()
            raise
        return wrapped, address
