"""Blocking is found in patched programs whose processes others start: gunicorn's and Celery's."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from child_environment import clean_environment
from ports import free_port

from gevent._inspect_address import InspectError, ask_json, parse_address

BLOCKING = """
import time


def block_for_a_while():
    # Of the processor: where there is little of it, the samplers need longer as well.
    end = time.process_time() + 0.7
    while time.process_time() < end:
        pass
"""
APPLICATION = """
import os
from blocking import block_for_a_while


def app(environ, start_response):
    if environ["PATH_INFO"] == "/block":
        block_for_a_while()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""
TASKS = """
import os
from celery import Celery
from blocking import block_for_a_while

app = Celery("tasks", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
app.conf.broker_connection_retry_on_startup = True


@app.task
def block():
    block_for_a_while()
    return os.getpid()
"""


@contextmanager
def logged(folder: Path, *words: str, **settings: str) -> Iterator[Path]:
    """Run a module in *folder*, watched by the monitor and with a view; yield its log."""
    log = folder / "log"
    environment = clean_environment(
        GEVENT_MONITOR_THREAD_ENABLE="1",
        GEVENT_MAX_BLOCKING_TIME="0.2",
        GEVENT_INSPECT=f"unix:{folder}/view.{{pid}}",
        **settings,
    )
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            cwd=folder,
            env=environment,
        )
    try:
        yield log
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()
            process.wait(30)


def until(condition: Callable[[], object], log: Path) -> None:
    end = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)


def names_it(folder: Path, pid: int) -> bool:
    """Return whether the view of a process names the function that blocked its loop."""
    try:
        stats = ask_json(parse_address(f"unix:{folder}/view.{pid}"), "/stats.json")
    except InspectError:
        return False
    worst = stats["blocking"]["worst"]
    return any("block_for_a_while" in place["name"] and place["seconds"] > 0.2 for place in worst)


def is_reported(log: Path) -> bool:
    """Return whether the monitor's report, on one screen, names the function and its line."""
    text = log.read_text()
    start = text.find("block_for_a_while")
    return start >= 0 and "blocking.py" in text


@pytest.mark.parametrize("worker", ["gevent", "gevent_pywsgi"])
def test_gunicorn(socket_folder, wait_for, worker):
    (socket_folder / "blocking.py").write_text(BLOCKING)
    (socket_folder / "application.py").write_text(APPLICATION)
    port = free_port()
    words = ("gunicorn", "--worker-class", worker, "--bind", f"127.0.0.1:{port}")
    with logged(socket_folder, *words, "--no-control-socket", "application:app") as log:
        wait_for(port)

        def block() -> int:
            return int(requests.get(f"http://127.0.0.1:{port}/block", timeout=30).text)

        # A busy machine may let the samplers see little of one request.
        until(lambda: block() and is_reported(log), log)
        until(lambda: names_it(socket_folder, block()), log)


def test_celery(socket_folder, redis_server):
    (socket_folder / "blocking.py").write_text(BLOCKING)
    (socket_folder / "tasks.py").write_text(TASKS)
    url = f"{redis_server}/14"
    words = ("celery", "--app", "tasks", "worker", "--pool", "gevent", "--concurrency", "10")
    ask = "import tasks; print(tasks.block.delay().get(timeout=30))"
    with logged(socket_folder, *words, REDIS_URL=url) as log:
        done = subprocess.run(
            [sys.executable, "-c", ask],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=socket_folder,
            env=clean_environment(REDIS_URL=url),
        )
        assert done.returncode == 0, (done.stderr, log.read_text())
        until(lambda: is_reported(log), log)
        until(lambda: names_it(socket_folder, int(done.stdout)), log)
