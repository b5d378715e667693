"""Entry points that installed distributions declare for the events of this package.

:mod:`importlib.metadata` takes longer to import than everything that patching imports, and reads
every distribution's metadata for every event. Hardly any program has such an entry point, so the
metadata is looked through for the common beginning of the groups' names first.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

__all__ = ["entry_points"]

PREFIX = "gevent.plugins."

#: The value that :data:`sys.path` had when it was last searched, and the result.
_looked: tuple[list[tuple[str, int]], bool] = ([], False)


def entry_points(group: str) -> Iterable[Any]:
    """Return the entry points of *group*, as :func:`importlib.metadata.entry_points` does.

    Those of a distribution of gevent that is also installed are left out: they name functions of
    its own modules, and this package does their work itself.
    """
    if group.startswith(PREFIX) and not _some_declared():
        return ()
    from importlib import metadata

    return [point for point in metadata.entry_points(group=group) if not _is_of_gevent(point)]


def _is_of_gevent(entry_point: Any) -> bool:
    distribution = getattr(entry_point, "dist", None)
    return distribution is not None and distribution.name.lower() == "gevent"


def _some_declared() -> bool:
    global _looked

    finders = [finder for finder in sys.meta_path if hasattr(finder, "find_distributions")]
    if [getattr(finder, "__name__", None) for finder in finders] != ["PathFinder"]:
        return True
    folders = [folder for folder in sys.path if os.path.exists(folder or ".")]
    state = [(folder, os.stat(folder or ".").st_mtime_ns) for folder in folders]
    if _looked[0] != state:
        _looked = state, any(map(_declares, folders))
    return _looked[1]


def _declares(folder: str) -> bool:
    if not os.path.isdir(folder or "."):
        # An archive.
        return True
    return any(PREFIX.encode() in text for text in _declarations(folder))


def _declarations(folder: str) -> Iterator[bytes]:
    names: list[str] = []
    with suppress(OSError):
        names = os.listdir(folder or ".")
    for name in names:
        if name.lower().endswith((".dist-info", "egg-info")):
            with (
                suppress(OSError),
                open(os.path.join(folder, name, "entry_points.txt"), "rb") as file,
            ):
                yield file.read()
