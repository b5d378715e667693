"""A view into the running program: its greenlets and their waits, its numbers, and blocking calls.

Set ``GEVENT_INSPECT=unix:/path/of/socket`` (or ``on``, for a socket that
``python -m gevent.top PID`` finds by itself), or call :func:`open_view`. The view is a small HTTP
server in a native thread of its own, so it answers while the program is stuck. It only reads: it
changes nothing, runs none of the program's code, and ends with the program. A Unix socket accepts
only the user that runs the program, and root; over loopback a request must have the token.

One request does change something: ``POST /kill`` ends a greenlet, as :func:`gevent.kill` does.
``GEVENT_INSPECT_KILL=no``, or ``open_view(kill=False)``, has the view refuse that.

===================  ======================================================================
path                 answer
===================  ======================================================================
``/``                a page with charts, which updates itself
``/stats.json``      :func:`gevent.util.stats`
``/greenlets.json``  the greenlets, each one's wait and how long it lasts, and their stacks unless
                     ``stacks=0``; ``most=N`` of them at most
``/stack.json``      the stack of the greenlet that has ``number=N`` there
``/kill``            to ``POST``: ends the greenlet ``number=N``
``/metrics``         OpenMetrics text for Prometheus
``/health``          status 200, or 503 while a loop is blocked for more than five seconds
===================  ======================================================================
"""

from __future__ import annotations

import sys
from typing import Any

from gevent._blocking import BlockingSampler, Place
from gevent._config import config
from gevent._inspect_address import InspectError, default_path, parse_address

__all__ = [
    "BlockingSampler",
    "InspectError",
    "Place",
    "default_path",
    "open_view",
]

_view: Any = None
_failed_in: int | None = None


def open_view(address: str = "on", token: str | None = None, kill: bool | None = None) -> Any:
    """Open the view of this process, or return it as it is when it is open already.

    :param address: ``"unix:PATH"``; ``"on"`` for a Unix socket at :func:`default_path`; or
        ``"tcp:127.0.0.1:PORT"``, where port 0 takes any. ``{pid}`` in a path is the process's
        number. Where another process has the path already, a dot and the number are appended.
    :param token: The token that requests over loopback must have; a random one by default.
    :param kill: True to let clients of the view have greenlets killed; ``None`` leaves that to the
        setting ``inspect_kill``, which allows it by default.
    :returns: An object with the attributes ``address`` (with the true path or port), ``token`` and
        ``url``, and the method ``close()``. It is a context manager, which closes it.
    :raises InspectError: The address is not valid or cannot be used.
    """
    global _view
    from gevent._inspect_server import View

    if _view is None or not _view.is_open:
        _view = View(parse_address(address), token, config.inspect_kill if kill is None else kill)
    return _view


def open_as_set(setting: str) -> None:
    """Open the view that the setting ``inspect`` asks for; report a failure on stderr."""
    import os

    global _failed_in
    if _failed_in == os.getpid():
        return
    try:
        open_view(setting, os.environ.get("GEVENT_INSPECT_TOKEN"))
    except InspectError as error:
        _failed_in = os.getpid()
        print(f"gevent.inspect: {error}", file=sys.stderr)
