"""Measure what a view costs a loaded server, in instructions and in processor time.

Instructions are counted by valgrind's callgrind, exactly and repeatably, in all threads of the
server: those of a request while nobody watches and while the view is open, and those of what an
open page asks for in ten seconds. At the rate that the server reaches without valgrind they are the
page's share. Waiting for the interpreter's lock is not in them. What the view's threads do by the
clock is in those of a request with the view open, and many times as much of it as without valgrind,
which makes requests slow: that figure is an upper bound.

So processor time is measured, too.

One server, `gevent.pywsgi` with the small application of `web_application.py`, is under load the
whole time. In turns nobody watches it (its view is closed), its view is open, and its page is open:
a client asks for what the page asks for, as often as the page does. What is compared is the
processor time of the server's process for a request; the turns alternate, so that a busy moment
meets all of them. Beside it stands how much of a processor the view's own threads took, which is
steadier where the machine does other things. `--greenlets` parks that many greenlets beside it,
which the page lists.

The sampler that finds blocking places is measured likewise, in a process that computes and waits.
"""

import argparse
import json
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import environment
import web

HERE = Path(__file__).parent

#: The server: it opens and closes its view as the lines of its standard input say.
SERVER = """
import sys
sys.path.insert(0, {here!r})
import gevent
from gevent import inspect
from gevent.pywsgi import WSGIServer
from web_application import application

server = WSGIServer(("127.0.0.1", {port}), application, backlog=4096, log=None)
server.start()
parked = [gevent.spawn(gevent.sleep, 100_000) for _ in range({greenlets})]

def obey():
    view = None
    for line in sys.stdin:
        if line == "open\\n":
            view = inspect.open_view({address!r})
        elif view is not None:
            view.close()
        print("done", flush=True)

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


#: The server under callgrind: it ends when it is asked to.
COUNTED = """
import os, sys
sys.path.insert(0, {here!r})
import gevent
from gevent import inspect
from gevent.pywsgi import WSGIServer
from web_application import application

def until_told(environ, start_response):
    if environ["PATH_INFO"] == "/end":
        # Not through the interpreter's end, whose instructions are no part of serving.
        os._exit(0)
    return application(environ, start_response)

server = WSGIServer(("127.0.0.1", {port}), until_told, backlog=4096, log=None)
server.start()
parked = [gevent.spawn(gevent.sleep, 100_000) for _ in range({greenlets})]
view = inspect.open_view({address!r}) if {is_open} else None
gevent.sleep(100_000)
"""

#: The page asks for these in ten seconds: the statistics each two, and the greenlets once.
PAGE = ("/stats.json?waits=1", "/greenlets.json?stacks=0&most=500", *["/stats.json"] * 4)
#: The connections by which requests are counted.
CONNECTIONS = 16
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Page(threading.Thread):
    """Asks what the page asks for, as often as it does, until it is told to stop."""

    def __init__(self, path: str) -> None:
        super().__init__(daemon=True)
        self.path = path
        self.over = threading.Event()
        self.asked = 0

    def run(self) -> None:
        while not self.over.is_set():
            cost = self.ask("/stats.json?waits=1" if self.asked % 5 == 0 else "/stats.json")
            if self.asked % 5 == 0:
                cost += self.ask("/greenlets.json?stacks=0&most=500")
            self.asked += 1
            self.over.wait(max(2.0, 400 * cost))

    def ask(self, target: str) -> float:
        """Ask for one thing; return the seconds that it cost the server by its own word."""
        return ask(self.path, target)


def ask(path: str, target: str) -> float:
    """Ask a view for one thing; return the seconds that it cost the server by its own word."""
    answer = bytearray()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        while data := connection.recv(65536):
            answer += data
    return json.loads(answer.partition(b"\r\n\r\n")[2])["cost"]


def instructions(chosen: argparse.Namespace, is_open: bool, rounds: int, pages: int) -> int:
    """Return how many instructions a server executes from its start through *rounds* of requests.

    It answers what a page asks for in ten seconds *pages* times.
    """
    with tempfile.TemporaryDirectory() as folder:
        path, port = f"{folder}/view", web.free_port()
        source = COUNTED.format(
            here=str(HERE),
            port=port,
            greenlets=chosen.greenlets,
            is_open=is_open,
            address=f"unix:{path}",
        )
        tool = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out"]
        server = subprocess.Popen(
            [*tool, chosen.our_python, "-c", source],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment.clean_environment(),
        )
        try:
            clients = [connected(port, server) for _ in range(CONNECTIONS)]
            for _ in range(rounds):
                for client in clients:
                    client.sendall(REQUEST)
                for client in clients:
                    receive_answer(client)
            for _ in range(pages):
                for target in PAGE:
                    ask(path, target)
            clients[0].sendall(REQUEST.replace(b"/ ", b"/end ", 1))
            text = server.communicate(timeout=60)[1]
            for client in clients:
                client.close()
        finally:
            server.kill()
            server.wait()
    return int(re.search(r"Collected : (\d+)", text)[1])


def connected(port: int, server: subprocess.Popen) -> socket.socket:
    """Return a connection to the server once it listens."""
    end = time.monotonic() + 60
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=60)
        except ConnectionRefusedError:
            if server.poll() is not None or time.monotonic() > end:
                sys.exit("the server under valgrind does not begin")
            time.sleep(0.1)


def receive_answer(client: socket.socket) -> None:
    """Receive one answer with the body of `web_application`'s greeting."""
    answer = b""
    while not answer.endswith(b"\r\n\r\nhello world"):
        data = client.recv(65536)
        if not data:
            sys.exit("the server under valgrind closed a connection")
        answer += data


