"""Run one test module of CPython in this process, patched, and report on each of its tests.

A module in this directory takes the place of one that CPython does not install, and has its tests.

    python patched.py MODULE REPORT CHOICE

REPORT gets a line of JSON when a test begins and when it ends, so that it tells also of a process
that did not live to its end. CHOICE is a file of JSON: the names of the tests to `skip`, and of
those to run `only`, which is null for all. A test that takes too long ends the process.
"""

import contextlib
import faulthandler
import importlib
import json
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from gevent import monkey

monkey.patch_all()

#: No test takes this many seconds unless it hangs.
TIME_LIMIT = 60

#: What the tests may use: nothing that leaves this machine, or takes gigabytes of it.
RESOURCES = ["cpu", "curses", "subprocess", "tzdata", "walltime"]
#: Modules that ask for the network, and do not leave this machine.
LOCAL = ["test_socketserver"]


class Report(unittest.TestResult):
    """Writes down what becomes of each test."""

    def __init__(self, file: IO[str]) -> None:
        super().__init__()
        self.file = file
        self.status: dict[str, str] = {}

    def _write(self, **line: Any) -> None:
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self._write(begins=test.id())
        faulthandler.dump_traceback_later(TIME_LIMIT, exit=True)

    def stopTest(self, test: unittest.TestCase) -> None:
        faulthandler.cancel_dump_traceback_later()
        super().stopTest(test)
        self._ends(test, "passed")

    def _ends(self, test: Any, status: str) -> None:
        self._write(ends=test.id(), status=self.status.pop(test.id(), status))

    def _fails(self, test: Any, error: Any) -> None:
        text = self._exc_info_to_string(error, test)
        print(f"{test.id()}\n{text}", flush=True)
        if isinstance(test, unittest.TestCase):
            self.status[test.id()] = "failed"
        else:
            # Setting up, or cleaning up, a class or the module.
            self._ends(test, "failed")

    addError = addFailure = _fails

    def addSubTest(self, test: Any, subtest: Any, error: Any) -> None:
        if error is not None:
            print(subtest.id())
            self._fails(test, error)

    def addUnexpectedSuccess(self, test: Any) -> None:
        self.status[test.id()] = "failed"

    def addSkip(self, test: Any, reason: str) -> None:
        if isinstance(test, unittest.TestCase):
            self.status[test.id()] = "skipped"


def fit_support(module: str) -> None:
    """Keep the tests' helpers from what cannot work, or means nothing, in a patched process."""
    from test import support
    from test.support import import_helper, threading_helper

    @contextlib.contextmanager
    def nothing(*args: Any, **kwargs: Any) -> Iterator[None]:
        yield

    support.use_resources = dict.fromkeys(RESOURCES + ["network"] * (module in LOCAL))
    # These count native threads, which the threads of the tests are not.
    threading_helper.threading_setup = lambda: ()
    threading_helper.threading_cleanup = lambda *values: None
    threading_helper.wait_threads_exit = nothing
    # A fresh module is not a patched one.
    import_helper.import_fresh_module = lambda name, *rest, **options: importlib.import_module(name)


def flatten(suite: Any) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flatten(test)
        else:
            yield test


def main(module: str, report: str, choice: str) -> None:
    fit_support(module)
    skip, only = json.loads(Path(choice).read_text()).values()
    try:
        own = Path(__file__).with_name(f"{module}.py").exists()
        name = module if own else f"test.{module}"
        found = unittest.defaultTestLoader.loadTestsFromName(name)
    except unittest.SkipTest as reason:
        print(f"{module} is skipped: {reason}")
        found = unittest.TestSuite()
    chosen = [
        test
        for test in flatten(found)
        if test.id() not in skip and (only is None or test.id() in only)
    ]
    faulthandler.enable()
    with open(report, "a") as file:
        unittest.TestSuite(chosen).run(Report(file))
        file.write(json.dumps({"over": True}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
