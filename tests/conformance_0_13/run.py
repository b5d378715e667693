#!/usr/bin/env python3
"""Run gevent 0.13.1's own tests, carried to Python 3, against this package.

They run with GEVENT_COMPAT=1. Each module has a floor in floors.json, the number of tests that
pass; a module under its floor fails the run, and so does a test that fails without a reason in
reasons.toml, which also says why some modules do not run at all. `--update` raises the floors to
what passed. The examples are run as a module of that name.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "conformance"))

from carry import fetch  # noqa: E402
from examples import run_examples  # noqa: E402

from suite import Outcome, count, environment_with, run_to_end  # noqa: E402

FLOORS, REASONS = HERE / "floors.json", HERE / "reasons.toml"
CACHE = HERE.parents[1] / "build" / "conformance-0.13"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="interpreter to test")
    parser.add_argument("--jobs", type=int, default=2, help="modules run at a time")
    parser.add_argument("--timeout", type=float, default=100, help="seconds one module may take")
    parser.add_argument("--all", action="store_true", help="every module, also those without floor")
    parser.add_argument("--update", action="store_true", help="raise the floors to what passed")
    parser.add_argument("--verbose", action="store_true", help="one line for every module")
    parser.add_argument("--output", action="store_true", help="show what the modules print")
    parser.add_argument("modules", nargs="*", help="test modules (default: all that have a floor)")
    return parser.parse_args()


def environment(suite: Path) -> dict[str, str]:
    """The environment in which a module finds the suite."""
    return environment_with(
        SUITE_0_13=str(suite),
        PYTHONPATH=str(HERE / "overlay"),
        PYTHONWARNINGS="ignore",
        GEVENT_COMPAT="1",
        # The tests send requests without Host, which today's rules refuse.
        GEVENT_HTTP_STRICT="no",
    )


def run_module(options: argparse.Namespace, suite: Path, module: str) -> Outcome:
    """Run a module in a process of its own and count; when its time is over it is killed."""
    if module == "examples":
        return run_examples(options.python, suite, environment(suite))
    command, folder = [options.python, f"{module}.py"], suite / "greentest"
    text, *ended = run_to_end(command, folder, environment(suite), options.timeout)
    if options.output:
        print(text)
    return count(module, text, *ended)


def describe(outcome: Outcome, floor: int) -> str:
    """One line about a module: its counts, and which of its tests did not pass."""
    line = f"{outcome.module}: {outcome.passed} passed, floor {floor}"
    if outcome.failed:
        line += f", {outcome.failed} failed, exit {outcome.exit}: {', '.join(outcome.broken)}"
    return f"{line} [{outcome.seconds:.1f} s]"


def main() -> int:
    options = arguments()
    floors: dict[str, int] = json.loads(FLOORS.read_text()) if FLOORS.exists() else {}
    CACHE.mkdir(parents=True, exist_ok=True)
    suite = fetch(CACHE)
    everything = {path.stem for path in (suite / "greentest").glob("test_*.py")} | {"examples"}
    reasons = tomllib.loads(REASONS.read_text())
    unfit = set(reasons["modules"])
    modules = sorted(options.modules or (everything - unfit if options.all else floors))
    if unknown := set(modules) - everything:
        sys.exit(f"gevent 0.13.1 has no such test modules: {', '.join(sorted(unknown))}")

    def run(module: str) -> Outcome:
        return run_module(options, suite, module)

    def unexplained(outcome: Outcome) -> set[str]:
        return set(outcome.broken) - set(reasons["tests"].get(outcome.module, {}))

    def falls_short(outcome: Outcome) -> bool:
        return outcome.passed < floors.get(outcome.module, 0) or bool(unexplained(outcome))

    with ThreadPoolExecutor(options.jobs) as workers:
        outcomes = list(workers.map(run, modules))
    # Alone on the machine, a module that only missed a deadline gets its second chance.
    outcomes = [
        max(outcome, run(outcome.module), key=lambda each: each.passed)
        if falls_short(outcome)
        else outcome
        for outcome in outcomes
    ]
    for outcome in outcomes:
        if options.verbose or falls_short(outcome):
            print(describe(outcome, floors.get(outcome.module, 0)))
        for name in sorted(unexplained(outcome)):
            print(f"    reasons.toml does not say why {name} fails")
    if options.update:
        for outcome in outcomes:
            floors[outcome.module] = max(floors.get(outcome.module, 0), outcome.passed)
        FLOORS.write_text(json.dumps(dict(sorted(floors.items())), indent=1) + "\n")
    short = sum(map(falls_short, outcomes))
    print(
        f"conformance-0.13: {sum(o.passed for o in outcomes)} passed, "
        f"{sum(o.failed for o in outcomes)} failed in {len(outcomes)} modules of gevent 0.13.1's "
        f"suite; {short} under their floor or without a reason"
    )
    return bool(short)


if __name__ == "__main__":
    sys.exit(main())
