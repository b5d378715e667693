"""File objects that need nothing of the loop, and what all kinds of them share."""

from __future__ import annotations

import errno
import functools
import io
import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from typing import Any, Self

from gevent.hub import get_hub
from gevent.lock import Semaphore

__all__ = [
    "FileObjectBase",
    "FileObjectBlock",
    "FileObjectClosed",
    "FileObjectThread",
    "FlushingBufferedWriter",
    "OpenDescriptor",
    "WriteallFileIO",
    "WriteallMixin",
    "cancel_wait_ex",
]


class FileObjectClosed(OSError):
    """A file object was used after it had been closed."""

    def __init__(self) -> None:
        super().__init__(errno.EBADF, "Bad file descriptor (FileObject was closed)")


class cancel_wait_ex(OSError):
    """The descriptor that a greenlet waits for was closed by another."""

    def __init__(self) -> None:
        super().__init__(errno.EBADF, "File descriptor was closed in another greenlet")


class WriteallMixin:
    """Adds a method to a raw stream, whose ``write`` may write a part, that writes everything."""

    def writeall(self, value: Any) -> int:
        """Write all of *value*, in as many calls as it takes, and return its length in bytes."""
        with memoryview(value) as view, view.cast("B") as rest:
            written = 0
            while written < len(rest):
                written += super().write(rest[written:]) or 0  # type: ignore[misc]
            return written

    def write(self, value: Any) -> int:
        """Do as :meth:`writeall` does."""
        return self.writeall(value)


class WriteallFileIO(WriteallMixin, io.FileIO):
    """A file whose ``write`` writes everything."""


class FlushingBufferedWriter(io.BufferedWriter):
    """A buffer that is flushed after each write. Text files without buffering have it."""

    def write(self, b: Any) -> int:
        """Write *b* and flush."""
        written = super().write(b)
        self.flush()
        return written


