"""Operations of event loops on sockets of the program: ``sock_recv`` and its like.

Each makes its system call first. If that would block, the hub watches the descriptor until it is
ready, and the call is made again.
"""

from __future__ import annotations

from asyncio import base_events
from collections.abc import Callable
from typing import Any

__all__ = ["SocketOperations"]

_READ, _WRITE = 1, 2


class SocketOperations:
    """The part of an event loop that receives from sockets and sends to them."""

    _debug: bool
    _watch_descriptor: Callable[[int, int], tuple[Any, int]]
    _forget_descriptor: Callable[[int, Any], None]
    _ensure_fd_no_transport: Callable[[int], None]

    async def _when_ready(self, sock: Any, events: int, method: str, *args: Any) -> Any:
        """Call a method of *sock* with *args* as soon as it does not block; return its result."""
        base_events._check_ssl_socket(sock)  # type: ignore[attr-defined]
        if self._debug and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")
        while True:
            try:
                return getattr(sock, method)(*args)
            except (BlockingIOError, InterruptedError):
                pass
            fd = sock.fileno()
            self._ensure_fd_no_transport(fd)
            future, place = self._watch_descriptor(fd, events)
            try:
                await future
            except BaseException:
                self._forget_descriptor(place, future)
                raise

    async def sock_recv(self, sock: Any, n: int) -> bytes:
        """Receive up to *n* bytes from *sock*, which does not block."""
        received: bytes = await self._when_ready(sock, _READ, "recv", n)
        return received

    async def sock_recv_into(self, sock: Any, buf: Any) -> int:
        """Receive from *sock* into the buffer *buf*; return how many bytes."""
        count: int = await self._when_ready(sock, _READ, "recv_into", buf)
        return count

    async def sock_recvfrom(self, sock: Any, bufsize: int) -> tuple[bytes, Any]:
        """Receive a datagram of up to *bufsize* bytes from *sock*; return it and its sender."""
        received: tuple[bytes, Any] = await self._when_ready(sock, _READ, "recvfrom", bufsize)
        return received

    async def sock_recvfrom_into(self, sock: Any, buf: Any, nbytes: int = 0) -> tuple[int, Any]:
        """Receive a datagram into the buffer *buf*; return its size and its sender.

        :param nbytes: The most bytes to receive; 0 for as many as *buf* has room for.
        """
        nbytes = nbytes or len(buf)
        received: tuple[int, Any] = await self._when_ready(
            sock, _READ, "recvfrom_into", buf, nbytes
        )
        return received

    async def sock_sendall(self, sock: Any, data: Any) -> None:
        """Send all of *data* through *sock*."""
        with memoryview(data) as whole, whole.cast("B") as view:
            sent = await self._when_ready(sock, _WRITE, "send", data)
            while sent < len(view):
                with view[sent:] as rest:
                    sent += await self._when_ready(sock, _WRITE, "send", rest)

    async def sock_sendto(self, sock: Any, data: Any, address: Any) -> int:
        """Send the datagram *data* to *address*; return its size."""
        count: int = await self._when_ready(sock, _WRITE, "sendto", data, address)
        return count

    async def sock_accept(self, sock: Any) -> tuple[Any, Any]:
        """Accept a connection; return its socket, which does not block, and the peer's address."""
        accepted, address = await self._when_ready(sock, _READ, "accept")
        accepted.setblocking(False)
        return accepted, address
