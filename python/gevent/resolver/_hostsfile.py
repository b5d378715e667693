"""The file of hosts that need no name server."""

from __future__ import annotations

import os
from _socket import AF_INET, AF_INET6
from collections.abc import Iterator, Sequence

from gevent.resolver import is_address

__all__ = ["HostsFile"]


def _family(address: str) -> int:
    return AF_INET6 if ":" in address else AF_INET


class HostsFile:
    """The content of ``/etc/hosts``, which is read again when it changes.

    :param fname: The file to read in its place.
    """

    def __init__(self, fname: str | None = None) -> None:
        self.fname = fname or "/etc/hosts"
        self._seen: tuple[int, int] | None = None
        #: Addresses and their names, in the order of the file.
        self._lines: list[tuple[str, list[str]]] = []

    def load(self) -> None:
        """Read the file if it has changed; one that cannot be read counts as empty."""
        try:
            status = os.stat(self.fname)
            seen = (status.st_mtime_ns, status.st_size)
            if seen == self._seen:
                return
            with open(self.fname, encoding="utf-8", errors="replace") as file:
                fields = [line.partition("#")[0].split() for line in file]
        except OSError:
            self._lines, self._seen = [], None
            return
        self._lines = [(words[0], words[1:]) for words in fields if words and is_address(words[0])]
        self._seen = seen

    def iter_all_host_addr_pairs(self) -> Iterator[tuple[str, str]]:
        """Yield every name with each of its addresses."""
        self.load()
        for address, names in self._lines:
            for name in names:
                yield name, address

    def addresses(
        self, name: str, families: Sequence[int]
    ) -> tuple[str, list[str], list[str]] | None:
        """Return the first name, the others and the addresses of *name*, if it has any."""
        self.load()
        wanted = name.lower().removesuffix(".")
        found = [
            (address, names)
            for address, names in self._lines
            if _family(address) in families and wanted in (known.lower() for known in names)
        ]
        if not found:
            return None
        first, *others = found[0][1]
        return first, others, list(dict.fromkeys(address for address, _ in found))

    def names(self, address: str) -> list[str]:
        """Return the names of *address*."""
        self.load()
        return next((names for known, names in self._lines if known == address and names), [])
