#!/usr/bin/env python3
"""Run CPython's own tests of asyncio with the event loop of gevent.aio in place of asyncio's.

Each module runs in a process of its own, which is not patched. No test may fail: these are the
tests that asyncio's own loop passes. `--stock` runs them with that one, for comparison. Those in
INTERNAL do not run with the loop of gevent.aio, as they are of parts that it replaces.
"""

import argparse
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor

from run import MODULES, TIME_LIMIT

PREFIX = "test_asyncio."
#: Tests of asyncio's inner parts, by their ids below `test.test_asyncio`, and why they cannot run.
INTERNAL = {
    "test_subprocess.SubprocessThreadedWatcherTests.test_pid_not_reaped_before_exit_published": (
        "looks for the thread of asyncio's child watcher; the hub watches children without one"
    ),
    "test_unix_events.PidfdChildWatcherTests.test_pidfd_closed_when_waitpid_raises": (
        "waits for a call of a mock of os.waitpid; the hub waits for children by a system call"
    ),
    "test_ssl.TestSSL.test_remote_shutdown_receives_trailing_data_on_slow_socket": (
        "replaces the socket in asyncio's transport; that of the engine uses a descriptor"
    ),
}
#: The number of times that failing tests of a module may try again, nothing else running.
RETRIES = 2


def use_own_loop() -> None:
    """Let every name of asyncio's loop stand for that of gevent.aio."""
    import asyncio

    from gevent.aio import EventLoop

    for module in asyncio, asyncio.unix_events:
        for name in "SelectorEventLoop", "_UnixSelectorEventLoop", "EventLoop":
            if name in vars(module):
                setattr(module, name, EventLoop)
    policy = vars(asyncio.unix_events).get("_UnixDefaultEventLoopPolicy")
    if policy is not None:
        policy._loop_factory = EventLoop


def run_here(module: str, loop: str, names: list[str]) -> None:
    """Run the tests of a module, or those named, and print a line of JSON on them."""
    if loop == "own":
        use_own_loop()
    tests = unittest.defaultTestLoader.loadTestsFromModule(
        importlib.import_module(f"test.{PREFIX}{module}")
    )
    internal = {f"test.{PREFIX}{name}" for name in INTERNAL} if loop == "own" else set()
    tests = unittest.TestSuite(
        test
        for test in each(tests)
        if test.id() not in internal and (not names or test.id() in names)
    )
    result = unittest.TextTestRunner(stream=sys.stderr, verbosity=1).run(tests)
    failed = [test.id() for test, _ in result.failures + result.errors]
    report = {"run": result.testsRun, "skipped": len(result.skipped), "failed": failed}
    print(json.dumps(report), flush=True)


def each(tests: unittest.TestSuite) -> list[unittest.TestCase]:
    """Return the tests of a suite, whose parts may be suites."""
    found = []
    for test in tests:
        found += each(test) if isinstance(test, unittest.TestSuite) else [test]
    return found


def run_module(module: str, loop: str, names: list[str]) -> tuple[dict, str]:
    """Run a module in a process of its own; return its report, and what it wrote."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "GEVENT"))}
    command = [sys.executable, "-W", "ignore", __file__, "--here", "--loop", loop, module, *names]
    # What it writes goes to a file: a child that a test leaves behind would keep a pipe open.
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        try:
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                timeout=TIME_LIMIT,
                env=environment,
                check=False,
            )
            problem = "ended"
        except subprocess.TimeoutExpired:
            problem = "hangs"
        output.seek(0)
        errors.seek(0)
        written = errors.read()
        last = output.read().strip().rpartition("\n")[2]
    try:
        return json.loads(last), written
    except json.JSONDecodeError:
        return {"run": 0, "skipped": 0, "failed": [f"{module} {problem}"]}, written


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", "-j", type=int, default=2, help="modules run at a time")
    parser.add_argument("--stock", dest="loop", action="store_const", const="stock", default="own")
    parser.add_argument("--loop", help=argparse.SUPPRESS)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("modules", nargs="*", help="such as test_tasks (default: all)")
    options = parser.parse_args()
    if options.here:
        module, *names = options.modules
        run_here(module, options.loop, names)
        return 0
    known = [name.removeprefix(PREFIX) for name in MODULES if name.startswith(PREFIX)]
    modules = [
        name
        for name in options.modules or known
        if importlib.util.find_spec(f"test.{PREFIX}{name}") is not None
    ]
    with ThreadPoolExecutor(options.jobs) as executor:
        reports = list(executor.map(lambda name: run_module(name, options.loop, []), modules))
    passed = skipped = 0
    failed: list[str] = []
    for module, (report, output) in zip(modules, reports, strict=True):
        for _ in range(RETRIES):
            if report["failed"]:
                again, output = run_module(module, options.loop, report["failed"])
                report["failed"] = again["failed"]
        passed += report["run"] - report["skipped"] - len(report["failed"])
        skipped += report["skipped"]
        failed += report["failed"]
        if report["failed"]:
            print(output)
    for name in failed:
        print(f"FAILED {name}")
    print(
        f"asyncio's tests with the {options.loop} loop: {passed} passed, {skipped} skipped, "
        f"{len(failed)} failed"
    )
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
