"""What every test may ask for."""

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable

import pytest

OWN_SETTINGS = ("PYTHON", "GEVENT")


def clean_environment(**extra: str) -> dict[str, str]:
    """The environment without the settings of Python and gevent that would change a test."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(OWN_SETTINGS)}
    return kept | extra


@pytest.fixture
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a snippet in a fresh interpreter: `run_python(code, *argv, timeout=30, **environment)`.

    Returns the completed process, with `stdout` and `stderr` as text and `returncode`.
    """

    def run(
        code: str, *argv: str, timeout: float = 30, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), *argv],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=clean_environment(**environment),
            check=False,
        )

    return run


@pytest.fixture
def require_program() -> Callable[[str], str]:
    """Return a program's path; without it skip the test, or fail it where REQUIRE_PROGRAMS is 1."""

    def require(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            message = f"this test needs the program {name}"
            if os.environ.get("REQUIRE_PROGRAMS") == "1":
                pytest.fail(message)
            pytest.skip(message)
        return path

    return require
