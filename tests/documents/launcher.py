"""Runs a program whose servers listen at a free port of loopback, whatever port it names.

``python launcher.py PROGRAM`` prints ``listening at PORT`` as each server starts.
"""

from __future__ import annotations

import os
import runpy
import sys

from gevent.baseserver import BaseServer

_set_listener = BaseServer.set_listener
_start = BaseServer.start


def _listen_on_loopback(server: BaseServer, listener: object) -> None:
    _set_listener(server, ("127.0.0.1", 0))


def _start_and_tell(server: BaseServer) -> None:
    _start(server)
    print("listening at", server.address[1], flush=True)


if __name__ == "__main__":
    BaseServer.set_listener = _listen_on_loopback
    BaseServer.start = _start_and_tell
    program = sys.argv[1]
    sys.argv[:] = [program]
    # As for any program, what is beside it can be imported.
    sys.path[0] = os.path.dirname(program)
    runpy.run_path(program, run_name="__main__")
