"""Compare the WSGI server with others, and print a table.

Each server runs in a process of its own on one processor, the load (wrk, a Debian package) on
another. The servers take turns; a figure is the median over the turns. Where both processors are
not free, the processor time of a request, printed beside, says more than requests per second.
"""

import argparse
import os
import re
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import environment
from report import publish, table

HERE = Path(__file__).parent
#: A certificate and its key in one file, as for the tests.
CERTIFICATE = str(HERE.parent / "tests" / "data" / "localhost.pem")
IDLE = 10_000

#: wrk's script of a request with a body of 1 MiB in chunks.
UPLOAD = """
local part = "1000\\r\\n" .. string.rep("z", 4096) .. "\\r\\n"
request = function()
  return "POST /upload HTTP/1.1\\r\\nHost: x\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n"
    .. string.rep(part, 256) .. "0\\r\\n\\r\\n"
end
"""


@dataclass(frozen=True)
class Scenario:
    """A kind of load."""

    title: str
    path: str = "/"
    connections: int = 64
    arguments: tuple[str, ...] = ()
    script: str | None = None
    #: True for TLS.
    secure: bool = False
    #: How many times as many requests as each server this one must serve.
    bars: tuple[tuple[str, float], ...] = ()


SCENARIOS = {
    "hello": Scenario(
        "hello, keep-alive",
        bars=(("gevent", 4), ("gunicorn", 5), ("bjoern", 1), ("granian", 1)),
    ),
    "tls": Scenario(
        "hello over TLS, keep-alive",
        secure=True,
        bars=(("gevent", 2), ("gunicorn", 2), ("granian", 0.75)),
    ),
    "close": Scenario(
        "hello, `Connection: close`", arguments=("-H", "Connection: close"), bars=(("gevent", 2),)
    ),
    "big": Scenario("1 MiB response", "/big", 16, bars=(("gevent", 1),)),
    "upload": Scenario(
        "1 MiB upload in chunks", connections=16, script=UPLOAD, bars=(("gevent", 1),)
    ),
    "stream": Scenario("64 parts from a generator", "/stream", 16, bars=(("gevent", 1),)),
}


@dataclass(frozen=True)
class Load:
    """What a server did under a load."""

    rate: float
    slow: float
    cpu: float


def command(server: str, ours: str, peer: str, port: int, secure: bool = False) -> list[str]:
    """Return how to start a server, `secure` with TLS."""
    script = str(HERE / "web_application.py")
    address = f"127.0.0.1:{port}"
    binaries = Path(peer).parent
    certificate = [CERTIFICATE] if secure else []
    return {
        "ours": [ours, script, "pywsgi", str(port), *certificate],
        "gevent": [peer, script, "pywsgi", str(port), *certificate],
        "bjoern": [peer, script, "bjoern", str(port)],
        "gunicorn": [
            *(str(binaries / "gunicorn"), "--no-control-socket", "-k", "gevent", "-b", address),
            *("--keep-alive", "60", "--backlog", "4096"),
            *(("--certfile", CERTIFICATE, "--keyfile", CERTIFICATE) if secure else ()),
            "web_application:application",
        ],
        "granian": [
            *(str(binaries / "granian"), "--interface", "wsgi", "--port", str(port)),
            *("--workers", "1", "--blocking-threads", "1", "--no-ws", "--log-level", "error"),
            *(("--ssl-certificate", CERTIFICATE, "--ssl-keyfile", CERTIFICATE) if secure else ()),
            "web_application:application",
        ],
    }[server]


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextmanager
def running(
    server: str, ours: str, peer: str, cpu: int, secure: bool = False
) -> Iterator[tuple[int, int]]:
    """Run a server, `secure` with TLS; yield its process's number and its port."""

    def words(port: int) -> list[str]:
        return command(server, ours, peer, port, secure)

    with started(words, cpu, secure=secure) as (process, port):
        yield process.pid, port


@contextmanager
def started(
    words: Callable[[int], list[str]],
    cpu: int,
    port: int | None = None,
    talks: bool = False,
    secure: bool = False,
) -> Iterator[tuple[subprocess.Popen, int]]:
    """Run the server whose command `words` returns for a port; yield its process and its port.

    With `talks`, its standard input and output are pipes. One that is `secure` speaks TLS.
    """
    port = free_port() if port is None else port
    process = subprocess.Popen(
        words(port),
        cwd=HERE,
        stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
        stdout=subprocess.PIPE if talks else subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=environment.clean_environment(),
        preexec_fn=lambda: os.sched_setaffinity(0, {cpu}),
    )
    try:
        wait_for(f"http{'s' if secure else ''}://127.0.0.1:{port}/", process)
        yield process, port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(url: str, process: subprocess.Popen) -> None:
    """Wait until a server answers at a URL."""
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    end = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5, context=trust) as answer:
                answer.read()
            return
        except OSError:
            if time.monotonic() > end or process.poll() is not None:
                raise
            time.sleep(0.1)


def family(pid: int) -> list[int]:
    """Return a process and all that it started."""
    found = [pid]
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            found += family(int(child))
    return found


def processor_time(pid: int) -> float:
    """Return how many seconds of a processor a process and its children have used."""
    ticks = 0
    for member in family(pid):
        fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> int:
    """Return how many bytes of memory a process and its children have of their own."""
    total = 0
    for member in family(pid):
        text = Path(f"/proc/{member}/smaps_rollup").read_text()
        total += sum(int(size) for size in re.findall(r"Private_\w+:\s+(\d+) kB", text)) * 1024
    return total


