"""Measure what a view costs a loaded server, in instructions and in processor time.

Instructions are those of `view_instructions.py`.

For the processor time one server, `gevent.pywsgi` with the small application of
`web_application.py`, is under load the whole time, and `--greenlets` parked greenlets beside it are
what the page lists. In slices of two seconds nobody watches it (its view is closed), its view is
open, its page is open (a client asks in each slice for what the page asks for in two seconds), and
the page of another process like it is open. That last state is the control: it has everything that
an open page brings to the machine but for the answers of the measured server, so what the page
costs the server is the difference between the two. The slices alternate in both orders. A turn has
five of each state, in which the page asks for everything once; figures are medians over the turns,
of ratios within a turn. The range of the turns beside them says how quiet the machine was.

The server has a processor of its own. The load generator, the client that is the page, and the
other process share another one.

How much of a processor the view's own threads took is steadier where the machine does other things.
The sampler that finds blocking places is measured in a process that computes and waits.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import environment
import web
from view_client import INTERVAL, Page
from view_instructions import count_instructions

HERE = Path(__file__).parent

#: The server: it opens and closes its view as the lines of its standard input say, and answers each
#: with the requests that it served, the main thread's processor time and that of all threads.
SERVER = """
import sys, threading, time
sys.path.insert(0, {here!r})
import gevent
from gevent import _core, inspect
from gevent.pywsgi import WSGIServer
from web_application import application

server = WSGIServer(("127.0.0.1", {port}), application, backlog=4096, log=None)
server.start()
parked = [gevent.spawn(gevent.sleep, 100_000) for _ in range({greenlets})]
main = time.pthread_getcpuclockid(threading.get_ident())

def obey():
    view = None
    for line in sys.stdin:
        if line == "open\\n":
            view = inspect.open_view({address!r})
        elif line == "close\\n" and view is not None:
            view.close()
        served = _core.http_statistics()["requests"]["2xx"]
        print(served, time.clock_gettime(main), time.process_time(), flush=True)

gevent.get_hub().threadpool.spawn(obey)
gevent.sleep(100_000)
"""

#: The program that the sampler watches: half of its time it computes, in pieces of 2 ms.
BUSY = """
import sys, time
import gevent
from gevent import inspect

def work(seconds):
    end, done = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for _ in range(20):
            sum(range(1000))
        done += 1
        gevent.sleep(0)
    return done

gevent.sleep(0)
for turn in range(int(sys.argv[1])):
    for watched in (False, True) if turn % 2 else (True, False):
        sampler = inspect.BlockingSampler().start() if watched else None
        before, main = time.process_time(), time.thread_time()
        done = work(float(sys.argv[2]))
        used = time.process_time() - before
        share = 1 - (time.thread_time() - main) / used
        print(int(watched), used / done, share, flush=True)
        if sampler is not None:
            sampler.stop()
