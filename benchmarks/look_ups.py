"""Compare look-ups of names with gevent's default resolver, and print a table.

1,000 names are looked up at once, at a name server on loopback that answers each after 20 ms and
is a process of its own. gevent looks up in threads, through the C library; this package with its
resolver ares. The two take turns, each measurement in a process of its own.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import environment
from catalogue import Operation
from report import Row, publish, render

HERE = Path(__file__).parent
SERVER = HERE.parent / "tests" / "support" / "dns_server.py"
NAMES = 1000
OPERATION = Operation("look_ups", "1,000 look-ups at once, answers after 20 ms", NAMES, 10)
ADDRESS = "10.1.2.3"
TIME_LIMIT = 120


def ask_loopback(port: int) -> None:
    """Make the C library ask 127.0.0.1 at `port` in this thread, in place of its name servers."""
    import ctypes
    import socket
    import struct

    libc = ctypes.CDLL(None)
    find, initialise = getattr(libc, "__res_state"), getattr(libc, "__res_init")
    find.restype = ctypes.c_void_p
    initialise()
    # `struct __res_state`: after two numbers and the options, the count of servers, and they.
    state = (ctypes.c_char * 64).from_address(find())
    struct.pack_into("=iH", state, 16, 1, socket.AF_INET)
    struct.pack_into("!H4s8x", state, 22, port, socket.inet_aton("127.0.0.1"))


def make_resolver(kind: str, port: int) -> object:
    """Return the hub's resolver of a kind, made to ask the server at `port`."""
    import threading

    import gevent

    hub = gevent.get_hub()
    if kind == "ares":
        from gevent.resolver.ares import Resolver

        where = {"servers": ["127.0.0.1"], "udp_port": port, "tcp_port": port}
        hub.resolver = Resolver(hub, use_environ=False, timeout=10, **where)
        return hub.resolver
    # Every thread of the pool has a resolver of the C library's; all of them meet at the barrier.
    pool = hub.threadpool
    barrier = threading.Barrier(pool.maxsize)

    def prepare() -> None:
        ask_loopback(port)
        barrier.wait()

    gevent.joinall([pool.spawn(prepare) for _ in range(pool.maxsize)])
    return hub.resolver


def work(kind: str, port: int) -> None:
    """Look the names up in this process, and print the seconds per look-up."""
    from time import perf_counter

    import gevent

    resolver = make_resolver(kind, port)
    assert resolver.gethostbyname("warm.test") == ADDRESS
    rounds = []
    for _ in range(OPERATION.rounds):
        start = perf_counter()
        found = [gevent.spawn(resolver.gethostbyname, f"name{n}.test") for n in range(NAMES)]
        gevent.joinall(found, raise_error=True)
        rounds.append(perf_counter() - start)
        assert all(greenlet.value == ADDRESS for greenlet in found)
    resolver.close()
    name = getattr(gevent, "__implementation__", f"gevent {gevent.__version__}")
    value = statistics.median(rounds) / NAMES
    print(json.dumps({"implementation": f"{name}, resolver {kind}", "value": value}))


@contextmanager
def server(python: str) -> Iterator[int]:
    """Run the name server, and yield its port."""
    command = [python, str(SERVER), "--delay", "0.02", "--any", ADDRESS]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        yield int(process.stdout.readline())
        process.stdin.close()


def compare(peer: str, ours: str, pairs: int) -> tuple[Row, list[str]]:
    """Measure both sides in turn; return the row, and what the sides are."""
    sides = {"gevent": (peer, "thread"), "ours": (ours, "ares")}
    values: dict[str, list[float]] = {side: [] for side in sides}
    names = {}
    with server(ours) as port:
        # The server keeps the processor that it wants, and its clients share one.
        environment.pin_to_one_cpu()
        for _ in range(pairs):
            for side, (python, kind) in sides.items():
                done = subprocess.run(
                    [python, str(Path(__file__)), "--work", kind, str(port)],
                    stdout=subprocess.PIPE,
                    text=True,
                    timeout=TIME_LIMIT,
                    check=True,
                    env=environment.clean_environment(),
                )
                result = json.loads(done.stdout)
                names[side] = f"{side}: {result['implementation']}"
                values[side].append(result["value"])
    medians = {side: statistics.median(found) for side, found in values.items()}
    return Row(OPERATION, medians), list(names.values())


def main() -> int:
    """Measure, print, write; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=5, help="processes per side (default 5)")
    parser.add_argument("--peer-python", help="an interpreter that has gevent")
    parser.add_argument("--our-python", default=sys.executable, help="one that has this package")
    parser.add_argument("--check", action="store_true", help="fail where the bar is missed")
    parser.add_argument("--results", type=Path, help="file to write (RESULTS.md)")
    parser.add_argument("--work", nargs=2, metavar=("RESOLVER", "PORT"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.work:
        work(chosen.work[0], int(chosen.work[1]))
        return 0
    ours = chosen.our_python
    peer = chosen.peer_python or environment.peer_python(ours, HERE.parent / ".venv-peer")
    row, names = compare(peer, ours, max(1, chosen.pairs))
    facts = [
        *environment.machine(),
        *names,
        f"Date: {date.today().isoformat()}; {max(1, chosen.pairs)} processes per side, in turn",
    ]
    text = render([row], facts, [])
    publish("Look-ups", text, chosen.results, "gevent-rs" in names[1])
    return 1 if chosen.check and not row.cleared else 0


if __name__ == "__main__":
    sys.exit(main())
