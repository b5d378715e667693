"""The iterators that ``imap`` and ``imap_unordered`` of groups and pools return."""

from __future__ import annotations

from gevent._core import IMap, IMapUnordered

__all__ = ["IMap", "IMapUnordered"]
