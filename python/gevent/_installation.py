"""Refuses an interpreter that is not supported, and a folder with files of two distributions."""

from __future__ import annotations

import os
import sys

__all__ = ["refuse_a_mixture", "refuse_other_pythons"]

#: The first supported version of CPython, and the first that is not supported any more.
_FIRST, _BEYOND = (3, 11), (3, 16)

_LIBRARY = (".so", ".pyd")


def refuse_other_pythons() -> None:
    """Raise :exc:`ImportError` unless this is CPython, of a supported version and kind, on Linux.

    Otherwise the import would fail for want of a compiled module, with an unclear message, or end
    in corrupted memory: a free-threaded build can run code that relies on the GIL without one
    (``PYTHON_GIL=0``).
    """
    name, version = sys.implementation.name, sys.version_info[:2]
    free_threaded = "t" in getattr(sys, "abiflags", "")
    if (
        (name, sys.platform) == ("cpython", "linux")
        and _FIRST <= version < _BEYOND
        and not free_threaded
    ):
        return
    build = ", free-threaded," if free_threaded else ""
    raise ImportError(
        "gevent-rs supports CPython 3.11 to 3.15 on Linux, with the GIL; "
        f"this is {name} {version[0]}.{version[1]}{build} on {sys.platform}",
        name="gevent",
    )


def refuse_a_mixture(folder: str) -> None:
    """Raise :exc:`ImportError` if *folder*, this package's, holds compiled modules of gevent.

    The import system prefers a compiled module to a Python file of the same name, so those of
    gevent would take the place of some of ours, and one process would have two hubs.
    """
    foreign = [
        name
        for name in os.listdir(folder)
        if name.endswith(_LIBRARY) and not name.startswith("_core.")
    ]
    if foreign:
        raise ImportError(
            f"{folder} holds compiled modules of gevent ({', '.join(sorted(foreign)[:3])}, "
            f"{len(foreign)} in all) among the files of gevent-rs: two distributions were unpacked "
            "into one folder. Uninstall both (pip uninstall gevent gevent-rs), remove what is left "
            "of the folder, and install gevent-rs again",
            name="gevent",
            path=folder,
        )
