"""Watching the program's files for ``--reload``."""

from __future__ import annotations

import glob
import os
import signal
import sys
from collections.abc import Callable, Iterator

from gevent.serve.options import Options

#: The seconds between two checks of the files.
PERIOD = 0.5


def times_of_files(options: Options) -> dict[str, int]:
    """Return the time of the last change of each file to watch, in nanoseconds."""
    known: dict[str, int] = {}
    _changed(known, options.reload_extra, first=True)
    return known


def watch(
    options: Options, known: dict[str, int], sleep: Callable[[float], None], supervisor: int
) -> None:
    """Have the supervisor reload whenever a file has changed. This never returns.

    :param known: The files' times as :func:`times_of_files` returned them.
    :param sleep: Waits for so many seconds.
    :param supervisor: The supervisor's process.
    """
    while True:
        if _changed(known, options.reload_extra, first=False):
            os.kill(supervisor, signal.SIGHUP)
        sleep(PERIOD)


def _sources() -> Iterator[str]:
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str):
            yield path


def _extra(patterns: tuple[str, ...]) -> Iterator[str]:
    for pattern in patterns:
        yield from glob.iglob(pattern, recursive=True)


def _changed(known: dict[str, int], patterns: tuple[str, ...], first: bool) -> bool:
    """Return true if a file has changed since the last call; update *known* with all files.

    A module that is imported later does not count as a change. A new file that matches a pattern
    does, and so does a file that is gone.
    """
    changed = False
    extra = set(_extra(patterns))
    for path in {*_sources(), *extra}:
        try:
            time = os.stat(path).st_mtime_ns
        except OSError:
            continue
        if path not in known:
            changed |= path in extra and not first
        else:
            changed |= known[path] != time
        known[path] = time
    for path in [path for path in known if not os.path.exists(path)]:
        del known[path]
        changed = True
    return changed
