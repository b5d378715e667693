"""Servers that the programs here talk to, and how the programs are run."""

import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from ports import free_port

HERE = Path(__file__).parent
CERTIFICATE = HERE.parent / "data" / "localhost.pem"
#: Before a command that is not to outlive the tests, however they end.
MORTAL = ("setpriv", "--pdeathsig", "INT", "--")


def own_environment(**extra: str) -> dict[str, str]:
    """The environment without settings that would change what the programs do."""
    dropped = ("PYTHON", "GEVENT", "HTTP_", "HTTPS_", "ALL_PROXY", "PG", "REQUESTS_", "CURL_")
    return {k: v for k, v in os.environ.items() if not k.upper().startswith(dropped)} | extra


@pytest.fixture
def result_of() -> Callable[..., object]:
    """Run a function of a program here in a process of its own: `result_of(file, function, *argv)`.

    The program prints what the function returns as JSON and nothing else; this returns it.
    """

    def run(file: str, function: str, *argv: object, timeout: float = 250, **env: str) -> object:
        process = subprocess.run(
            [sys.executable, HERE / file, function, *map(str, argv)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=own_environment(**env),
            check=False,
        )
        assert (process.returncode, process.stderr) == (0, "")
        return json.loads(process.stdout)

    return run


@pytest.fixture
def started() -> Callable[..., AbstractContextManager[subprocess.Popen]]:
    """Keep a module running as a program, in this directory: `with started(module, *argv): …`.

    What it writes is shown when the test fails.
    """

    @contextmanager
    def start(module: str, *argv: object, **env: str) -> Iterator[subprocess.Popen]:
        process = subprocess.Popen(
            [*MORTAL, sys.executable, "-m", module, *map(str, argv)],
            stdin=subprocess.DEVNULL,
            cwd=HERE,
            env=own_environment(**env),
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait(30)

    return start


@contextmanager
def running(*command: object, ready: Callable[[], object], **settings: object) -> Iterator[None]:
    """Keep a server running, from the moment that `ready()` no longer raises OSError."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [*MORTAL, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, **settings
        )
        try:
            try:
                until_no_error(ready, lambda: process.poll() is None)
            except OSError:
                log.seek(0)
                pytest.fail(f"{command[0]} did not start: {log.read().decode()}")
            yield
        finally:
            # PostgreSQL would wait for its clients if it were terminated.
            process.send_signal(signal.SIGINT)
            process.wait(30)


def until_no_error(
    call: Callable[[], object], still: Callable[[], bool] = lambda: True, seconds: float = 30
) -> None:
    """Call until it raises no OSError, as long as `still()` holds; then, the error is raised."""
    end = time.monotonic() + seconds
    while True:
        try:
            call()
            return
        except OSError:
            if not still() or time.monotonic() > end:
                raise
        time.sleep(0.02)


def connect(port: int) -> None:
    """Connect to a port and go away again."""
    socket.create_connection(("127.0.0.1", port), timeout=10).close()


@contextmanager
def serving(file: str, *argv: object) -> Iterator[str]:
    """Keep a program running that prints its URL."""
    with subprocess.Popen(
        [*MORTAL, sys.executable, HERE / file, *argv],
        stdout=subprocess.PIPE,
        text=True,
        env=own_environment(),
    ) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.fixture(scope="session")
def http_url() -> Iterator[str]:
    """The address of an HTTP server of the standard library in a process of its own."""
    with serving("http_server.py") as url:
        yield url


@pytest.fixture(scope="session")
def https_url() -> Iterator[str]:
    """The same over TLS."""
    with serving("http_server.py", CERTIFICATE) as url:
        yield url


@pytest.fixture(scope="session")
def flask_url() -> Iterator[str]:
    """The address of a Flask application that `gevent.pywsgi` serves."""
    with serving("flask_app.py") as url:
        yield url


@pytest.fixture(scope="session")
def flask_tls_url() -> Iterator[str]:
    """The same over TLS."""
    with serving("flask_app.py", CERTIFICATE) as url:
        yield url


@pytest.fixture
def wait_for() -> Callable[[int], None]:
    """Wait until somebody listens on a port."""

    def wait(port: int) -> None:
        until_no_error(lambda: connect(port))

    return wait


@pytest.fixture(scope="session")
def certificate() -> Path:
    """The file of the certificate of `https_url`."""
    return CERTIFICATE


@pytest.fixture(scope="session")
def directory() -> Iterator[Path]:
    """A directory that other users may enter, with a path short enough for Unix sockets."""
    path = Path(tempfile.mkdtemp(prefix="programs-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def redis_server(directory: Path, require_program: Callable[..., str]) -> Iterator[str]:
    """The URL of a redis server; its databases 0 to 15 are for one test each."""
    program = require_program("redis-server")
    port = free_port()
    arguments = ("--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", directory)
    with running(program, *arguments, ready=lambda: connect(port)):
        yield f"redis://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def postgres(directory: Path, require_program: Callable[..., str]) -> Iterator[str]:
    """The parameters of a connection to a PostgreSQL server, as libpq takes them."""
    # Debian keeps the server's programs of each version in a directory of their own.
    initdb = require_program("initdb", *glob.glob("/usr/lib/postgresql/*/bin"))
    programs = Path(initdb).resolve().parent
    data = directory / "postgres"
    data.mkdir()
    # PostgreSQL refuses to run as root; its package made a user for it.
    user = {}
    if os.getuid() == 0:
        shutil.chown(data, "postgres", "postgres")
        user = {"user": "postgres", "group": "postgres", "extra_groups": []}
    subprocess.run(
        [programs / "initdb", "--no-sync", "--username=postgres", "--auth=trust", data / "cluster"],
        stdout=subprocess.DEVNULL,
        check=True,
        cwd=data,
        env=own_environment(LC_ALL="C.UTF-8"),
        **user,
    )

    def accepts() -> None:
        # It listens before it is ready.
        asked = subprocess.run([programs / "pg_isready", "-q", "-h", data], check=False)
        if asked.returncode:
            raise ConnectionError

    settings = ("listen_addresses=", f"unix_socket_directories={data}", "fsync=off")
    with running(
        programs / "postgres",
        *("-D", data / "cluster", *(word for setting in settings for word in ("-c", setting))),
        ready=accepts,
        cwd=data,
        **user,
    ):
        yield f"host={data} user=postgres dbname=postgres"
