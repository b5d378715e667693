"""The fixtures of all tests."""

import io
import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from child_environment import clean_environment
from serve_support import APPLICATION, Serving, end

import gevent
from gevent import core, pywsgi, socket
from gevent._hub_local import get_hub_if_exists
from gevent.hub import Hub, set_hub


@pytest.fixture
def tmp_path(tmp_path: Path) -> Path:
    """The folder of a test, whose path is longer than the address of a Unix socket may be.

    How long pytest's own is depends on the machine and the test's name, so that a socket in it
    would fail on some machines only. Sockets belong in `socket_folder`.
    """
    folder = tmp_path / ("long-" * 20)
    folder.mkdir()
    return folder


@pytest.fixture
def socket_folder() -> Iterator[Path]:
    """A folder whose path is short enough for the addresses of Unix sockets in it."""
    with TemporaryDirectory(prefix="gevent-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def own_environment() -> dict[str, str]:
    """The environment for a process of the test's own."""
    return clean_environment()


@pytest.fixture
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a snippet in a fresh interpreter: `run_python(code, *argv, timeout=60, **environment)`.

    `flags` are options of the interpreter, such as `["-X", "dev"]`. Returns the completed process,
    with `stdout` and `stderr` as text and `returncode`.
    """

    def run(
        code: str,
        *argv: str,
        timeout: float = 60,
        flags: Iterable[str] = (),
        **environment: str,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *flags, "-c", textwrap.dedent(code), *argv],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=clean_environment(**environment),
            check=False,
        )

    return run


@pytest.fixture
def output_of(run_python: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., str]:
    """Like `run_python`, but the snippet must end well and silently; returns its stdout."""

    def run(code: str, *argv: str, **settings: object) -> str:
        result = run_python(code, *argv, **settings)
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout

    return run


@pytest.fixture(scope="session")
def require_program() -> Callable[..., str]:
    """Return a program's path; without it skip the test, or fail it where REQUIRE_PROGRAMS is 1.

    `require_program(name, *directories)` looks into the directories too, after those of PATH.
    """

    def require(name: str, *directories: str) -> str:
        path = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *directories]))
        if path is None:
            message = f"this test needs the program {name}"
            if os.environ.get("REQUIRE_PROGRAMS") == "1":
                pytest.fail(message)
            pytest.skip(message)
        return path

    return require


@pytest.fixture
def waiting() -> Callable[..., gevent.Greenlet]:
    """Make a greenlet that waits in a function: `waiting(function, *args)`."""

    def spawn(function: Callable[..., object], *args: object) -> gevent.Greenlet:
        greenlet = gevent.spawn(function, *args)
        gevent.sleep(0.001)
        assert not greenlet.ready()
        return greenlet

    return spawn


@pytest.fixture
def failure_of() -> Callable[[gevent.Greenlet], BaseException | None]:
    """The exception that a greenlet ends with, not reported."""

    def wait(greenlet: gevent.Greenlet) -> BaseException | None:
        gevent.get_hub().exception_stream = None
        try:
            greenlet.join(20)
        finally:
            del gevent.get_hub().exception_stream
        return greenlet.exception

    return wait


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two cooperative sockets that are connected to each other."""
    one, other = socket.socketpair()
    with one, other:
        yield one, other


@pytest.fixture
def tcp() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    with one, other:
        yield one, other


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The descriptors of a pipe: its reader and its writer."""
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


class Exchange:
    """Talks to a WSGI server over connections of its own."""

    def __init__(self, server: pywsgi.WSGIServer) -> None:
        self.server = server
        self.log: io.StringIO = server.log
        self.errors: io.StringIO = server.error_log

    def connect(self) -> socket.socket:
        sock = socket.create_connection(self.server.address[:2])
        sock.settimeout(20)
        return sock

    def send(self, *parts: bytes, pause: float = 0) -> bytes:
        """Send parts over one connection; return all that comes until the server ends it."""
        with self.connect() as sock:
            for part in parts:
                sock.sendall(part)
                gevent.sleep(pause)
            sock.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: sock.recv(65536), b""))

    def get(self, path: str = "/", *headers: str, version: str = "1.1", method: str = "GET"):
        """Return status line, headers and body of the answer to one request."""
        lines = (f"{method} {path} HTTP/{version}", "Host: x", *headers, "Connection: close")
        return parse(self.send("\r\n".join((*lines, "", "")).encode("latin-1")))


def parse(answer: bytes) -> tuple[str, dict[str, str], bytes]:
    """Split the bytes of one response."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    return status.partition(" ")[2], dict(line.split(": ", 1) for line in lines), body


@pytest.fixture
def serve() -> Iterator[Callable[..., Exchange]]:
    """Start a WSGI server: `serve(application, **arguments)`; its logs are kept as text."""
    servers = []

    def start(application: Callable, listener: object = ("127.0.0.1", 0), **arguments) -> Exchange:
        arguments = {"log": io.StringIO(), "error_log": io.StringIO()} | arguments
        server = pywsgi.WSGIServer(listener, application, **arguments)
        servers.append(server)
        server.start()
        return Exchange(server)

    yield start
    for server in servers:
        server.stop(timeout=0)


@pytest.fixture
def reported(monkeypatch) -> list[tuple]:
    """The errors that greenlets and applications ended with, which are not printed then."""
    seen: list[tuple] = []
    monkeypatch.setitem(vars(gevent.get_hub()), "handle_error", lambda *error: seen.append(error))
    return seen


@pytest.fixture
def printed() -> Iterator[io.StringIO]:
    """The text that the hub would have printed to `sys.stderr`."""
    # Deleted afterwards, not put back: the stream of this test is not that of the next.
    stream = gevent.get_hub().exception_stream = io.StringIO()
    yield stream
    del gevent.get_hub().exception_stream


@pytest.fixture
def spare_hub() -> Iterator[Hub]:
    """Give the thread a new hub for the test, and its own one back afterwards."""
    own = gevent.get_hub()
    set_hub(None)
    yield gevent.get_hub()
    gevent.get_hub().destroy(destroy_loop=True)
    set_hub(own)


@pytest.fixture(autouse=True)
def _stream_of_the_hub() -> Iterator[None]:
    """Fail a test that leaves a stream set, as the reports of later ones would go there."""
    yield
    hub = get_hub_if_exists()
    was_left = hub is not None and "_exception_stream" in vars(hub)
    if was_left:
        del hub.exception_stream
    assert not was_left


class Errors:
    """An error handler that keeps what it gets."""

    def __init__(self) -> None:
        self.seen: list[tuple] = []

    def handle_error(self, *what: object) -> None:
        self.seen.append(what)


@pytest.fixture
def loop() -> Iterator[core.loop]:
    """A loop of its own. Errors are in `error_handler.seen`, which must be empty at the end."""
    made = core.loop(default=False)
    made.error_handler = Errors()
    yield made
    unexpected = made.error_handler.seen
    made.destroy()
    assert not unexpected


@pytest.fixture
def default_loop() -> Iterator[core.loop]:
    """A default loop."""
    made = core.loop(default=True)
    yield made
    made.destroy()


@pytest.fixture
def run_until() -> Callable[..., None]:
    """Make turns of a loop until a condition holds: `run_until(loop, condition, seconds=30)`."""

    def run(loop: core.loop, condition: Callable[[], object], seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        ticks = loop.timer(0.005, 0.005)
        ticks.start(lambda: None)
        while not condition():
            assert time.monotonic() < end, "it did not happen"
            loop.run(once=True)
        ticks.close()

    return run


@pytest.fixture
def serve_program(
    tmp_path: Path, own_environment: dict[str, str]
) -> Iterator[Callable[..., Serving]]:
    """Run `python -m gevent.serve` on `program.py`.

    `serve_program("program:app", *options, **environment)` returns a `Serving`.
    """
    (tmp_path / "program.py").write_text(APPLICATION)
    with ExitStack() as stack:

        def start(*arguments: str, **environ: str) -> Serving:
            serving = Serving(tmp_path, own_environment | environ, *arguments)
            stack.callback(end, serving)
            return serving

        yield start
