"""File objects over non-blocking descriptors: they wait with the loop."""

from __future__ import annotations

import io
import os
from typing import Any, NoReturn

from gevent._fileobjectcommon import (
    FileObjectBase,
    OpenDescriptor,
    WriteallMixin,
    cancel_wait_ex,
)
from gevent.hub import get_hub, getcurrent, sleep
from gevent.os import make_nonblocking

__all__ = [
    "FileObjectPosix",
    "GreenFileDescriptorIO",
    "GreenFileDescriptorIOWriteall",
    "GreenOpenDescriptor",
    "cancel_wait_ex",
]

_READ, _WRITE = 1, 2


class GreenFileDescriptorIO(io.RawIOBase):
    """A raw stream over a descriptor, put into non-blocking mode, that blocks only the greenlet.

    :param fileno: The descriptor.
    :param mode: As that of :class:`io.FileIO`.
    :param closefd: True if closing the stream closes the descriptor.
    :param owner: The file object the descriptor belongs to, which then is closed instead.
    """

    def __init__(self, fileno: int, mode: str = "rb", closefd: bool = True, owner: Any = None):
        super().__init__()
        self._fileno = fileno
        self._closefd = False
        self._owner = owner
        self._seekable: bool | None = None
        self._watchers: dict[tuple[Any, int], Any] = {}
        self.mode = mode
        self.hub: Any = get_hub()
        # A descriptor that cannot be put into that mode is left alone.
        make_nonblocking(fileno)
        self._closefd = closefd

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"fileno={self._fileno}"
        return f"<{type(self).__name__} at 0x{id(self):x} {state} mode={self.mode!r}>"

    def readable(self) -> bool:
        """Return true if the stream was opened for reading."""
        return "r" in self.mode or "+" in self.mode

    def writable(self) -> bool:
        """Return true if the stream was opened for writing."""
        return "r" not in self.mode or "+" in self.mode

    def seekable(self) -> bool:
        """Return true if the descriptor has positions, as that of a regular file."""
        if self._seekable is None:
            try:
                os.lseek(self.fileno(), 0, os.SEEK_CUR)
            except OSError:
                self._seekable = False
            else:
                self._seekable = True
        return self._seekable

    def seek(self, offset: int, whence: int = 0) -> int:
        """Set the position as :func:`os.lseek` does, and return it."""
        return os.lseek(self.fileno(), offset, whence)

    def fileno(self) -> int:
        """Return the descriptor."""
        if self.closed:
            raise ValueError("I/O operation on closed file")
        return self._fileno

    def isatty(self) -> bool:
        """Return true if the descriptor is a terminal."""
        return os.isatty(self.fileno())

    def readinto(self, b: Any) -> int:
        """Read into the buffer *b* what there is, waiting for the first byte; 0 at the end."""
        if not self.readable():
            self._refuse("read")
        while True:
            try:
                return os.readv(self.fileno(), [b])
            except BlockingIOError:
                self._wait(_READ)

    def readall(self) -> bytes:
        """Read up to the end."""
        parts = []
        while part := self.read(io.DEFAULT_BUFFER_SIZE):
            parts.append(part)
        return b"".join(parts)

    def write(self, b: Any) -> int:
        """Write as much of *b* as there is room for, waiting for some; return how many bytes."""
        if not self.writable():
            self._refuse("write")
        while True:
            try:
                return os.write(self.fileno(), b)
            except BlockingIOError:
                self._wait(_WRITE)

    def truncate(self, size: int | None = None) -> int:
        """Set the length of the file, by default to the current position, and return it."""
        if not self.writable():
            self._refuse("truncate")
        if size is None:
            size = self.tell()
        os.ftruncate(self.fileno(), size)
        return size

    def _refuse(self, what: str) -> NoReturn:
        raise io.UnsupportedOperation(f"{what}: not open for that")

    def _wait(self, event: int) -> None:
        # A greenlet of another thread waits with its own hub.
        hub = get_hub()
        watcher = self._watchers.get((hub, event))
        if watcher is None:
            watcher = self._watchers[hub, event] = hub.loop.io(self._fileno, event)
        hub.wait(watcher)

    def close(self) -> None:
        """Close; greenlets that wait for the descriptor get an :exc:`OSError`."""
        if self.closed:
            return
        try:
            super().close()
        finally:
            self.cancel_waits()
            owner, self._owner = self._owner, None
            if self._closefd:
                if owner is not None:
                    owner.close()
                else:
                    os.close(self._fileno)

    def cancel_waits(self) -> None:
        """Raise an :exc:`OSError` in the greenlets that wait for the descriptor."""
        watchers, self._watchers = self._watchers, {}
        for (hub, _), watcher in watchers.items():
            hub.cancel_wait(watcher, cancel_wait_ex, True)


class GreenFileDescriptorIOWriteall(WriteallMixin, GreenFileDescriptorIO):
    """A raw stream whose ``write`` writes everything."""


class GreenOpenDescriptor(OpenDescriptor):
    """The arguments of :func:`open`, opened as a non-blocking descriptor."""

    def _open_raw(self) -> Any:
        if isinstance(self.fobj, int):
            owner, fileno = None, self.fobj
        else:
            owner = self.fobj
            if isinstance(owner, str | bytes):
                owner = io.FileIO(owner, self.raw_mode)
            fileno = owner.fileno()
        everything = self.atomic_write and self.buffering == 0
        kind = GreenFileDescriptorIOWriteall if everything else GreenFileDescriptorIO
        raw = kind(fileno, self.raw_mode, self.closefd, owner)
        name = fileno if owner is None else getattr(owner, "name", None)
        if name is not None:
            raw.name = name  # type: ignore[attr-defined]
        return raw


class FileObjectPosix(FileObjectBase):
    """A file object over a descriptor that can be waited for: a pipe, a socket, a terminal.

    The descriptor is put into non-blocking mode, and stays so. Takes the arguments of
    :func:`open`. The first may also be an object with a ``fileno`` method, which is closed along
    with this one unless *closefd* is false.

    A regular file works too, but never has to wait: reading and writing it takes its time with
    all greenlets standing still. :class:`gevent.fileobject.FileObjectThread` is for these.
    """

    #: The size of the buffer, in bytes, where none is asked for.
    default_bufsize = io.DEFAULT_BUFFER_SIZE

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(GreenOpenDescriptor(*args, **kwargs))
        stream = self._io
        while not isinstance(stream, GreenFileDescriptorIO):
            stream = stream.buffer if isinstance(stream, io.TextIOBase) else stream.raw  # type: ignore[attr-defined]
        #: The raw stream below the buffers. Reading from it directly would skip data
        #: that these hold.
        self.fileio = stream

    def _do_close(self, stream: Any, closefd: bool) -> None:
        while True:
            # Greenlets that wait for the descriptor get an error, and so release the buffer.
            self.fileio.cancel_waits()
            try:
                stream.close()
            except RuntimeError:
                if stream.closed or getcurrent() is get_hub():
                    raise
                sleep(0)
            else:
                return
