"""The end of a program: waiting for it, asking for it, and being notified of it."""

from __future__ import annotations

from typing import Any

from gevent._core import getcurrent
from gevent.compat import warn
from gevent.exceptions import LoopExit

__all__ = ["DispatchExit", "shutdown"]

#: Raised in the main greenlet when nothing is left that could wake it.
DispatchExit = LoopExit


def shutdown(hub: Any) -> None:
    """Wait, in the main greenlet, until nothing is left to do; in another one, end the program.

    The latter is what a handler that ``gevent.signal`` calls is for: it raises
    :exc:`SystemExit`, which goes to the main greenlet and unwinds it.
    """
    warn("gevent.shutdown()", "gevent.get_hub().join(), or sys.exit()", stacklevel=4)
    if getcurrent() is not hub.parent:
        raise SystemExit
    hub.join()
