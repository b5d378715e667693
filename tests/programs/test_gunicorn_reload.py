"""gunicorn with its workers for gevent reloads under load and loses no request.

Its master keeps the listening socket, and each old worker stops its server from a greenlet that
wakes from a sleep. What comes in at that moment is either left in the backlog or answered.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ports import free_port
from serve_load import PROGRAM, under_load

RELOADS = 5
#: Each worker notes that it has imported the application. Before, it may miss a signal to end.
NOTE = """
import os
with open("workers", "a") as file:
    print(os.getpid(), file=file)
"""


def workers_of(pid: int) -> set[str]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return set(children.read_text().split())


def until(condition: Callable[[], bool], log: Path) -> None:
    end = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)


@pytest.mark.parametrize("worker", ["gevent", "gevent_pywsgi"])
def test_a_reload_under_load_loses_no_request(tmp_path, wait_for, worker):
    (tmp_path / "program.py").write_text(PROGRAM + NOTE)
    port = free_port()
    options = ("--worker-class", worker, "--workers", "2", "--bind", f"127.0.0.1:{port}")
    log = tmp_path / "log"
    with log.open("w") as file:
        gunicorn = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *options, "--no-control-socket", "program:app"],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            cwd=tmp_path,
        )
    try:
        wait_for(port)
        noted = tmp_path / "workers"

        def are_ready() -> bool:
            now = workers_of(gunicorn.pid)
            return len(now) == 2 and noted.exists() and now <= set(noted.read_text().split())

        with under_load(("127.0.0.1", port), 8, 1) as ledger:
            for _ in range(RELOADS):
                until(are_ready, log)
                before = workers_of(gunicorn.pid)
                gunicorn.send_signal(signal.SIGHUP)
                until(lambda before=before: not before & workers_of(gunicorn.pid), log)
        print(f"{worker}: {dict(ledger.counts)}")
        assert ledger.failures == []
        assert ledger.refusals == []
        assert ledger.counts["answered"] > 10 * RELOADS
    finally:
        gunicorn.terminate()
        gunicorn.wait(60)
