"""Fetch gevent's own tests and run one module of them in a process of its own."""

import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
GEVENT = "26.9.0"
TEST_PACKAGES = ("gevent/tests/", "gevent/testing/")

RAN = re.compile(r"^Ran (\d+) tests? in ", re.MULTILINE)
VERDICT = re.compile(r"^(?:OK|FAILED) \((.*)\)$", re.MULTILINE)
BROKEN = re.compile(r"^(?:FAIL|ERROR): (\S+)", re.MULTILINE)
NOT_PASSED = ("failures", "errors", "skipped")


@dataclass(frozen=True)
class Outcome:
    """What one test module did. A module without unittest counts as one test: its exit status."""

    module: str
    passed: int
    failed: int
    exit: int | str
    broken: tuple[str, ...]
    seconds: float


def download(folder: Path, version: str, form: str, *options: str, **environ: str) -> Path:
    """Have pip put a release of gevent into `folder`, and return the file.

    `form` is the end of its name, and `options` say to pip which of the release's files that is.
    """
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    what = ["--no-deps", "--dest", str(folder), f"gevent=={version}"]
    subprocess.run([*pip, *options, *what], check=True, env=os.environ | environ)
    [file] = folder.glob(f"gevent-{version}*{form}")
    return file


def fetch(folder: Path) -> Path:
    """Return the folder with gevent's test packages, downloading the wheel the first time."""
    target = folder / f"gevent-{GEVENT}"
    if not target.is_dir():
        wheel = download(folder, GEVENT, ".whl", "--only-binary=:all:")
        partial = folder / "partial"
        with zipfile.ZipFile(wheel) as archive:
            tests = [name for name in archive.namelist() if name.startswith(TEST_PACKAGES)]
            archive.extractall(partial, tests)
        wheel.unlink()
        partial.rename(target)
    return target


def environment_with(**settings: str) -> dict[str, str]:
    """The environment with these settings and none of this process's Python and gevent."""
    mine = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "GEVENT", "VIRTUAL_ENV"))
    }
    return mine | settings | {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def environment(suite: Path) -> dict[str, str]:
    """The environment in which a test module finds the suite, then the shims, and no network."""
    return environment_with(
        CONFORMANCE_PATHS=os.pathsep.join([str(HERE / "shims"), str(suite)]),
        PYTHONPATH=str(HERE / "overlay"),
        PYTHONFAULTHANDLER="1",
        GEVENTTEST_USE_RESOURCES="all,-network",
        GEVENTTEST_QUIET="1",
    )


def run_to_end(
    command: list[str], folder: Path, environ: dict[str, str], timeout: float
) -> tuple[str, int | str, float]:
    """Run a command, killed with its children after `timeout` seconds.

    Returns what it printed, its exit status or "timeout", and the seconds that it took.
    """
    began = time.monotonic()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env=environ,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout)
        status: int | str = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        status = "timeout"
    return output.decode("utf-8", "replace"), status, time.monotonic() - began


def run_module(python: str, suite: Path, module: str, timeout: float) -> Outcome:
    """Run `gevent.tests.<module>` and count."""
    command = [python, "-m", f"gevent.tests.{module}"]
    folder = suite / "gevent" / "tests"
    return count(module, *run_to_end(command, folder, environment(suite), timeout))


def count(module: str, text: str, status: int | str, seconds: float) -> Outcome:
    """Read a module's counts off what unittest printed.

    Under CPython 3.12.1 they may be low: that version alone does not say that it ran the tests
    which a decorator skips.
    """
    runs = [int(number) for number in RAN.findall(text)]
    if not runs:
        passed = int(status == 0)
        return Outcome(module, passed, 1 - passed, status, (), seconds)
    tally = dict.fromkeys(NOT_PASSED, 0)
    for verdict in VERDICT.findall(text):
        for part in verdict.split(", "):
            name, _, number = part.partition("=")
            if name in tally:
                tally[name] += int(number)
    failed = tally["failures"] + tally["errors"]
    if status != 0 and sum(runs) and not failed:
        failed = 1
    passed = max(0, sum(runs) - failed - tally["skipped"])
    return Outcome(
        module, passed, failed, status, tuple(sorted(set(BROKEN.findall(text)))), seconds
    )