class OpenDescriptor:
    """The arguments of :func:`open`, checked, and what they describe, opened.

    Beyond those of :func:`open`:

    :param fobj: A path, a descriptor, or a file-like object to put layers around.
    :param bufsize: The older name of *buffering*.
    :param close: The older name of *closefd*; for a file-like object, true if closing the
        result closes that object too.
    :param buffering: May be 0 in text mode as well: everything is then written immediately.
    :param atomic_write: True to have ``write`` write everything without a buffer.
    :raises TypeError: for an argument of a wrong type.
    :raises ValueError: for a wrong *mode*, or an argument that does not go with it.
    """

    def __init__(
        self,
        fobj: Any,
        mode: str = "r",
        bufsize: int | None = None,
        close: bool | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        buffering: int | None = None,
        closefd: bool | None = None,
        atomic_write: bool = False,
    ) -> None:
        closefd = _one_of("closefd", closefd, "close", close, True)
        buffering = _one_of("buffering", buffering, "bufsize", bufsize, -1)
        if not hasattr(fobj, "fileno") and not isinstance(fobj, int) and not _is_stream(fobj):
            fobj = os.fspath(fobj)
        for name, value, kind in (
            ("mode", mode, str),
            ("buffering", buffering, int),
            ("encoding", encoding, str | None),
            ("errors", errors, str | None),
        ):
            if not isinstance(value, kind):
                raise TypeError(f"invalid {name}: {value!r}")

        chars = set(mode)
        if chars - set("axrwb+tU") or len(mode) > len(chars):
            raise ValueError(f"invalid mode: {mode!r}")
        if "U" in chars:
            if chars & set("xwa+"):
                raise ValueError("mode U cannot be combined with 'x', 'w', 'a', or '+'")
            chars.add("r")
        if {"t", "b"} <= chars:
            raise ValueError("can't have text and binary mode at once")
        kinds = chars & set("rwax")
        if len(kinds) > 1:
            raise ValueError("can't have read/write/append mode at once")
        if not kinds:
            raise ValueError("must have exactly one of read/write/append mode")
        self.text: bool = "b" not in chars
        if not self.text:
            for name, value in (("encoding", encoding), ("errors", errors), ("newline", newline)):
                if value is not None:
                    raise ValueError(f"binary mode doesn't take {_article(name)} {name} argument")

        self.fobj: Any = fobj
        self.mode = mode
        #: The mode of the stream below all layers.
        self.raw_mode: str = kinds.pop() + "b" + ("+" if "+" in chars else "")
        self.reading: bool = "r" in chars or "+" in chars
        self.writing: bool = "r" not in chars or "+" in chars
        self.buffering = buffering
        self.encoding = encoding
        self.errors = errors
        self.newline = newline
        self.closefd = closefd
        self.atomic_write = atomic_write

    def is_fd(self) -> bool:
        """Return true if *fobj* is a descriptor."""
        return isinstance(self.fobj, int)

    def opened(self) -> Any:
        """Open what is described, and return it with all its layers."""
        raw = self._open_raw()
        try:
            return self._wrapped(raw)
        except BaseException:
            if raw is not self.fobj:
                raw.close()
            raise

    def _open_raw(self) -> Any:
        if isinstance(self.fobj, int | str | bytes):
            kind = WriteallFileIO if self.atomic_write and self.buffering == 0 else io.FileIO
            return kind(self.fobj, self.raw_mode, self.closefd)
        return self.fobj

    def _wrapped(self, stream: Any) -> Any:
        if isinstance(stream, io.TextIOBase):
            if self.text:
                return stream
            stream = getattr(stream, "buffer", stream)
        buffered = self._buffered(stream)
        if not self.text:
            return buffered
        line_buffering = self.buffering == 1 or (self.buffering < 0 and stream.isatty())
        text = io.TextIOWrapper(
            buffered,
            self.encoding,
            self.errors,
            self.newline,
            line_buffering=line_buffering,
            write_through=self.buffering == 0,
        )
        text.mode = self.mode  # type: ignore[misc]
        return text

    def _buffered(self, stream: Any) -> Any:
        if isinstance(stream, io.BufferedIOBase) or (self.buffering == 0 and not self.text):
            return stream
        # A size of 1 means lines, which only text files have.
        size = self.buffering if self.buffering > 1 else io.DEFAULT_BUFFER_SIZE
        if self.reading and self.writing:
            return io.BufferedRandom(stream, size)
        if self.reading:
            return io.BufferedReader(stream, size)
        kind = FlushingBufferedWriter if self.buffering == 0 else io.BufferedWriter
        return kind(stream, size)


def _is_stream(fobj: Any) -> bool:
    return hasattr(fobj, "read") or hasattr(fobj, "write")


def _article(name: str) -> str:
    return "an" if name[0] in "aeiou" else "a"


def _one_of(name: str, value: Any, old_name: str, old_value: Any, default: Any) -> Any:
    if value is not None and old_value is not None:
        raise TypeError(f"Cannot specify both {name}={value} and {old_name}={old_value}")
    if value is not None:
        return value
    return default if old_value is None else old_value


class _ClosedIO:
    """Stands for the stream of a closed file object; only the name outlives it."""

    def __init__(self, stream: Any) -> None:
        with suppress(AttributeError):
            self.name = stream.name

    def __getattr__(self, name: str) -> Any:
        if name == "name":
            raise AttributeError(name)
        raise FileObjectClosed

    def __bool__(self) -> bool:
        return False


