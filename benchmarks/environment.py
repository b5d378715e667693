"""The interpreters under comparison, and the machine they run on."""

import contextlib
import os
import platform
import subprocess
import sys
from pathlib import Path

PEER = "gevent==26.9.0"
BESIDE = "uvloop"

_IDENTITY = "import sys; print(sys.version, sys.base_prefix)"
_PACKAGES = (
    "from importlib.metadata import version; import uvloop; print('gevent==' + version('gevent'))"
)


def clean_environment() -> dict[str, str]:
    """Return the environment without what would configure gevent or replace it."""
    return {
        name: value
        for name, value in os.environ.items()
        if name != "PYTHONPATH" and not name.startswith("GEVENT")
    }


def _output(python: str | Path, code: str) -> str | None:
    try:
        done = subprocess.run(
            [python, "-c", code],
            capture_output=True,
            text=True,
            check=False,
            env=clean_environment(),
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


#: WSGI servers to compare with; bjoern is compiled, and needs libev's headers.
SERVERS = (
    *("gunicorn==27.0.1", "packaging==26.3", "bjoern==3.2.2", "granian==2.8.7"),
    *("gevent-websocket==0.10.1", "flask==3.1.3", "starlette==1.10.0", "uvicorn==0.54.0"),
    *("uvloop==0.23.0", "httptools"),
)
_SERVERS = (
    "import bjoern, flask, granian, gunicorn, httptools, geventwebsocket, gevent, starlette;"
    "print('gevent==' + gevent.__version__)"
)


def peer_python(python: str, directory: Path, servers: bool = False) -> str:
    """Return the interpreter of a virtual environment with the peer in it, made where missing.

    It is made by `python`, so that both sides run under the same CPython. With `servers`, it has
    the servers that this package's is compared with.
    """
    interpreter = directory / "bin" / "python"
    same_python = _output(interpreter, _IDENTITY) == _output(python, _IDENTITY)
    check, packages = (_SERVERS, SERVERS) if servers else (_PACKAGES, (BESIDE,))
    if not (same_python and _output(interpreter, check) == PEER):
        commands = (
            [python, "-m", "venv", "--clear", str(directory)],
            [str(interpreter), "-m", "pip", "install", "--quiet", PEER, *packages],
        )
        for command in commands:
            subprocess.run(command, check=True, env=clean_environment())
    return str(interpreter)


def two_processors() -> tuple[int, int]:
    """Return a processor for the server and one for the load generator; exit without them."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        sys.exit("the server and the load generator need a processor each")
    return allowed[-2], allowed[-1]


def pin_to_one_cpu() -> None:
    """Keep this process and its children on one processor, where the system allows."""
    # Where it is refused, the measurement is as good but for a little noise.
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def machine() -> list[str]:
    """Describe the machine without naming it."""
    return [
        f"Processor: {_cpu_model()}, {os.cpu_count()} cores",
        f"Kernel: {platform.system()} {platform.release()}, {platform.machine()}",
        f"Python: {platform.python_implementation()} {platform.python_version()}",
    ]


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return platform.machine()