"""


#: The states under comparison; the first is what the others are compared with.
STATES = ("nobody", "view", "page", "elsewhere")
#: The slices of each state in a turn: the page asks for everything once in five times.
SLICES = 5


class Cost(NamedTuple):
    """The seconds of the processor that a server used for some requests.

    They are those of its main thread and of all threads; so many seconds passed meanwhile.
    """

    requests: float
    main: float
    all: float
    passed: float

    @property
    def request(self) -> float:
        """The processor time of a request, in seconds."""
        return self.all / self.requests

    @property
    def others(self) -> float:
        """The share of a processor that the threads beside the main one took."""
        return (self.all - self.main) / self.passed


class Server:
    """A server with a view, on one processor."""

    def __init__(self, process: subprocess.Popen, port: int, path: str) -> None:
        self.process = process
        self.port = port
        self.page = Page(path)

    def tell(self, word: str) -> Cost:
        """Have it open or close its view, or just count; return its counts so far."""
        self.process.stdin.write(f"{word}\n".encode())
        self.process.stdin.flush()
        return Cost(*map(float, self.process.stdout.readline().split()), time.monotonic())


@contextmanager
def serving(chosen: argparse.Namespace, path: str, cpu: int) -> Iterator[Server]:
    """Run a server with a view at *path*."""
    port = web.free_port()
    source = SERVER.format(
        here=str(HERE), port=port, greenlets=chosen.greenlets, address=f"unix:{path}"
    )

    def start(_port: int) -> list[str]:
        return [chosen.our_python, "-c", source]

    with web.started(start, cpu, port, talks=True) as (process, _):
        yield Server(process, port, path)


@contextmanager
def loaded(port: int, cpu: int) -> Iterator[None]:
    """Put a server under load until the end of the block."""
    words = ["wrk", "-t1", "-c64", "-d86400s", f"http://127.0.0.1:{port}/"]
    load = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, preexec_fn=lambda: os.sched_setaffinity(0, {cpu})
    )
    try:
        # The first requests fill caches and pools.
        time.sleep(2)
        yield
        if load.poll() is not None:
            sys.exit("the load generator ended")
    finally:
        load.kill()
        load.wait()


def measure_slice(server: Server, other: Server, state: str) -> Cost:
    """Return what a server used in one slice of *state*."""
    server.tell("open" if state in ("view", "page") else "close")
    # The sampler of a view that is closed ends within a tenth of a second.
    time.sleep(0.2)
    before = server.tell("count")
    page = {"page": server.page, "elsewhere": other.page}.get(state)
    if page is not None:
        page.ask()
    time.sleep(max(0.0, before.passed + INTERVAL - time.monotonic()))
    after = server.tell("count")
    return Cost(*(late - early for early, late in zip(before, after, strict=True)))


def measure_turn(server: Server, other: Server) -> dict[str, Cost]:
    """Return what the server used in each state."""
    found: dict[str, list[Cost]] = {state: [] for state in STATES}
    for number in range(SLICES):
        for state in STATES if number % 2 == 0 else reversed(STATES):
            found[state].append(measure_slice(server, other, state))
    return {
        state: Cost(*(sum(values) for values in zip(*costs, strict=True)))
        for state, costs in found.items()
    }


def measure_view(chosen: argparse.Namespace, cpus: tuple[int, int]) -> list[str]:
    """Return lines about the cost of the view and the page."""
    # This process is the page's client.
    os.sched_setaffinity(0, {cpus[1]})
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(chosen, f"{folder}/view", cpus[0]) as server,
        serving(chosen, f"{folder}/other", cpus[1]) as other,
        loaded(server.port, cpus[1]),
    ):
        other.tell("open")
        turns = [measure_turn(server, other) for _ in range(chosen.turns)]
    lines = []
    for state in STATES:
        microseconds = statistics.median(turn[state].request for turn in turns) * 1e6
        others = statistics.median(turn[state].others for turn in turns)
        lines.append(
            f"{state:>9}: {microseconds:.2f} µs a request, {compared(turns, state, STATES[0])}; "
            f"threads beside the main one take {100 * others:.2f} % of a processor"
        )
    lines.append(f"page beside elsewhere: {compared(turns, 'page', 'elsewhere')}")
    return lines


def compared(turns: list[dict[str, Cost]], state: str, base: str) -> str:
    """Return how many times as much a request costs in *state* as in *base*, with the range."""
    times = [turn[state].request / turn[base].request for turn in turns]
    return f"{statistics.median(times):.4f} times ({min(times):.3f} to {max(times):.3f})"


def measure_sampler(chosen: argparse.Namespace, cpus: tuple[int, int]) -> list[str]:
    """Return lines about the cost of the sampler."""
    command = [chosen.our_python, "-c", BUSY, str(chosen.turns), str(chosen.seconds)]
    done = subprocess.run(
        ["taskset", "-c", str(cpus[0]), *command],
        capture_output=True,
        text=True,
        check=True,
        env=environment.clean_environment(),
    )
    found: dict[str, list[float]] = {"0": [], "1": []}
    shares = []
    for line in done.stdout.splitlines():
        watched, cost, share = line.split()
        found[watched].append(float(cost))
        if watched == "1":
            shares.append(float(share))
    times = statistics.median(
        with_it / without for without, with_it in zip(found["0"], found["1"], strict=True)
    )
    return [
        f"sampler: {times:.4f} times the processor time of the work without; "
        f"its own thread takes {100 * statistics.median(shares):.2f} % of it"
    ]


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=7, help="how often each state is measured")
    parser.add_argument(
        "--seconds", type=float, default=3, help="how long a measurement of the sampler takes"
    )
    parser.add_argument("--greenlets", type=int, default=1000, help="greenlets that wait beside")
    parser.add_argument("--our-python", default=sys.executable, help="one that has this package")
    parser.add_argument("--only", choices=("instructions", "view", "sampler"))
    return parser.parse_args()


def main() -> int:
    """Measure and print; return the exit status."""
    chosen = arguments()
    for program in ("wrk", "valgrind"):
        if shutil.which(program) is None:
            sys.exit(f"{program} is not installed")
    cpus = environment.two_processors()
    began = time.monotonic()
    parts = {"instructions": count_instructions, "view": measure_view, "sampler": measure_sampler}
    for name, measure in parts.items():
        if chosen.only in (None, name):
            print("\n".join(measure(chosen, cpus)), flush=True)
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
