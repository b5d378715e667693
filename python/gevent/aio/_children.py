"""Watching child processes: the hub notices their end and reports it to asyncio."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from asyncio import unix_events
from collections.abc import Callable
from typing import Any

from gevent._core import restarting
from gevent.os import _once, _watch_child

__all__ = ["program_has_child_watcher", "subprocess_transport", "watch"]

#: The class of asyncio's transports of child processes.
subprocess_transport: Any = vars(unix_events)["_UnixSubprocessTransport"]


def watch(child: subprocess.Popen[Any], callback: Callable[[int], Any]) -> None:
    """Have *callback* called with the return code of *child*, in the hub, when it has ended."""
    rawlink = getattr(child, "rawlink", None)
    if rawlink is not None:
        # The child was started by gevent.subprocess, which watches it already.
        rawlink(restarting(_once(lambda ended: callback(ended.returncode))))
        return
    _watch_child(
        child.pid,
        _once(lambda watcher: callback(os.waitstatus_to_exitcode(watcher.rstatus))),
        ref=True,
    )


def program_has_child_watcher() -> bool:
    """Return true if the program has chosen how asyncio watches children.

    Up to Python 3.13 a program can set a child watcher of another class than the default ones.
    """
    if sys.version_info >= (3, 14):
        return False
    watcher = getattr(asyncio.get_event_loop_policy(), "_watcher", None)
    defaults = (asyncio.ThreadedChildWatcher, asyncio.PidfdChildWatcher)
    return watcher is not None and type(watcher) not in defaults
