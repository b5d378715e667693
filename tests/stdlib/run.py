#!/usr/bin/env python3
"""Run CPython's own tests of the patched modules, each module in a patched process of its own.

No test may fail but those listed in fails-under-gevent-X.Y.txt, for CPython X.Y, which fail under
gevent 26.9.0 as well, and those of OTHERWISE. `--python PEER --write` makes the list, PEER being an
interpreter with gevent, and `--prune` strikes off what passes here. What is listed as fatal does
not run.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent

#: The tests of what is patched and of what is built on it, those that take longest first.
MODULES = (
    *("test_concurrent_futures", "test_subprocess", "test_threading", "test_socket", "test_ssl"),
    *("test_signal", "test_httplib", "test_ftplib", "test_smtplib", "test_queue", "test_time"),
    *("test_logging", "test_socketserver", "test_urllib2_localnet", "test_os", "test_asyncore"),
    *("test_asynchat", "test_thread", "test_select", "test_selectors", "test_threading_local"),
    *("test_threadedtempfile", "test_threadsignals", "test_context", "test_httpservers"),
    *(
        "test_imaplib",
        "test_poplib",
        "test_telnetlib",
        "test_nntplib",
        "test_smtpd",
        "test_wsgiref",
    ),
    *("test_urllib2", "test_xmlrpc", "test_docxmlrpc", "test_pty", "test_poll", "test_epoll"),
    "multiprocessing_fork",
    *("test_wait3", "test_wait4", "test_fork1", "test_posix", "test_popen", "test_sched"),
    *("test_robotparser", "test_threaded_import", "test_atexit", "test_eintr"),
    # All of asyncio but its parts for Windows.
    *(
        f"test_asyncio.test_{name}"
        for name in (
            *("tasks", "events", "subprocess", "ssl", "streams", "sock_lowlevel", "futures"),
            *("taskgroups", "sendfile", "sslproto", "base_events", "unix_events", "locks"),
            *("selector_events", "waitfor", "queues", "runners", "timeouts", "server", "pep492"),
            *("futures2", "threads", "transports", "protocols", "context", "buffered_proto"),
            *("eager_task_factory", "graph", "staggered", "tools"),
        )
    ),
)
#: The tests that fail here on purpose, and the reason.
OTHERWISE = dict.fromkeys(
    (
        "test.test_threading.MiscTestCase.test_change_name",
        "test.test_concurrent_futures.test_interpreter_pool.InterpreterPoolExecutorTest"
        ".test_thread_name_prefix_with_thread_get_name",
    ),
    "a patched thread's name is not given to the native thread, which is the program's main one",
)
#: What became of a test during which the process ended, by itself or for its time limit.
FATAL = "fatal"
#: The names of the statuses of a test that did not pass.
BAD = ("failed", FATAL)
#: No module takes this many seconds unless it hangs where no test runs.
TIME_LIMIT = 420
#: How often a test that fails may try again, alone.
RETRIES = 2

AVAILABLE = "import importlib.util as u, sys; sys.exit(u.find_spec(sys.argv[1]) is None)"


@dataclass
class Outcome:
    """What became of a module's tests: `passed`, `skipped`, `failed` or `fatal`, by name."""

    module: str
    status: dict[str, str] = field(default_factory=dict)
    output: str = ""
    seconds: float = 0

    def names(self, *statuses: str) -> list[str]:
        """The tests that have one of these statuses."""
        return [name for name, status in self.status.items() if status in statuses]


class Known:
    """The tests that fail under gevent, as listed: one name a line, fatal ones marked."""

    def __init__(self, python: str) -> None:
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        version = subprocess.check_output([python, "-c", code], text=True).strip()
        self.path = HERE / f"fails-under-gevent-{version}.txt"
        self.failing: set[str] = set()
        self.fatal: set[str] = set()
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        for line in lines:
            name, _, mark = line.partition(" # ")
            self.failing.add(name)
            if mark == FATAL:
                self.fatal.add(name)

    def write(self, outcomes: list[Outcome], *, prune: bool) -> None:
        """List what did not pass, in place of what is listed for these modules.

        With *prune* only of that which is listed.
        """
        modules = {f"test.{outcome.module}" for outcome in outcomes}
        kept = {
            name: FATAL if name in self.fatal else "failed"
            for name in self.failing
            if ".".join(name.rpartition("(")[2].rstrip(")").split(".")[:2]) not in modules
            and not any(name in outcome.status for outcome in outcomes)
        }
        found = {
            name: outcome.status[name]
            for outcome in outcomes
            for name in outcome.names(*BAD)
            if name in self.failing or not prune
        }
        lines = [
            f"{name} # {FATAL}" if status == FATAL else name
            for name, status in sorted((kept | found).items())
        ]
        self.path.write_text("".join(f"{line}\n" for line in lines))


