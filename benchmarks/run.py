"""Compare this package with gevent, operation by operation, and print a table.

The two take turns, each measurement in a process of its own, all on one processor; a figure is
the median over the processes of a side, and the ratio is one of medians. README.md, beside this
file, says more.
"""

import argparse
import json
import statistics
import subprocess
import sys
from datetime import date
from pathlib import Path

import asyncio_operations
import environment
from catalogue import OPERATIONS, Operation
from report import RESULTS, Row, publish, render

HERE = Path(__file__).parent
#: No operation takes this many seconds unless it hangs.
TIME_LIMIT = 120


class Runner:
    """Run workers, and remember what they measured and which did not succeed.

    `engine` is the argument of worker.py that the two compared sides get.
    """

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self.implementations: dict[str, str] = {}
        self.failures: list[str] = []

    def measure(self, side: str, python: str, engine: str, operation: Operation) -> float | None:
        """Return what one worker process measured, or None where it failed."""
        command = [python, str(HERE / "worker.py"), engine, operation.name]
        command.append(str(operation.iterations))
        if not operation.memory:
            command.append(str(operation.rounds))
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=TIME_LIMIT,
                check=True,
                env=environment.clean_environment(),
            )
        except subprocess.TimeoutExpired:
            return self._failed(side, operation, f"no result within {TIME_LIMIT} s")
        except subprocess.CalledProcessError as error:
            reason = error.stderr.strip().rpartition("\n")[2] or f"status {error.returncode}"
            return self._failed(side, operation, reason)
        result = json.loads(done.stdout)
        self.implementations[side] = result["implementation"]
        return result["value"]

    def _failed(self, side: str, operation: Operation, reason: str) -> None:
        self.failures.append(f"{side}, {operation.name}: {reason}")

    def compare(self, operation: Operation, peer: str, ours: str, pairs: int) -> Row:
        """Measure an operation on all sides, the two compared ones in turn."""
        if operation.memory:
            pairs = min(pairs, 2)  # hardly varies, and takes seconds
        sides = (("gevent", peer), ("ours", ours))
        found: dict[str, list[float | None]] = {"gevent": [], "ours": []}
        for _ in range(pairs):
            for side, python in sides:
                # A side that failed once is not asked again: it may fail by hanging.
                if None not in found[side]:
                    found[side].append(self.measure(side, python, self.engine, operation))
        if hasattr(asyncio_operations, operation.name):
            for engine in ("asyncio", "uvloop"):
                times = 1 if operation.memory else min(pairs, 2)
                found[engine] = [
                    self.measure(engine, peer, engine, operation) for _ in range(times)
                ]
        medians = {
            side: statistics.median(values) for side, values in found.items() if None not in values
        }
        return Row(operation, medians)


def arguments(title: str, operations: tuple[Operation, ...]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=title)
    names = [operation.name for operation in operations]
    parser.add_argument("--quick", action="store_true", help="shorter and less exact")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=names, help=", ".join(names))
    parser.add_argument("--pairs", type=int, help="processes per side (default 5; 2 with --quick)")
    parser.add_argument("--peer-python", help="an interpreter that has gevent and uvloop")
    parser.add_argument("--our-python", default=sys.executable, help="one that has this package")
    parser.add_argument("--check", action="store_true", help="fail where a bar is missed")
    parser.add_argument(
        "--results",
        type=Path,
        help=f"file to write; a whole run of this package writes {RESULTS.name} beside this script",
    )
    chosen = parser.parse_args()
    if chosen.pairs is None:
        chosen.pairs = 2 if chosen.quick else 5
    if chosen.pairs < 1:
        parser.error("--pairs takes a number from 1")
    return chosen


def main(engine: str, title: str, operations: tuple[Operation, ...], section: str) -> int:
    """Measure, print, write; return the exit status."""
    chosen = arguments(title, operations)
    ours = chosen.our_python
    peer = chosen.peer_python or environment.peer_python(ours, HERE.parent / ".venv-peer")
    asked = [o for o in operations if chosen.only is None or o.name in chosen.only]
    if chosen.quick:
        asked = [operation.quick() for operation in asked]

    environment.pin_to_one_cpu()
    runner = Runner(engine)
    rows = []
    for number, operation in enumerate(asked, 1):
        print(f"[{number}/{len(asked)}] {operation.title}", file=sys.stderr, flush=True)
        rows.append(runner.compare(operation, peer, ours, chosen.pairs))

    facts = [
        *environment.machine(),
        *(f"{side}: {name}" for side, name in runner.implementations.items()),
        f"Date: {date.today().isoformat()}; {chosen.pairs} processes per side, in turn",
    ]
    text = render(rows, facts, runner.failures)
    is_ours = runner.implementations.get("ours", "").startswith("gevent-rs")
    publish(section, text, chosen.results, is_ours and not (chosen.only or chosen.quick))
    return 1 if chosen.check and not all(row.cleared for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main("gevent", __doc__.partition("\n")[0], OPERATIONS, "Operations"))