class FileObjectBase:
    """A file object that passes all calls on to a stream, and releases that when closed."""

    # Methods of the stream, where it has them, that become attributes of the file object: one
    # call less at each use.
    _delegate_methods = (
        "fileno",
        "flush",
        "read",
        "read1",
        "readable",
        "readinto",
        "readline",
        "readlines",
        "seek",
        "seekable",
        "tell",
        "truncate",
        "writable",
        "write",
        "writelines",
    )

    def __init__(self, descriptor: OpenDescriptor) -> None:
        self._io = descriptor.opened()
        # A file that belongs to the caller is not closed, only released.
        self._close = descriptor.closefd or self._io is not descriptor.fobj
        for name in self._delegate_methods:
            method = getattr(self._io, name, None)
            if method is not None:
                setattr(self, name, self._wrap_method(method))

    def _wrap_method(self, method: Callable[..., Any]) -> Callable[..., Any]:
        return method

    @property
    def io(self) -> Any:
        """The stream that everything is handed on to."""
        return self._io

    @property
    def closed(self) -> bool:
        """True once :meth:`close` was called."""
        return isinstance(self._io, _ClosedIO)

    def close(self) -> None:
        """Flush and close; a second call does nothing."""
        if self.closed:
            return
        stream, self._io = self._io, _ClosedIO(self._io)
        for name in self._delegate_methods:
            self.__dict__.pop(name, None)
        self._do_close(stream, self._close)

    def _do_close(self, stream: Any, closefd: bool) -> None:
        if closefd:
            stream.close()
        else:
            stream.flush()

    def __getattr__(self, name: str) -> Any:
        if name == "_io":
            # Opening failed.
            raise AttributeError(name)
        return getattr(self._io, name)

    def __repr__(self) -> str:
        state = "closed" if self.closed else ""
        return (
            f"<{type(self).__name__} at 0x{id(self):x} "
            f"{state}_fobj={self._io!r}{self._extra_repr()}>"
        )

    def _extra_repr(self) -> str:
        return ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def next(self) -> Any:
        """Return the next line, or raise :exc:`StopIteration`."""
        return self.__next__()

    def __bool__(self) -> bool:
        return True


class FileObjectBlock(FileObjectBase):
    """A file object that blocks the whole thread, as that of :func:`open` does.

    Takes the arguments of :func:`open`. It is meant for tests and comparisons.
    """

    def __init__(self, fobj: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(OpenDescriptor(fobj, *args, **kwargs))


def _outcome(
    method: Callable[..., Any], args: Any, kwargs: Any
) -> tuple[Any, BaseException | None]:
    try:
        return method(*args, **kwargs), None
    except BaseException as error:
        return None, error


def _apply(threadpool: Any, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    # The caller handles the error, so the pool need not report it as unhandled.
    result, error = threadpool.apply(_outcome, (method, args, kwargs))
    if error is not None:
        raise error
    return result


class FileObjectThread(FileObjectBase):
    """A file object whose blocking calls are made in threads of the hub's pool.

    Works for anything that can be opened, regular files among them. Takes the arguments of
    :func:`open`, and:

    :param lock: True to make one call at a time, in any order; or a
        :class:`gevent.lock.Semaphore` to use for that.
    :param threadpool: The pool to use, by default that of the calling thread's hub.
    """

    def __init__(
        self, fobj: Any, *args: Any, lock: Any = True, threadpool: Any = None, **kwargs: Any
    ) -> None:
        if lock is True:
            lock = Semaphore()
        self.lock: Any = lock or nullcontext()
        self._threadpool = threadpool
        super().__init__(OpenDescriptor(fobj, *args, **kwargs))

    @property
    def threadpool(self) -> Any:
        """The pool that was given, or that of the calling thread's hub."""
        return self._threadpool or get_hub().threadpool

    def _wrap_method(self, method: Callable[..., Any]) -> Callable[..., Any]:
        # The function is an attribute of the file object, which must not hold itself that way.
        owner, lock, threadpool = weakref.ref(self), self.lock, self._threadpool

        @functools.wraps(method)
        def in_thread(*args: Any, **kwargs: Any) -> Any:
            with lock:
                file = owner()
                if file is not None and file.closed:
                    raise FileObjectClosed
                del file
                return _apply(threadpool or get_hub().threadpool, method, *args, **kwargs)

        return in_thread

    def _do_close(self, stream: Any, closefd: bool) -> None:
        # A call that another thread makes on the stream ends first.
        with self.lock:
            _apply(self.threadpool, super()._do_close, stream, closefd)

    def _extra_repr(self) -> str:
        return f" threadpool={self.threadpool!r}"
