"""What tests of the view share: programs that have one, the command line that asks it."""

import os
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from contextlib import contextmanager

import gevent

#: Three greenlets wait for a queue.
PROGRAM = """
    import gevent, sys
    from gevent.queue import Queue

    def consumer(queue):
        queue.get()

    queue = Queue()
    for _ in range(3):
        gevent.spawn(consumer, queue).name = "a consumer"
    gevent.sleep(0.01)
    print("ready", flush=True)
    gevent.sleep(60)
"""


@contextmanager
def program(source=PROGRAM, **environment):
    """Run a program to its first line, and kill it at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(source)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        yield process
    finally:
        process.kill()
        process.communicate()


def run_top(*arguments, **environment):
    """Return the status, the output and the errors of a command line."""
    run = subprocess.run(
        [sys.executable, "-m", "gevent.top", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, **environment},
    )
    return run.returncode, run.stdout, run.stderr


def get(view, path, token=None, method="GET"):
    """Return the status and the text of a page, asked for in a native thread."""
    request = urllib.request.Request(
        f"{view.url.partition('?')[0].rstrip('/')}{path}", method=method
    )
    token = view.token if token is None else token
    if token:
        request.add_header("Authorization", f"Bearer {token}")

    def fetch():
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return gevent.get_hub().threadpool.apply(fetch)