def load(scenario: Scenario, pid: int, port: int, cpu: int, seconds: int) -> Load:
    """Put a server under load."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(scenario.script or "")
        script.flush()
        began = processor_time(pid)
        done = subprocess.run(
            [
                *("wrk", "-t1", f"-c{scenario.connections}", f"-d{seconds}s", "--latency"),
                *scenario.arguments,
                *(("-s", script.name) if scenario.script else ()),
                f"http{'s' if scenario.secure else ''}://127.0.0.1:{port}{scenario.path}",
            ],
            capture_output=True,
            text=True,
            check=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {cpu}),
        )
        used = processor_time(pid) - began
    if bad := re.search(r"Non-2xx.*", done.stdout):
        raise RuntimeError(bad[0])
    requests = int(re.search(r"(\d+) requests in", done.stdout)[1])
    number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", done.stdout).groups()
    slow = float(number) * {"us": 1e-6, "ms": 1e-3, "s": 1}[unit]
    rate = float(re.search(r"Requests/sec:\s*([\d.]+)", done.stdout)[1])
    return Load(rate, slow, used / max(requests, 1))


def idle_memory(pid: int, port: int, count: int) -> float:
    """Return how many bytes each of many idle connections takes, after one request on each."""
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    socks = []
    before = resident(pid)
    for _ in range(count):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.sendall(request)
        sock.recv(1000)
        socks.append(sock)
    time.sleep(1)
    after = resident(pid)
    for sock in socks:
        sock.close()
    return (after - before) / count


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="shorter and less exact")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[*SCENARIOS, "idle"])
    parser.add_argument("--turns", type=int, default=5, help="how often each server is measured")
    parser.add_argument("--seconds", type=int, default=5, help="how long each measurement takes")
    parser.add_argument("--peer-python", help="an interpreter that has the other servers")
    parser.add_argument("--our-python", default=sys.executable, help="one that has this package")
    parser.add_argument("--check", action="store_true", help="fail where a bar is missed")
    parser.add_argument("--results", type=Path, help="file to write; a whole run: RESULTS.md")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.turns, chosen.seconds = 1, 2
    return chosen


def compare(name: str, chosen: argparse.Namespace, peer: str, cpus: tuple[int, int]) -> tuple:
    """Measure one scenario on all its servers; return the table's rows, and the missed bars."""
    scenario = SCENARIOS[name]
    bars = dict(scenario.bars)
    found: dict[str, list[Load]] = {server: [] for server in ("ours", *bars)}
    for _ in range(chosen.turns):
        for server, loads in found.items():
            place = running(server, chosen.our_python, peer, cpus[0], scenario.secure)
            with place as (pid, port):
                loads.append(load(scenario, pid, port, cpus[1], chosen.seconds))

    def median(server: str, what: str) -> float:
        return statistics.median(getattr(load, what) for load in found[server])

    rows, missed = [], []
    for server in found:
        ratio = median("ours", "rate") / median(server, "rate")
        bar = bars.get(server)
        if bar is not None and ratio < bar:
            missed.append(f"{scenario.title}, {server}: {ratio:.2f} of {bar:g}")
        rows.append(
            (
                scenario.title if server == "ours" else "",
                server,
                f"{median(server, 'rate'):,.0f}",
                f"{median(server, 'slow') * 1e3:.1f}",
                f"{median(server, 'cpu') * 1e6:.1f}",
                "" if bar is None else f"{ratio:.2f}",
                "" if bar is None else f"{bar:g}",
            )
        )
    return rows, missed


def main() -> int:
    """Measure, print, write; return the exit status."""
    chosen = arguments()
    if shutil.which("wrk") is None:
        sys.exit("the load generator wrk is not installed")
    peer = chosen.peer_python or environment.peer_python(
        chosen.our_python, HERE.parent / ".venv-web", servers=True
    )
    pair = environment.two_processors()
    names = chosen.only or [*SCENARIOS, "idle"]
    header = ("load", "server", "requests/s", "p99 ms", "CPU µs", "ours / it", "bar")
    rows: list[tuple[str, ...]] = []
    missed: list[str] = []
    for name in (name for name in names if name in SCENARIOS):
        print(name, file=sys.stderr, flush=True)
        found, short = compare(name, chosen, peer, pair)
        rows += found
        missed += short
    lines = table(header, rows, left=2) if rows else []
    if "idle" in names:
        count = IDLE // 10 if chosen.quick else IDLE
        memory = {}
        for server in ("gevent", "ours"):
            with running(server, chosen.our_python, peer, pair[0]) as (pid, port):
                memory[server] = idle_memory(pid, port, count)
        ratio = memory["gevent"] / memory["ours"]
        lines += ["", f"{count:,} idle connections: {memory['ours']:,.0f} bytes each,"]
        lines += [f"gevent {memory['gevent']:,.0f}: {ratio:.2f} times as many (bar 2)."]
        if ratio < 2:
            missed.append(f"idle memory: {ratio:.2f} of 2")
    facts = [*environment.machine(), f"Date: {date.today().isoformat()}; {chosen.turns} turns"]
    lines = [*(f"- {fact}" for fact in facts), "", *lines]
    if missed:
        lines += ["", "Missed:", "", *(f"- {text}" for text in missed)]
    text = "\n".join(lines) + "\n"
    publish("Web", text, chosen.results, not (chosen.only or chosen.quick))
    return 1 if chosen.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