def environment() -> dict[str, str]:
    """The environment without what would configure Python or gevent."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "GEVENT"))}


def run_process(
    python: str, outcome: Outcome, skip: set[str], only: set[str] | None, folder: Path
) -> bool:
    """Run tests of a module in one process and add to the outcome; whether all had their turn."""
    report, choice = folder / "report", folder / "choice"
    report.write_text("")
    choice.write_text(json.dumps({"skip": sorted(skip), "only": only and sorted(only)}))
    work = folder / "work"
    work.mkdir(exist_ok=True)
    # A file, as a child that a test leaves behind would hold a pipe open.
    with open(folder / "output", "w+b") as output:
        process = subprocess.Popen(
            [python, str(HERE / "patched.py"), outcome.module, str(report), str(choice)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=work,
            env=environment(),
            start_new_session=True,
        )
        try:
            process.wait(TIME_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        finally:
            # Children that a test has left behind.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        output.seek(0)
        outcome.output += output.read().decode("utf-8", "replace")
    running = None
    for line in map(json.loads, report.read_text().splitlines()):
        if "over" in line:
            return True
        running = line.get("begins")
        if "ends" in line:
            outcome.status[line["ends"]] = line["status"]
    # Where no test ran, it ended while a class or the module was set up.
    outcome.status[running or f"{outcome.module} (test.{outcome.module})"] = FATAL
    return running is None


def run_module(python: str, module: str, skip: set[str], only: set[str] | None = None) -> Outcome:
    """Run a module's tests, going on after a test that ended the process."""
    outcome = Outcome(module)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        while not run_process(python, outcome, skip | set(outcome.status), only, Path(folder)):
            pass
    outcome.seconds = time.monotonic() - began
    return outcome


def try_again(python: str, outcome: Outcome, known: Known) -> None:
    """Give the tests that should not have failed another chance, nothing else running."""
    for _ in range(RETRIES):
        if not (failing := set(outcome.names(*BAD)) - known.failing - OTHERWISE.keys()):
            return
        again = run_module(python, outcome.module, known.fatal, failing)
        outcome.status |= again.status
        outcome.output = again.output


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="interpreter to test")
    parser.add_argument("--jobs", "-j", type=int, default=2, help="modules run at a time")
    parser.add_argument("--write", action="store_true", help="list the tests that fail")
    parser.add_argument("--prune", action="store_true", help="strike off those that pass")
    parser.add_argument("--verbose", action="store_true", help="one line for every module")
    parser.add_argument("modules", nargs="*", help="test modules (default: all in MODULES)")
    return parser.parse_args()


def available(python: str, module: str) -> bool:
    own = (HERE / f"{module}.py").exists()
    command = [python, "-c", AVAILABLE, "test._test_multiprocessing" if own else f"test.{module}"]
    return subprocess.run(command, check=False, env=environment()).returncode == 0


def main() -> int:
    options = arguments()
    python = options.python
    known = Known(python)
    modules = [name for name in options.modules or MODULES if available(python, name)]
    if not modules:
        sys.exit("stdlib: CPython's own tests are not installed (Debian: libpython3-testsuite)")
    if not (options.write or known.path.exists()):
        print(f"stdlib: left out, as there is no {known.path.name} yet: see --help")
        return 0
    skip = set() if options.write or options.prune else known.fatal

    outcomes = []
    with ThreadPoolExecutor(options.jobs) as workers:
        for outcome in workers.map(lambda name: run_module(python, name, skip), modules):
            outcomes.append(outcome)
            if options.verbose:
                counts = ", ".join(
                    f"{len(outcome.names(status))} {status}"
                    for status in ("passed", "skipped", *BAD)
                )
                print(f"{outcome.module}: {counts} [{outcome.seconds:.1f} s]", flush=True)

    if options.write or options.prune:
        known.write(outcomes, prune=options.prune)
    failed = 0
    for outcome in outcomes:
        if not options.write:
            try_again(python, outcome, known)
        expected = known.failing | OTHERWISE.keys()
        unexpected = [] if options.write else sorted(set(outcome.names(*BAD)) - expected)
        failed += len(unexpected)
        if unexpected:
            print(outcome.output)
            print("\n".join(f"FAILED {outcome.module}: {name}" for name in unexpected))
    counts = Counter(status for outcome in outcomes for status in outcome.status.values())
    print(
        f"stdlib: {counts['passed']} passed, {failed} failed, {counts['skipped']} skipped in "
        f"{len(modules)} modules of CPython's suite; "
        f"{sum(counts[status] for status in BAD) - failed} fail under gevent too or on purpose"
    )
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
