"""Cooperative replacements of methods of ``multiprocessing.connection``."""

from __future__ import annotations

import io
import os
import struct
import time
from collections.abc import Callable
from functools import wraps
from selectors import PollSelector
from types import ModuleType
from typing import Any

import gevent.select
from gevent._core import sleep
from gevent._processes.transfer import GRACE, READ, WRITE, read_some, wait, write_some
from gevent.monkey.api import patch_item
from gevent.os import close

__all__ = ["patch"]

#: The largest length that a header says in four bytes; a longer one follows in eight more.
_LONGEST = 0x7FFFFFFF
#: Up to this size the header and the message go out in one call.
_SHORT = 16384
_KEPT = "_gevent_kept_message"


class _Message:
    """A message on its way through a connection, which an error must not leave torn.

    A kill or a timeout before the message has begun ends the call. Later it is put off to the
    message's end: the next reader or writer could not find where a message begins. If the other
    side does not go on for a while, the connection is closed.
    """

    def __init__(self, connection: Any, event: int) -> None:
        self._connection = connection
        self._handle = connection._handle
        self._event = event
        self._progress: float | None = None
        self.error: BaseException | None = None

    def send(self, data: Any) -> None:
        """Write all of *data*, which supports the buffer protocol."""
        with memoryview(data) as view, view.cast("B") as rest:
            while rest:
                rest = rest[self._call(write_some, rest) :]
                if rest:
                    self._pause(lambda: sleep(0))

    def receive(self, size: int) -> io.BytesIO:
        """Read *size* bytes.

        :raises EOFError: if the other side closed the connection instead of sending a message.
        """
        received = io.BytesIO()
        remaining = size
        while remaining > 0:
            begun = self._progress is not None
            chunk = self._call(read_some, remaining)
            if not chunk:
                if self.error is not None:
                    raise self.error
                if begun:
                    raise OSError("got end of file during message")
                raise EOFError
            received.write(chunk)
            remaining -= len(chunk)
            if remaining:
                self._pause(lambda: sleep(0))
        return received

    def _call(self, function: Callable[[int, Any], Any], argument: Any) -> Any:
        while True:
            if self._connection._handle != self._handle:
                raise self.error or OSError("handle is closed")
            try:
                result = function(self._handle, argument)
            except BlockingIOError:
                self._wait()
            else:
                self._progress = time.monotonic()
                return result

    def _wait(self) -> None:
        if self.error is None:
            self._pause(lambda: wait(self._handle, self._event))
        elif time.monotonic() - self._progress > GRACE:  # type: ignore[operator]
            self._connection.close()
            raise self.error
        else:
            self._pause(lambda: sleep(0.01))

    def _pause(self, pause: Callable[[], None]) -> None:
        try:
            pause()
        except BaseException as error:
            if self._progress is None:
                raise
            if self.error is None:
                self.error = error
                self._progress = time.monotonic()


def _send_bytes(self: Any, buf: Any) -> None:
    size = len(buf)
    header = struct.pack("!iQ", -1, size) if size > _LONGEST else struct.pack("!i", size)
    message = _Message(self, WRITE)
    if size <= _SHORT:
        message.send(header + bytes(buf))
    else:
        message.send(header)
        message.send(buf)
    if message.error is not None:
        raise message.error


def _recv_bytes(self: Any, maxsize: int | None = None) -> io.BytesIO | None:
    received: io.BytesIO | None = vars(self).pop(_KEPT, None)
    if received is None:
        message = _Message(self, READ)
        (size,) = struct.unpack("!i", message.receive(4).getbuffer())
        if size == -1:
            (size,) = struct.unpack("!Q", message.receive(8).getbuffer())
        if maxsize is not None and size > maxsize:
            return None
        received = message.receive(size)
        if message.error is not None:
            # The message is complete, and is kept for the next caller.
            setattr(self, _KEPT, received)
            raise message.error
    if maxsize is not None and received.tell() > maxsize:
        return None
    return received


def _poll(original: Callable[..., bool]) -> Callable[..., bool]:
    @wraps(original)
    def poll(self: Any, timeout: float | None) -> bool:
        return _KEPT in vars(self) or original(self, timeout)

    return poll


def _wait(original: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    @wraps(original)
    def wait(object_list: Any, timeout: float | None = None) -> list[Any]:
        objects = list(object_list)
        kept = {id(each) for each in objects if _KEPT in getattr(each, "__dict__", ())}
        ready = original(objects, 0 if kept else timeout)
        if not kept:
            return ready
        kept.update(map(id, ready))
        return [each for each in objects if id(each) in kept]

    return wait


class _WaitSelector(PollSelector):
    """The selector of ``connection.wait``, whether or not :mod:`selectors` is patched."""

    _selector_cls = gevent.select.poll


def _close(self: Any) -> None:
    close(self._handle)


def _in_blocking_mode(make: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function that makes connections of sockets.

    Those of ours are non-blocking below, and the descriptors may go to processes that know
    nothing of us. billiard can be asked for non-blocking ones.
    """

    @wraps(make)
    def connections(*args: Any, **kwargs: Any) -> Any:
        made = make(*args, **kwargs)
        if not (kwargs.get("rnonblock") or kwargs.get("wnonblock")):
            for connection in made if isinstance(made, tuple) else (made,):
                os.set_blocking(connection.fileno(), True)
        return made

    return connections


def patch(module: ModuleType) -> None:
    """Make the connections of *module* cooperative, those that exist included.

    :param module: ``multiprocessing.connection`` or ``billiard.connection``.
    """
    kind = module.Connection
    kind._poll = _poll(kind._poll)
    kind._send_bytes, kind._recv_bytes, kind._close = _send_bytes, _recv_bytes, _close
    patch_item(module, "SocketClient", _in_blocking_mode(module.SocketClient))
    module.SocketListener.accept = _in_blocking_mode(module.SocketListener.accept)
    patch_item(module, "Pipe", _in_blocking_mode(module.Pipe))
    patch_item(module, "wait", _wait(module.wait))
    if hasattr(module, "_WaitSelector"):
        patch_item(module, "_WaitSelector", _WaitSelector)
    else:
        # billiard takes the modules themselves.
        patch_item(module, "select", gevent.select)
