"""Refuses to run from a folder that two distributions share."""

from __future__ import annotations

import os

__all__ = ["refuse_a_mixture"]

_LIBRARY = (".so", ".pyd")


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
