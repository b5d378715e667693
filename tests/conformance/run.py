#!/usr/bin/env python3
"""Run gevent's own test suite against the `gevent` that an interpreter imports.

Each module has a floor in floors.json, the number of tests that pass; a module under its floor
fails the run. floors-X.Y.json has those that are others under CPython X.Y, where gevent itself
passes other tests. `--update` raises the floors to what passed, and takes in the modules named on
the command line; nothing lowers a floor. The tests in otherwise.json, which demand what we do
otherwise on purpose, for the reason given there, count as if they passed.
"""

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from suite import HERE, Outcome, fetch, run_module

FLOORS = HERE / "floors.json"
OTHERWISE = HERE / "otherwise.json"
CACHE = HERE.parents[1] / "build" / "conformance"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="interpreter to test")
    parser.add_argument("--jobs", type=int, default=2, help="modules run at a time")
    parser.add_argument("--timeout", type=float, default=150, help="seconds one module may take")
    parser.add_argument("--all", action="store_true", help="every module, also those without floor")
    parser.add_argument("--update", action="store_true", help="raise the floors to what passed")
    parser.add_argument("--verbose", action="store_true", help="one line for every module")
    parser.add_argument("modules", nargs="*", help="test modules (default: all that have a floor)")
    return parser.parse_args()


def floors_of(python: str) -> Path:
    """The file with the floors that are others under the version of an interpreter."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    version = subprocess.check_output([python, "-c", code], text=True).strip()
    return FLOORS.with_name(f"floors-{version}.json")


def describe(outcome: Outcome, floor: int) -> str:
    """One line about a module: its counts, and which of its tests did not pass."""
    line = f"{outcome.module}: {outcome.passed} passed, floor {floor}"
    if outcome.failed:
        line += f", {outcome.failed} failed, exit {outcome.exit}"
    if outcome.broken:
        line += f": {', '.join(outcome.broken)}"
    return f"{line} [{outcome.seconds:.1f} s]"


def better(first: Outcome, second: Outcome) -> Outcome:
    return max(first, second, key=lambda outcome: outcome.passed)


def raised(floors: dict[str, int], outcomes: list[Outcome]) -> dict[str, int]:
    """The floors after a run: what passed where that is more, what they were elsewhere."""
    passed = {outcome.module: outcome.passed for outcome in outcomes}
    highest = {
        module: max(floors.get(module, 0), passed.get(module, 0)) for module in floors | passed
    }
    return dict(sorted(highest.items()))


def main() -> int:
    options = arguments()
    file = floors_of(options.python)
    floors: dict[str, int] = json.loads(FLOORS.read_text())
    own: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
    floors |= own
    otherwise: dict[str, dict[str, str]] = json.loads(OTHERWISE.read_text())
    CACHE.mkdir(parents=True, exist_ok=True)
    suite = fetch(CACHE)
    everything = {path.stem for path in (suite / "gevent" / "tests").glob("test_*.py")}
    modules = sorted(options.modules or (everything if options.all else floors))
    if unknown := set(modules) - everything:
        sys.exit(f"gevent has no such test modules: {', '.join(sorted(unknown))}")

    def run(module: str) -> Outcome:
        return run_module(options.python, suite, module, options.timeout)

    def falls_short(outcome: Outcome) -> bool:
        intended = set(outcome.broken) & otherwise.get(outcome.module, {}).keys()
        return outcome.passed + len(intended) < floors.get(outcome.module, 0)

    outcomes: list[Outcome] = []
    with ThreadPoolExecutor(options.jobs) as workers:
        for outcome in workers.map(run, modules):
            outcomes.append(outcome)
            if options.verbose:
                print(describe(outcome, floors.get(outcome.module, 0)), flush=True)

    # Alone on the machine, a module that only missed a deadline gets its second chance.
    outcomes = [better(o, run(o.module)) if falls_short(o) else o for o in outcomes]
    short = [outcome for outcome in outcomes if falls_short(outcome)]
    for outcome in short:
        print(describe(outcome, floors[outcome.module]))
    if options.update:
        if own:
            chosen = [o for o in outcomes if o.module in own or o.module in options.modules]
            file.write_text(json.dumps(raised(own, chosen), indent=1) + "\n")
        else:
            FLOORS.write_text(json.dumps(raised(floors, outcomes), indent=1) + "\n")
    print(
        f"conformance: {sum(o.passed for o in outcomes)} passed, "
        f"{sum(o.failed for o in outcomes)} failed in {len(outcomes)} modules of gevent's suite; "
        f"{len(short)} under their floor"
    )
    return bool(short)


if __name__ == "__main__":
    sys.exit(main())
