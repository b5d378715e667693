"""Compare this package's servers with gevent's, uvloop's and a bare one in Rust, and print a table.

Each server runs on one processor and the load generator on another; the sides take turns, each
measurement in processes of its own; a figure is the median over a side's measurements. README.md,
beside this file, says more.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import environment
from network_catalogue import SCENARIOS, Scenario
from report import publish, table

HERE = Path(__file__).parent
ROOT = HERE.parent
#: No measurement takes this many seconds unless it hangs.
TIME_LIMIT = 60
#: Sides in the order in which they are measured and shown.
SIDES = ("gevent", "ours", "uvloop", "ceiling")
HEADER = ("scenario", "unit", *SIDES, "ours : gevent", "ours : uvloop", "ours : ceiling")


def _built(name: str) -> str:
    command = ["cargo", "build", "--release", "--quiet", "--package", name]
    subprocess.run(command, cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", "target"))
    return str(ROOT / target / "release" / name)


@dataclass(frozen=True)
class Sample:
    """What one measurement found."""

    #: Requests, connections or bytes per second, or bytes per connection.
    value: float
    #: Seconds of processor time that the server took for one request, where there are requests.
    cost: float | None = None


@dataclass(frozen=True)
class Row:
    """What was measured of one scenario."""

    scenario: Scenario
    samples: dict[str, list[Sample]]

    def median(self, side: str) -> float | None:
        """Return a side's figure, where it was measured."""
        found = self.samples.get(side)
        return statistics.median(sample.value for sample in found) if found else None

    def ratio(self, side: str) -> float | None:
        """Return this package's figure divided by that of another side."""
        ours, other = self.median("ours"), self.median(side)
        return ours / other if ours and other else None

    def clears(self, side: str) -> bool:
        """Return whether the bar against a side, if there is one, was reached."""
        bar, ratio = self.scenario.bars.get(side), self.ratio(side)
        if bar is None:
            return True
        return ratio is not None and (ratio <= bar if self.scenario.memory else ratio >= bar)

    def cells(self) -> tuple[str, ...]:
        """Return the row's text, column by column."""
        ratios = (self._ratio(side) for side in ("gevent", "uvloop", "ceiling"))
        return (
            self.scenario.title,
            self._unit(),
            *(self._figure(side) for side in SIDES),
            *ratios,
        )

    def _unit(self) -> str:
        if self.scenario.memory:
            return "B"
        if self.scenario.load == "drain":
            return "MB/s"
        return "1/s of processor" if self.scenario.by_cost else "1/s"

    def _figure(self, side: str) -> str:
        value = self.median(side)
        if value is None:
            return "-"
        return f"{value / 1e6 if self.scenario.load == 'drain' else value:,.0f}"

    def _ratio(self, side: str) -> str:
        ratio, bar = self.ratio(side), self.scenario.bars.get(side)
        if ratio is None:
            return "-"
        if bar is None:
            return f"{ratio:.2f}"
        sign = "≤" if self.scenario.memory else "≥"
        missed = "" if self.clears(side) else ", missed"
        return f"{ratio:.2f} ({sign} {bar:g}{missed})"


class Runner:
    """Start servers and load, and remember what they measured and which did not succeed."""

    def __init__(self, peer: str, ours: str) -> None:
        self.implementations: dict[str, str] = {}
        self.failures: list[str] = []
        self._pythons = {"gevent": peer, "ours": ours, "uvloop": peer}
        self._load_generator, self._raw_server = _built("load-generator"), _built("raw-server")
        self._processors = environment.two_processors()

    def compare(self, scenario: Scenario, rounds: int) -> Row:
        """Measure a scenario on all its sides, in turn."""
        samples: dict[str, list[Sample]] = {}
        failed = set()
        rounds = min(rounds, 2) if scenario.memory else rounds
        sides = [side for side in SIDES if side in ("gevent", "ours", *scenario.beside)]
        for number in range(rounds):
            # Who comes first changes, so that a machine that slows down is fair to all.
            for side in sides if number % 2 == 0 else reversed(sides):
                # A side that failed once is not asked again: it may fail by hanging.
                if side in failed:
                    continue
                try:
                    samples.setdefault(side, []).append(self._measure(side, scenario))
                except (subprocess.SubprocessError, OSError, ValueError) as error:
                    failed.add(side)
                    self.failures.append(f"{side}, {scenario.name}: {error}")
        return Row(scenario, {side: got for side, got in samples.items() if side not in failed})

    def _measure(self, side: str, scenario: Scenario) -> Sample:
        with self._serving(side, scenario) as (pid, port):
            command = [self._load_generator, scenario.load, f"127.0.0.1:{port}"]
            command += ["--connections", str(scenario.connections), "--bytes", str(scenario.bytes)]
            if scenario.memory:
                return self._hold(command, pid, scenario.connections)
            command += ["--seconds", str(scenario.seconds)]
            before = _processor_seconds(pid)
            done = subprocess.run(
                command,
                capture_output=True,
                timeout=TIME_LIMIT,
                check=True,
                preexec_fn=self._pin(1),
            )
            cost = _processor_seconds(pid) - before
        found = json.loads(done.stdout)
        if "all" not in found:
            return Sample(found["per_second"])
        per_request = cost / found["all"]
        return Sample(1 / per_request if scenario.by_cost else found["per_second"], per_request)

    def _hold(self, command: list[str], pid: int, connections: int) -> Sample:
        # The first connections bring in what exists once for all of them.
        few = [*command]
        few[few.index("--connections") + 1] = "10"
        with self._holding(few):
            pass
        before = _resident_bytes(pid)
        with self._holding(command):
            return Sample((_resident_bytes(pid) - before) / connections)

    @contextlib.contextmanager
    def _holding(self, command: list[str]) -> Iterator[None]:
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=self._pin(1),
        ) as load:
            if not load.stdout.readline():
                raise ValueError("the connections were not made")
            yield
            load.stdin.close()

    @contextlib.contextmanager
    def _serving(self, side: str, scenario: Scenario) -> Iterator[tuple[int, int]]:
        if side == "ceiling":
            command = [self._raw_server, scenario.server]
        else:
            engine = "uvloop" if side == "uvloop" else "gevent"
            script = str(HERE / "network_server.py")
            command = [self._pythons[side], script, engine, scenario.server]
        server = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            # A client that resets its connection is reported there, at length.
            stderr=subprocess.DEVNULL,
            env=environment.clean_environment(),
            preexec_fn=self._pin(0),
        )
        try:
            announced = json.loads(server.stdout.readline())
            if side != "ceiling":
                self.implementations[side] = announced["implementation"]
            yield server.pid, announced if side == "ceiling" else announced["port"]
        finally:
            server.kill()
            server.wait()
            server.stdout.close()

    def _pin(self, which: int):
        processor = self._processors[which]
        return lambda: os.sched_setaffinity(0, {processor})


