"""The overlay: puts the ``gevent`` of gevent-rs before one that is installed beside it.

The distribution gevent-rs does not lay its files into ``site-packages/gevent``, where pip would
overwrite them with gevent's as soon as another distribution asks for gevent. Its ``gevent`` is in a
folder of its own, :data:`OVERLAY`, which a start-up file adds to :data:`sys.path`. A gevent that is
installed beside it stays whole: with the environment variable ``GEVENT_RS=off`` it is the one that
is imported.

``python -m gevent_rs`` reports which gevent an import gives, and why. :func:`activate` does what
the start-up file does, for programs that run without such files.
"""

import os
import sys

__all__ = ["OVERLAY", "activate", "is_switched_off"]

_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_HOME = os.path.dirname(_PACKAGE)
_IN_A_WHEEL = os.path.isdir(os.path.join(_PACKAGE, "overlay"))

#: The folder that holds the package ``gevent``. In a source tree it is the one that holds this
#: package too.
OVERLAY = os.path.join(_PACKAGE, "overlay") if _IN_A_WHEEL else _HOME

#: Values of the environment variable ``GEVENT_RS``, in lower case, that switch the overlay off.
OFF = ("off", "no", "false", "0")


def is_switched_off() -> bool:
    """Return true if the environment variable ``GEVENT_RS`` asks for the gevent beside."""
    return os.environ.get("GEVENT_RS", "").strip().lower() in OFF


def activate() -> None:
    """Make ``import gevent`` give the package of gevent-rs, or not where ``GEVENT_RS`` is ``off``.

    The overlay goes before all folders of installed packages and after the standard library, so
    that a program's own folder and ``PYTHONPATH`` keep their precedence, and imports of the
    standard library do not look into it. A program that runs without start-up files
    (``python -S``, ``pip install --target``) calls this before it imports gevent.
    """
    path = sys.path
    while OVERLAY in path:
        path.remove(OVERLAY)
    if not is_switched_off():
        path.insert(_first_installed(path), OVERLAY)
    elif not _IN_A_WHEEL:
        # This package is in the same folder and has to stay importable.
        path.append(OVERLAY)


def _first_installed(path: list[str]) -> int:
    for index, folder in enumerate(path):
        if folder.endswith(("/site-packages", "/dist-packages")) or folder == _HOME:
            return index
    return len(path)
