"""libevent's buffer: bytes that are taken away as they are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

__all__ = ["buffer"]


class buffer:
    """A file of the bytes that came and were not read; iterating gives lines.

    :param data: The bytes.
    """

    def __init__(self, data: bytes = b"") -> None:
        self._data: bytearray | None = bytearray(data)

    def _take(self, size: int) -> bytes:
        if self._data is None:
            return b""
        taken = bytes(self._data[:size])
        del self._data[:size]
        return taken

    def detach(self) -> None:
        """Let go of the bytes; from now on there are none."""
        self._data = None

    def write(self, data: bytes) -> None:
        """Append bytes; nothing happens once detached."""
        if self._data is not None:
            self._data += data

    def read(self, size: int = -1) -> bytes:
        """Take the first *size* bytes, or what is left if that is less; all if it is negative."""
        return self._take(len(self) if size < 0 else size)

    def readline(self, size: int | None = None) -> bytes:
        """Take a line with its end, or the first *size* bytes of it; ``b""`` if nothing is left."""
        end = (self._data or b"").find(b"\n") + 1 or len(self)
        return self._take(end if size is None or size < 0 else min(end, size))

    def readlines(self, hint: int = -1) -> list[bytes]:
        """Take all lines; with a positive *hint*, stop after the line that has that many bytes."""
        lines, taken = [], 0
        for line in self:
            lines.append(line)
            taken += len(line)
            if 0 < hint <= taken:
                break
        return lines

    def __len__(self) -> int:
        return 0 if self._data is None else len(self._data)

    def __bool__(self) -> bool:
        # Like a file, not like bytes.
        return True

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    next = __next__

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self.detach()
