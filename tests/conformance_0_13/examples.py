"""Runs gevent 0.13.1's examples as programs of their own, and looks at what they answer."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from suite import Outcome

#: Has a program's servers listen at a free port, which it prints.
LAUNCHER = Path(__file__).resolve().parents[1] / "documents" / "launcher.py"

PATIENCE = 30


class Examples:
    """The examples of a suite, run by an interpreter."""

    def __init__(self, python: str, suite: Path, environment: dict[str, str]) -> None:
        self.python, self.environment = python, environment
        self.folder = suite / "examples"

    @contextlib.contextmanager
    def served(self, name: str) -> Iterator[int]:
        """Run an example that serves; yield its port. It must still run at the end."""
        process = subprocess.Popen(
            [self.python, LAUNCHER, self.folder / name],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=self.folder,
            env=self.environment,
        )
        try:
            for line in process.stdout:
                if line.startswith("listening at "):
                    yield int(line.split()[-1])
                    break
            else:
                raise AssertionError(f"{name} ended")
            assert process.poll() is None, f"{name} ended while it served"
        finally:
            process.kill()
            process.communicate()

    def _hello(self, name: str) -> None:
        with self.served(name) as port:
            assert get(port, "/") == (200, "<b>hello world</b>")
            assert get(port, "/xxx") == (404, "<h1>Not Found</h1>")

    def httpserver(self) -> None:
        """gevent.http answers."""
        self._hello("httpserver.py")

    def wsgiserver(self) -> None:
        """gevent.wsgi answers."""
        self._hello("wsgiserver.py")

    def webproxy(self) -> None:
        """A proxy over gevent.wsgi fetches a page of another example."""
        with self.served("webproxy.py") as port, self.served("wsgiserver.py") as other:
            code, page = get(port, "/")
            assert code == 200
            assert "gevent example" in page
            code, page = get(port, f"/http://127.0.0.1:{other}/")
            assert code == 200, page
            assert "hello world" in page

    def echoserver(self) -> None:
        """gevent.server echoes lines to two clients at once."""
        with self.served("echoserver.py") as port, contextlib.ExitStack() as stack:
            clients = []
            for _ in range(2):
                sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE))
                clients.append((sock, stack.enter_context(sock.makefile("rb"))))
            for sock, file in clients:
                assert b"Welcome" in file.readline()
                sock.sendall(b"hello\r\n")
                assert file.readline().rstrip() == b"hello"

    def _to_its_end(self, name: str) -> None:
        done = subprocess.run(
            [self.python, self.folder / name],
            capture_output=True,
            timeout=PATIENCE,
            cwd=self.folder,
            env=self.environment,
        )
        assert done.returncode == 0, done.stderr.decode()

    def concurrent_download(self) -> None:
        """It ends, whether or not there is a network."""
        self._to_its_end("concurrent_download.py")

    def dns_mass_resolve(self) -> None:
        """It ends, whether or not there is a network."""
        self._to_its_end("dns_mass_resolve.py")

    def geventsendfile(self) -> None:
        """It can be imported, and replaces what it says."""
        self._to_its_end("geventsendfile.py")


def get(port: int, path: str) -> tuple[int, str]:
    """Return the status and the page."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def run_examples(python: str, suite: Path, environment: dict[str, str]) -> Outcome:
    """Run all of them and count."""
    began = time.monotonic()
    examples = Examples(python, suite, environment)
    checks: dict[str, Callable[[], None]] = {
        name: getattr(examples, name)
        for name in vars(Examples)
        if not name.startswith("_") and name != "served"
    }
    broken = []
    for name, check in checks.items():
        try:
            check()
        except Exception as error:
            broken.append(f"{name} ({type(error).__name__}: {error})")
    passed = len(checks) - len(broken)
    seconds = time.monotonic() - began
    return Outcome("examples", passed, len(broken), len(broken), tuple(broken), seconds)
