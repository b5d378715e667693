"""The base of servers: it listens, spawns handlers, and pauses accepting when it has to."""

from __future__ import annotations

import errno
import math
import sys
from _socket import AF_INET, AF_INET6
from collections.abc import Callable
from typing import Any, ClassVar, Self

from gevent._core import (
    Greenlet,
    _handle_and_close_when_done,
    get_hub,
    restarting,
    spawn_raw,
    take_in,
)
from gevent._core import loop as _Loop
from gevent.event import Event

__all__ = ["BaseServer"]

#: Errors of accepting that may disappear when another connection ends.
SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
#: The seconds without a shortage after which the next one is reported.
_QUIET = 60.0


class BaseServer:
    """The base class of :class:`gevent.server.StreamServer` and other servers.

    It is a context manager that calls :meth:`stop` at the end.

    :param listener: An address, ``(host, port)`` or ``"host:port"`` or a port, that
        :meth:`start` makes a socket for, or a socket that is bound (and listens).
    :param handle: The function to call with each new connection or message; a subclass may define a
        method ``handle`` instead. When it returns, the connection is closed.
    :param spawn: The pool or function that runs handlers: a :class:`gevent.pool.Pool`, which while
        full holds new connections back, or its size; a function such as :func:`gevent.spawn` (the
        default) or :func:`gevent.spawn_raw`, also called ``"raw"``; ``None``: in the hub, where
        they must not block.
    :raises TypeError: There is no *handle*, or *listener* is of a wrong type.
    :raises ValueError: *listener* is no address, or :attr:`max_accept` is less than 1.
    """

    #: The seconds in which nothing is accepted after an error, at first and at most. They double
    #: with each error, of which only the first is reported. A negative ``min_delay`` means none.
    min_delay: float = 0.01
    max_delay: float = 1
    #: The number of connections to accept before other greenlets run. Above 1, other processes that
    #: listen at the same socket may get none.
    max_accept: int = 100
    #: The seconds that :meth:`stop` waits for handlers in the pool.
    stop_timeout: float = 1
    #: Error numbers that end the server when accepting meets them.
    fatal_errors: ClassVar[tuple[int, ...]] = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK)

    _spawn: Any = Greenlet.spawn
    #: When accepting last met a shortage, in the loop's time.
    _last_shortage: float = -math.inf

    #: Set while the server listens.
    socket: Any

    def __init__(
        self,
        listener: Any,
        handle: Callable[..., Any] | None = None,
        spawn: Any = "default",
    ) -> None:
        self._stop_event = Event()
        self._stop_event.set()
        self._watcher: Any = None
        self._timer: Any = None
        self._handle: Callable[..., Any] | None = None
        self.pool: Any = None
        try:
            self.set_listener(listener)
            self.set_spawn(spawn)
            self.set_handle(handle)
            self.delay: float = self.min_delay
            self.loop: _Loop = get_hub().loop
            if self.max_accept < 1:
                raise ValueError(f"max_accept must be positive int: {self.max_accept!r}")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self.stop()

    def set_listener(self, listener: Any) -> None:
        """Set the address or socket to listen at; see the class."""
        if hasattr(listener, "accept"):
            if hasattr(listener, "do_handshake"):
                raise TypeError(f"Expected a regular socket, not SSLSocket: {listener!r}")
            self.family: Any = listener.family
            self.address: Any = listener.getsockname()
            self.socket = listener
        else:
            self.family, self.address = parse_address(listener)

    def set_spawn(self, spawn: Any) -> None:
        """Set the pool or function that runs handlers; see the class."""
        if spawn == "default":
            self.pool = None
        elif spawn == "raw":
            self.pool = None
            self._spawn = spawn_raw
        elif hasattr(spawn, "spawn"):
            self.pool = spawn
            self._spawn = spawn.spawn
        elif isinstance(spawn, int):
            # Servers without a pool need not load it.
            from gevent.pool import Pool

            self.pool = Pool(spawn)
            self._spawn = self.pool.spawn
        else:
            self.pool = None
            self._spawn = spawn
        if hasattr(self.pool, "full"):
            self.full = self.pool.full  # type: ignore[method-assign]

    def set_handle(self, handle: Callable[..., Any] | None) -> None:
        """Set the handler of each connection or message; ``None``: the method ``handle``."""
        if handle is not None:
            self.handle = handle
        if not hasattr(self, "handle"):
            raise TypeError("'handle' must be provided")
        self._handle = self.handle

    def _start_accepting_if_started(self, _event: Any = None) -> None:
        if self.started:
            self.start_accepting()

    def start_accepting(self) -> None:
        """Accept what comes from now on; :meth:`start` does it."""
        if self._watcher is None:
            self._watcher = self.loop.io(self.socket.fileno(), 1)
        if not self._watcher.active:
            self._watcher.start(take_in, self)

    def stop_accepting(self) -> None:
        """Accept nothing until :meth:`start_accepting`; the socket goes on listening."""
        for watcher in (self._watcher, self._timer):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        self._watcher = self._timer = None

    def do_handle(self, *args: Any) -> None:
        """Run the handler for *args*, which :meth:`do_read` returned."""
        spawn, handle, close = self._spawn, self._handle, self.do_close
        try:
            if spawn is None:
                _handle_and_close_when_done(handle, close, args)  # type: ignore[arg-type]
            else:
                spawn(_handle_and_close_when_done, handle, close, args)
        except BaseException:
            close(*args)
            raise

    def do_close(self, *args: Any) -> None:
        """Close the arguments of a handler after its call. The base class does nothing."""

    def do_read(self) -> tuple[Any, ...] | None:
        """Return the arguments of the next call of the handler, ``None`` when nothing came."""
        raise NotImplementedError

    def _wait_for_room(self) -> None:
        self.stop_accepting()
        if self.pool is not None:
            self.pool._semaphore.rawlink(restarting(self._start_accepting_if_started))

    def _reading_failed(self, failure: BaseException) -> None:
        self._report_once(self, failure)
        if self.is_fatal_error(failure):
            self.close()
            sys.stderr.write(f"ERROR: {self} failed with {failure}\n")
        else:
            self._hold_back()

    def _handling_failed(self, args: tuple[Any, ...], failure: BaseException) -> None:
        self._report_once((args[1:], self), failure)
        self._hold_back()

    def _report_once(self, context: Any, failure: BaseException) -> None:
        """Report a failure, unless it follows another one, as its cause is known then."""
        if self.delay > self.min_delay and not self.is_fatal_error(failure):
            return
        if isinstance(failure, OSError) and failure.errno in SHORTAGES:
            # While descriptors come and go, accepting fails and works again many times a second.
            before, self._last_shortage = self._last_shortage, self.loop.now()
            if self._last_shortage - before < _QUIET:
                return
        self.loop.handle_error(context, type(failure), failure, failure.__traceback__)

    def _hold_back(self) -> None:
        if self.delay < 0 or not self.started:
            return
        self.stop_accepting()
        self._timer = self.loop.timer(self.delay)
        # The loop's own time may be long ago, if a callback of the same turn took long.
        self._timer.start(restarting(self._start_accepting_if_started), update=True)
        self.delay = min(self.max_delay, self.delay * 2)

    def full(self) -> bool:
        """Return true if the pool has no room."""
        return False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {hex(id(self))} {self._formatinfo()}>"

    def __str__(self) -> str:
        return f"<{type(self).__name__} {self._formatinfo()}>"

    def _formatinfo(self) -> str:
        parts = []
        if hasattr(self, "socket"):
            try:
                parts.append(f"fileno={self.socket.fileno()}")
            except Exception as failure:
                parts.append(f"fileno={failure}")
        address = getattr(self, "address", None)
        if isinstance(address, tuple) and len(address) == 2:
            address = f"{address[0]}:{address[1]}"
        parts.append(f"address={address}")
        handle = vars(self).get("handle")
        if handle is not None:
            if getattr(handle, "__self__", None) is self:
                # It would contain itself.
                parts.append(f"handle=<bound method {handle.__qualname__} of self>")
            else:
                parts.append(f"handle={handle!r}")
        return " ".join(parts)

    @property
    def server_host(self) -> Any:
        """The host part of the address; ``None`` for a path."""
        return self.address[0] if isinstance(self.address, tuple) else None

    @property
    def server_port(self) -> Any:
        """The port of the address; ``None`` for a path."""
        return self.address[1] if isinstance(self.address, tuple) else None

    def init_socket(self) -> None:
        """Make the socket, bind it and have it listen, if there is none; for :meth:`start`."""

    @property
    def started(self) -> bool:
        """True if :meth:`start` was called and :meth:`stop` was not."""
        return not self._stop_event.is_set()

    def start(self) -> None:
        """Start accepting; nothing when it is started.

        :raises OSError: The address is in use, or not one of this host.
        """
        if self.started:
            return
        self.init_socket()
        self._stop_event.clear()
        try:
            self.start_accepting()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the socket and stop accepting. Handlers that run go on."""
        self._stop_event.set()
        self.stop_accepting()
        sock = vars(self).pop("socket", None)
        if sock is not None:
            sock.close()
        for name in ("handle", "_handle", "_spawn", "full"):
            # They may refer to the server.
            vars(self).pop(name, None)
        if self.pool is not None:
            self.pool._semaphore.unlink(self._start_accepting_if_started)

    @property
    def closed(self) -> bool:
        """True if there is no socket, as before :meth:`start` and after :meth:`close`."""
        return not hasattr(self, "socket")

    def stop(self, timeout: float | None = None) -> None:
        """Close the socket, and wait for the handlers if they run in a pool.

        :param timeout: The seconds after which to kill those that still run; ``None``: after
            :attr:`stop_timeout`.
        """
        self.close()
        if self.pool:
            self.pool.join(timeout=self.stop_timeout if timeout is None else timeout)
            self.pool.kill(block=True, timeout=1)

    def serve_forever(self, stop_timeout: float | None = None) -> None:
        """Start the server unless it is started, and wait until it is stopped.

        :param stop_timeout: See :meth:`stop`.
        """
        if not self.started:
            self.start()
        try:
            self._stop_event.wait()
        finally:
            Greenlet.spawn(self.stop, timeout=stop_timeout).join()

    def is_fatal_error(self, ex: BaseException) -> bool:
        """Return true if *ex*, which accepting met, ends the server."""
        return isinstance(ex, OSError) and ex.args[0] in self.fatal_errors


#: The steps as they are defined here. The engine does a step itself only while its method is
#: still this one, and neither overridden nor replaced.
_OWN_STEPS: dict[str, Any] = {
    name: getattr(BaseServer, name) for name in ("full", "do_handle", "_spawn")
}


def parse_address(address: Any) -> tuple[int, tuple[Any, ...]]:
    """Return the family and the pair of host and port that *address* means.

    :raises ValueError: A string without a port.
    :raises TypeError: It is of another type.
    """
    if isinstance(address, tuple):
        host = address[0]
        return (AF_INET6 if not host or ":" in host else AF_INET), address
    if isinstance(address, int):
        return AF_INET6, ("", address)
    if not isinstance(address, str):
        raise TypeError(f"Expected tuple or string, got {type(address)}")
    host, _, port = address.rpartition(":")
    try:
        number = int(port)
    except ValueError as failure:
        raise ValueError(f"Failed to parse address {address!r}: {failure}") from None
    if host.startswith("[") and host.endswith("]"):
        return AF_INET6, (host[1:-1], number)
    if host == "*":
        host = ""
    return (AF_INET6 if ":" in host or ":" not in address else AF_INET), (host, number)
