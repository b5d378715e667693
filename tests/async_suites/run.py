#!/usr/bin/env python3
"""Run the test suites of asyncio's libraries with the loop of gevent.aio beside asyncio's own.

The suites come from the sdists of the installed versions, and what they need is installed beside
them, all in build/async-suites. A suite runs twice, with either loop. A test that asyncio's loop
passes and that of gevent.aio does not tries again by itself, and then counts as failed, unless
suites.toml says why it may.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).resolve().parent
WORK = HERE.parents[1] / "build" / "async-suites"
#: Seconds that one suite may take.
TIME_LIMIT = 1800
#: Seconds that one test may take.
TEST_LIMIT = 120
#: What all suites need beside the environment.
NEEDED = ["pytest-timeout"]
#: The number of times that a failing test may try again.
RETRIES = 2


@dataclass
class Outcome:
    """The ends of a suite's tests, by their names."""

    passed: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, report: Path) -> Outcome:
        """Return what pytest's report in JUnit's format says."""
        outcome = cls()
        for case in ElementTree.parse(report).getroot().iter("testcase"):
            name = f"{case.get('classname')}::{case.get('name')}"
            kinds = {child.tag for child in case}
            if kinds & {"failure", "error"}:
                outcome.failed.add(name)
            elif "skipped" in kinds:
                outcome.skipped.add(name)
            else:
                outcome.passed.add(name)
        outcome.passed -= outcome.failed
        return outcome

    def __str__(self) -> str:
        return f"{len(self.passed)} passed, {len(self.failed)} failed, {len(self.skipped)} skipped"


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True)


def source_of(name: str) -> Path:
    """Return the folder with the sdist of a package in the version that is installed."""
    folder = WORK / f"{name}-{version(name)}"
    if not folder.exists():
        archives = WORK / "sdists"
        exact = f"{name}=={version(name)}"
        pip("download", "--no-deps", "--no-binary", name, "--dest", str(archives), exact)
        (archive,) = archives.glob(f"{name}-{version(name)}.tar.gz")
        subprocess.run(["tar", "-xzf", archive, "-C", WORK], check=True)
        # The installed package is tested: it has its extensions.
        for package in folder / name, folder / "src" / name:
            if package.is_dir():
                package.rename(package.with_name(f"{name}-source"))
    return folder


def packages_for(name: str, needs: list[str]) -> str:
    """Return a folder with the packages that a suite needs beside those of the environment."""
    folder = WORK / f"needs-{name}"
    if needs and not folder.exists():
        pip("install", "--target", str(folder), *needs)
    return str(folder)


def run_suite(name: str, suite: dict, loop: str, chosen: list[str]) -> Outcome:
    """Run a suite, or the tests of it that are chosen, with a loop; return how they ended."""
    source = source_of(name)
    report = WORK / f"{name}-{loop}.xml"
    report.unlink(missing_ok=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "GEVENT"))}
    environment |= {
        "ASYNC_SUITES_LOOP": loop,
        "ASYNC_SUITES_NAME": name,
        "ASYNC_SUITES_NEEDS": os.pathsep.join(
            [packages_for("all", NEEDED), packages_for(name, suite.get("needs", []))]
        ),
        "PYTHONPATH": str(HERE),
    }
    deselected = [f"--deselect={test}" for test in suite.get("ignored", {})]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "chosen_loop", "-p", "no:cacheprovider"]
    command += [
        f"--timeout={TEST_LIMIT}",
        f"--junitxml={report}",
        "-o",
        "addopts=",
        "-o",
        "junit_family=xunit1",
    ]
    command += [*suite.get("arguments", []), *deselected, *(chosen or suite["tests"])]
    with open(WORK / f"{name}-{loop}.log", "w") as log:
        subprocess.run(
            command,
            cwd=source,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=TIME_LIMIT,
            check=False,
        )
    if not report.exists():
        raise SystemExit(f"{name} did not run: see {log.name}")
    return Outcome.read(report)


def node_of(name: str, source: Path) -> str:
    """Return how pytest is asked for a test that a report names."""
    module, _, test = name.partition("::")
    parts = module.split(".")
    for count in range(len(parts), 0, -1):
        path = Path(*parts[:count]).with_suffix(".py")
        if (source / path).exists():
            return "::".join([str(path), *parts[count:], test])
    return name


def compare(name: str, suite: dict) -> int:
    """Run a suite with both loops, and print a line on it; return how many tests are worse."""
    stock = run_suite(name, suite, "stock", [])
    own = run_suite(name, suite, "own", [])
    worse = own.failed - stock.failed - set(suite.get("own", {}))
    for _ in range(RETRIES):
        if not worse:
            break
        nodes = [node_of(test, source_of(name)) for test in sorted(worse)]
        worse &= run_suite(name, suite, "own", nodes).failed
    if not stock.passed:
        raise SystemExit(f"{name}: no test passed with asyncio's loop: see {WORK}/{name}-stock.log")
    missing = stock.passed - own.passed - own.failed - own.skipped
    for test in sorted(worse):
        print(f"FAILED {name}: {test}")
    for test in sorted(missing):
        print(f"DID NOT RUN {name}: {test}")
    print(f"{name} {version(name)}: asyncio's loop {stock}; gevent.aio's {own}", flush=True)
    return len(worse) + len(missing)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suites", nargs="*", help="such as anyio (default: all)")
    options = parser.parse_args()
    suites = tomllib.loads((HERE / "suites.toml").read_text())
    WORK.mkdir(parents=True, exist_ok=True)
    worse = sum(compare(name, suites[name]) for name in options.suites or suites)
    print(f"async suites: {worse} tests pass with asyncio's loop only")
    return bool(worse)


if __name__ == "__main__":
    sys.exit(main())