def _processor_seconds(pid: int) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def _resident_bytes(pid: int) -> int:
    resident = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(resident) * os.sysconf("SC_PAGE_SIZE")


def _costs(rows: list[Row]) -> list[str]:
    lines = []
    for row in rows:
        costs = {
            side: statistics.median(sample.cost for sample in found) * 1e6
            for side, found in row.samples.items()
            if all(sample.cost is not None for sample in found)
        }
        if costs:
            figures = ", ".join(f"{side} {costs[side]:.2f}" for side in SIDES if side in costs)
            lines.append(f"- {row.scenario.title}: {figures}")
    return lines


def render(rows: list[Row], facts: list[str], failures: list[str]) -> str:
    """Return the facts, the table and what failed, as Markdown."""
    lines = [*(f"- {fact}" for fact in facts), ""]
    lines += table(HEADER, [row.cells() for row in rows], left=2)
    lines += ["", "Ratios above 1 mean that this package does more, for memory that it takes more."]
    lines += ["", "Processor time of the server, in microseconds per request:", "", *_costs(rows)]
    if failures:
        lines += ["", "Not measured:", "", *(f"- {failure}" for failure in failures)]
    return "\n".join(lines) + "\n"


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--quick", action="store_true", help="shorter and less exact")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=names, help=", ".join(names))
    parser.add_argument("--rounds", type=int, help="measurements per side (5; 2 with --quick)")
    parser.add_argument("--peer-python", help="an interpreter that has gevent and uvloop")
    parser.add_argument("--our-python", default=sys.executable, help="one that has this package")
    parser.add_argument("--check", action="store_true", help="fail where a bar is missed")
    parser.add_argument("--results", type=Path, help="file to write; a whole run: RESULTS.md")
    chosen = parser.parse_args()
    if chosen.rounds is None:
        chosen.rounds = 2 if chosen.quick else 5
    if chosen.rounds < 1:
        parser.error("--rounds takes a number from 1")
    return chosen


def main() -> int:
    """Measure, print, write; return the exit status."""
    chosen = arguments()
    ours = chosen.our_python
    peer = chosen.peer_python or environment.peer_python(ours, ROOT / ".venv-peer")
    scenarios = [s for s in SCENARIOS if chosen.only is None or s.name in chosen.only]
    if chosen.quick:
        scenarios = [scenario.quick() for scenario in scenarios]

    runner = Runner(peer, ours)
    rows = []
    for number, scenario in enumerate(scenarios, 1):
        print(f"[{number}/{len(scenarios)}] {scenario.title}", file=sys.stderr, flush=True)
        rows.append(runner.compare(scenario, chosen.rounds))

    facts = [
        *environment.machine(),
        *(f"{side}: {name}" for side, name in runner.implementations.items()),
        "ceiling: a bare epoll server in Rust, over raw sockets",
        f"Date: {date.today().isoformat()}; {chosen.rounds} measurements per side, in turn",
    ]
    text = render(rows, facts, runner.failures)
    is_ours = runner.implementations.get("ours", "").startswith("gevent-rs")
    publish("Network", text, chosen.results, is_ours and not (chosen.only or chosen.quick))
    missed = [row for row in rows if not all(map(row.clears, row.scenario.bars))]
    return 1 if chosen.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
