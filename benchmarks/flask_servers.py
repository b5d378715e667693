"""Compare what serves a Flask application that waits, and print a table.

The application answers a little JSON, at once or after 10 ms in which it waits, as for a
database. An asynchronous one, in Starlette on uvicorn, does the same. Each server has one process
on one processor, and as many threads as there are connections where it needs threads; wrk loads it
from another. The servers take turns; a figure is the median over the turns.
"""

import argparse
import shutil
import statistics
import sys
from datetime import date
from pathlib import Path

import environment
import web
from report import publish, table

HERE = Path(__file__).parent
CONNECTIONS = 128

SCENARIOS = {
    "json": web.Scenario("Flask, JSON", "/", CONNECTIONS),
    "wait": web.Scenario("Flask, JSON after 10 ms", "/wait", CONNECTIONS),
}

FLASK = "flask_application:flask_application()"
STARLETTE = "flask_application:starlette_application"


def command(server: str, ours: str, peer: str, port: int) -> list[str]:
    """Return how to start a server."""
    binaries = Path(peer).parent
    address = f"127.0.0.1:{port}"
    gunicorn = [
        *(str(binaries / "gunicorn"), "--no-control-socket", "-b", address),
        *("--keep-alive", "60", "--backlog", "4096", FLASK),
    ]
    return {
        "ours": [ours, str(HERE / "flask_application.py"), str(port)],
        "gunicorn gevent": [*gunicorn, "-k", "gevent"],
        "gunicorn threads": [*gunicorn, "-k", "gthread", "--threads", str(CONNECTIONS)],
        "granian": [
            *(str(binaries / "granian"), "--interface", "wsgi", "--port", str(port)),
            *("--workers", "1", "--blocking-threads", str(CONNECTIONS), "--no-ws"),
            *("--log-level", "error", "--factory", "flask_application:flask_application"),
        ],
        "starlette": [
            *(str(binaries / "uvicorn"), "--port", str(port), "--log-level", "error"),
            *("--loop", "uvloop", "--http", "httptools", "--factory", STARLETTE),
        ],
    }[server]


SERVERS = ("ours", "gunicorn gevent", "gunicorn threads", "granian", "starlette")


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="shorter and less exact")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[*SCENARIOS])
    parser.add_argument("--servers", nargs="+", metavar="NAME", choices=SERVERS, default=SERVERS)
    parser.add_argument("--turns", type=int, default=5, help="how often each server is measured")
    parser.add_argument("--seconds", type=int, default=5, help="how long each measurement takes")
    parser.add_argument("--peer-python", help="an interpreter that has the other servers")
    parser.add_argument("--our-python", default=sys.executable, help="one that has this package")
    parser.add_argument("--results", type=Path, help="file to write; a whole run: RESULTS.md")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.turns, chosen.seconds = 1, 2
    return chosen


def compare(name: str, chosen: argparse.Namespace, peer: str, cpus: tuple[int, int]) -> list:
    """Measure one scenario on all servers; return the rows of the table."""
    scenario = SCENARIOS[name]
    found: dict[str, list[web.Load]] = {server: [] for server in chosen.servers}
    for _ in range(chosen.turns):
        for server, loads in found.items():

            def start(port: int, server: str = server) -> list[str]:
                return command(server, chosen.our_python, peer, port)

            with web.started(start, cpus[0]) as (process, port):
                loads.append(web.load(scenario, process.pid, port, cpus[1], chosen.seconds))

    def median(server: str, what: str) -> float:
        return statistics.median(getattr(load, what) for load in found[server])

    ours = median("ours", "rate") if "ours" in found else None
    rows = []
    for server in found:
        ratio = "" if ours is None or server == "ours" else f"{ours / median(server, 'rate'):.2f}"
        rows.append(
            (
                "" if rows else scenario.title,
                server,
                f"{median(server, 'rate'):,.0f}",
                f"{median(server, 'slow') * 1e3:.1f}",
                f"{median(server, 'cpu') * 1e6:.1f}",
                ratio,
            )
        )
    return rows


def main() -> int:
    """Measure, print, write; return the exit status."""
    chosen = arguments()
    if shutil.which("wrk") is None:
        sys.exit("the load generator wrk is not installed")
    peer = chosen.peer_python or environment.peer_python(
        chosen.our_python, HERE.parent / ".venv-web", servers=True
    )
    pair = environment.two_processors()
    rows: list[tuple[str, ...]] = []
    for name in chosen.only or SCENARIOS:
        print(name, file=sys.stderr, flush=True)
        rows += compare(name, chosen, peer, pair)
    header = ("load", "server", "requests/s", "p99 ms", "CPU µs", "ours / it")
    facts = [
        *environment.machine(),
        f"Date: {date.today().isoformat()}; {chosen.turns} turns of {chosen.seconds} s, "
        f"{CONNECTIONS} connections",
        f"threads of gunicorn and granian: {CONNECTIONS}; starlette on uvicorn with uvloop and "
        "httptools",
    ]
    text = "\n".join([*(f"- {fact}" for fact in facts), "", *table(header, rows, left=2)]) + "\n"
    whole = not (chosen.only or chosen.quick or tuple(chosen.servers) != SERVERS)
    publish("Flask", text, chosen.results, whole)
    return 0


if __name__ == "__main__":
    sys.exit(main())