def count_instructions(chosen: argparse.Namespace, cpus: tuple[int, int]) -> list[str]:
    """Return lines about the instructions of requests and of a page's questions."""
    few, many, pages = 10, 60, 4
    requests = (many - few) * CONNECTIONS
    costs = {}
    for state, is_open in (("nobody", False), ("view", True)):
        first, last = (instructions(chosen, is_open, rounds, 0) for rounds in (few, many))
        costs[state] = (last - first) / requests
    first, last = (instructions(chosen, True, few, number) for number in (1, 1 + pages))
    page = (last - first) / pages
    more = costs["view"] / costs["nobody"] - 1
    lines = [
        f"instructions of a request: {costs['nobody']:,.0f} while nobody watches, "
        f"{costs['view']:,.0f} with the view open ({100 * more:+.2f} %, an upper bound)",
        f"instructions of a page in ten seconds: {page:,.0f}",
    ]
    with web.running("ours", chosen.our_python, chosen.our_python, cpus[0]) as (pid, port):
        rate = 1 / web.load(web.SCENARIOS["hello"], pid, port, cpus[1], chosen.seconds).cpu
    share = page / 10 / (rate * costs["nobody"])
    lines[-1] += (
        f", {100 * share:.2f} % of those of a server that answers {rate:,.0f} requests "
        "in a second of its processor"
    )
    return lines


def measure_view(chosen: argparse.Namespace, cpus: tuple[int, int]) -> list[str]:
    """Return lines about the cost of the view and the page."""
    found: dict[str, list[float]] = {"nobody": [], "view": [], "page": []}
    shares: dict[str, list[float]] = {state: [] for state in found}
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/view"
        port = web.free_port()
        source = SERVER.format(
            here=str(HERE), port=port, greenlets=chosen.greenlets, address=f"unix:{path}"
        )

        def start(_port: int) -> list[str]:
            return [chosen.our_python, "-c", source]

        with web.started(start, cpus[0], port, talks=True) as (process, _):
            scenario = web.SCENARIOS["hello"]
            web.load(scenario, process.pid, port, cpus[1], 1)
            for turn in range(chosen.turns):
                order = list(found) if turn % 2 == 0 else list(reversed(found))
                for state in order:
                    tell(process, "close" if state == "nobody" else "open")
                    page = Page(path) if state == "page" else None
                    if page is not None:
                        page.start()
                    before, since = other_threads(process.pid), time.monotonic()
                    load = web.load(scenario, process.pid, port, cpus[1], chosen.seconds)
                    seconds = other_threads(process.pid) - before
                    shares[state].append(seconds / (time.monotonic() - since))
                    if page is not None:
                        page.over.set()
                        page.join()
                    found[state].append(load.cpu)
    lines = []
    for state, costs in found.items():
        median = statistics.median(costs)
        times = statistics.median(
            cost / nobody for cost, nobody in zip(costs, found["nobody"], strict=True)
        )
        share = statistics.median(shares[state])
        lines.append(
            f"{state:>7}: {median * 1e6:.2f} µs a request, {times:.4f} times; "
            f"the view's threads take {100 * share:.2f} % of a processor"
        )
    return lines


def other_threads(pid: int) -> float:
    """Return for how many seconds the threads of a process ran, but for the main one."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    others = (task for task in tasks if task.name != str(pid))
    return sum(int((task / "schedstat").read_text().split()[0]) for task in others) * 1e-9


def tell(process: subprocess.Popen, word: str) -> None:
    """Have the server open or close its view."""
    process.stdin.write(f"{word}\n".encode())
    process.stdin.flush()
    process.stdout.readline()


def measure_sampler(chosen: argparse.Namespace, cpus: tuple[int, int]) -> list[str]:
    """Return lines about the cost of the sampler."""
    command = [chosen.our_python, "-c", BUSY, str(chosen.turns), str(chosen.seconds / 2)]
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
    parser.add_argument("--seconds", type=int, default=6, help="how long each measurement takes")
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
