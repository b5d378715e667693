"""Shared by the tests of `python -m gevent.serve`: the running program, and clients."""

import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

APPLICATION = """
import os, time
WORD = "first"

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/slow":
        time.sleep(1)
    elif path == "/die":
        os._exit(9)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{WORD} {os.getpid()} {environ['wsgi.url_scheme']}".encode()]

class holder:
    app = staticmethod(app)

number = 5
"""


class Serving:
    """The command line at work on an application in a folder of its own."""

    def __init__(self, folder: Path, environment: dict[str, str], *arguments: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gevent.serve", *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        self.said = ""

    def wait_for(self, pattern: str, seconds: float = 60) -> re.Match[str]:
        """Return where `pattern` first occurs in what it says from now on."""
        end = time.monotonic() + seconds
        stderr = self.process.stderr
        while not (found := re.search(pattern, self.said)):
            ready, _, _ = select.select([stderr], [], [], max(0, end - time.monotonic()))
            more = os.read(stderr.fileno(), 65536) if ready else b""
            assert more, f"{pattern!r} is not in {self.said!r}"
            self.said += more.decode()
        self.said = self.said[found.end() :]
        return found

    def address(self) -> tuple[str, int]:
        found = self.wait_for(r"listening at https?://([\d.]+):(\d+)")
        return found[1], int(found[2])

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)

    def rest(self) -> str:
        """Return all else that it said, when it has ended."""
        return self.said + self.process.stderr.read().decode()


def end(serving: Serving) -> None:
    """Leave nothing behind."""
    if serving.process.poll() is None:
        serving.process.terminate()
        try:
            serving.process.wait(10)
        except subprocess.TimeoutExpired:
            serving.process.kill()
    serving.process.communicate()


def ask(address: tuple[str, int] | str, path: str = "/", wrap=lambda sock: sock) -> list[str]:
    """Return the words of the body of one response."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as plain:
        plain.settimeout(30)
        plain.connect(address)
        with wrap(plain) as sock:
            sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            answer = b""
            while more := sock.recv(65536):
                answer += more
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK"), answer
    return body.decode().split()


def has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
