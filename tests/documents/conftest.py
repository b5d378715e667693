"""Fixtures that run the examples of the documents, and the hosts that these talk to."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from paths import EXAMPLES, SUPPORT

DOCUMENTS = EXAMPLES / "documents"
LAUNCHER = Path(__file__).with_name("launcher.py")
FORKING = Path(__file__).with_name("forking.py")
#: Settings that would change what the programs do.
SETTINGS = ("PYTHON", "GEVENT", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


def environment(extra: dict[str, str]) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.upper().startswith(SETTINGS)}
    return kept | {"PYTHONUNBUFFERED": "1"} | extra


@dataclass
class Outcome:
    """The output of a program, and its status."""

    status: int
    lines: list[str]
    errors: str
    seconds: float


@pytest.fixture
def run() -> Callable[..., Outcome]:
    """Run an example to its end: `run("tutorial/01_context_switch", SETTING="value")`.

    With `forking=True` the processes that it starts are forked.
    """

    def run(name: str, *, forking: bool = False, **settings: str) -> Outcome:
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, *[FORKING] * forking, DOCUMENTS / f"{name}.py"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            env=environment(settings),
            check=False,
        )
        seconds = time.monotonic() - began
        return Outcome(done.returncode, done.stdout.splitlines(), done.stderr, seconds)

    return run


@pytest.fixture
def output_of(run: Callable[..., Outcome]) -> Callable[..., list[str]]:
    """The lines that an example prints, which must end well."""

    def lines(name: str, *, forking: bool = False, **settings: str) -> list[str]:
        outcome = run(name, forking=forking, **settings)
        assert outcome.status == 0, outcome.errors
        return outcome.lines

    return lines


@pytest.fixture
def started(tmp_path: Path) -> Callable[..., object]:
    """Start an example; a context manager that yields the process and ends it.

    What it writes to standard error is in the file `errors` of the test's directory.
    """

    @contextmanager
    def start(name: str, *before: str | Path, **settings: str) -> Iterator[subprocess.Popen[str]]:
        with (
            open(tmp_path / "errors", "w") as errors,
            subprocess.Popen(
                [sys.executable, *before, DOCUMENTS / f"{name}.py"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment(settings),
            ) as process,
        ):
            try:
                yield process
            finally:
                process.kill()

    return start


@pytest.fixture
def served(started: Callable[..., object], tmp_path: Path) -> Callable[..., object]:
    """Start an example with a server; a context manager that yields the process and the port."""

    @contextmanager
    def serve(name: str, **settings: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
        with started(name, LAUNCHER, **settings) as process:
            line = process.stdout.readline()
            assert line.startswith("listening at "), (tmp_path / "errors").read_text()
            yield process, int(line.split()[-1])

    return serve


@pytest.fixture(scope="session")
def name_server() -> Iterator[dict[str, str]]:
    """The settings for a name server that knows every name, and takes 0.75 seconds to say so."""
    with subprocess.Popen(
        [sys.executable, SUPPORT / "dns_server.py", "--any", "10.1.2.3", "--delay", "0.75"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        port = process.stdout.readline().strip()
        try:
            yield {
                "GEVENT_RESOLVER": "ares",
                "GEVENTARES_SERVERS": "127.0.0.1",
                "GEVENTARES_UDP_PORT": port,
                "GEVENTARES_TCP_PORT": port,
            }
        finally:
            process.stdin.close()


class Web:
    """A proxy that answers for every host of the web, and tells how many it served at once."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.most = 0
        #: So many requests are answered together, or one after the other after some seconds.
        self.together = 1
        self._now = 0
        self._lock = threading.Lock()
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with web._lock:
                    web.asked.append(self.path)
                    web._now += 1
                    web.most = max(web.most, web._now)
                time.sleep(0.3)
                end = time.monotonic() + 10
                while web.most < web.together and time.monotonic() < end:
                    time.sleep(0.01)
                with web._lock:
                    web._now -= 1
                    number = len(web.asked)
                body = json.dumps({"datetime": f"2013-01-01 00:00:{number:02}"}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.settings = {"http_proxy": f"http://127.0.0.1:{self.server.server_address[1]}"}


@pytest.fixture
def web() -> Iterator[Web]:
    """The web, on loopback: `run(name, **web.settings)`."""
    web = Web()
    thread = threading.Thread(target=web.server.serve_forever, args=(0.01,))
    thread.start()
    yield web
    web.server.shutdown()
    web.server.server_close()
    thread.join()
