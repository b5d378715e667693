"""Compare the event loop of `gevent.aio` with uvloop's and asyncio's own, and print a table.

Each measurement is a process of its own, and the sides take turns. A figure is the processor time
of one iteration, in microseconds, and the median over a side's measurements: a client that
another process runs, or a busy machine, does not count. README.md, beside this file, says more.
"""

import argparse
import asyncio
import contextlib
import json
import os
import socket
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
CONNECTIONS = 16
MESSAGE = b"x" * 64
#: No measurement takes this many seconds unless it hangs.
TIME_LIMIT = 120


@dataclass(frozen=True)
class Scenario:
    """A row: its operation, its number of repetitions, and the ratio to uvloop that is aimed at."""

    name: str
    title: str
    iterations: int
    #: The least ratio of the other side's time to ours that is aimed at.
    bar: float | None = None
    sides: tuple[str, ...] = ("asyncio", "uvloop", "ours")
    #: Whom `bar` and the column of ratios compare with.
    beside: str = "uvloop"


SCENARIOS = (
    Scenario("protocols", "echo of 64 bytes by a protocol, 16 connections", 100_000, 0.95),
    Scenario("streams", "echo of 64 bytes by streams, 16 connections", 60_000, 0.9),
    Scenario("call_soon", "a chain of `call_soon`", 300_000, 1.0),
    Scenario("sleep0", "`sleep(0)` in 100 tasks", 300_000, 1.0),
    Scenario("tls", "echo of 64 bytes by a protocol over TLS, 16 connections", 30_000, 1.0),
    Scenario("run", "`aio.run` of a ready coroutine", 30_000, sides=("ours",)),
    Scenario("switch", "a switch of greenlets, no loop running", 300_000, sides=("ours",)),
    Scenario(
        "to_async",
        "a greenlet (or thread) awaits a coroutine",
        5_000,
        1.0,
        ("asyncio", "ours"),
        "asyncio",
    ),
    Scenario(
        "to_blocking",
        "a task awaits a greenlet (or thread)",
        5_000,
        1.0,
        ("asyncio", "ours"),
        "asyncio",
    ),
)
SIDES = ("asyncio", "uvloop", "ours")


class _Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


async def _echo_stream(reader, writer):
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def _client(port: int, rounds: int, tls: bool) -> None:
    """Send a message on each connection and await the echoes, again and again."""
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connections = []
    for _ in range(CONNECTIONS):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connections.append(context.wrap_socket(connection) if context else connection)
    os.write(1, b"ready\n")
    os.read(0, 1)
    for _ in range(rounds):
        for connection in connections:
            connection.sendall(MESSAGE)
        for connection in connections:
            left = len(MESSAGE)
            while left:
                left -= len(connection.recv(left))


async def _serve(kind: str, iterations: int) -> float:
    loop = asyncio.get_running_loop()
    context = None
    if kind == "tls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(ROOT / "tests" / "data" / "localhost.pem")
    if kind == "streams":
        server = await asyncio.start_server(_echo_stream, "127.0.0.1", 0)
    else:
        server = await loop.create_server(_Echo, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    rounds = iterations // CONNECTIONS
    command = [sys.executable, __file__, "--client", str(port), str(rounds), kind]
    client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    await loop.run_in_executor(None, client.stdout.readline)
    began = time.process_time()
    client.stdin.write(b"!")
    client.stdin.close()
    status = await loop.run_in_executor(None, client.wait)
    took = time.process_time() - began
    if status:
        raise RuntimeError("the client failed")
    client.stdout.close()
    server.close()
    return took / (rounds * CONNECTIONS)


async def _call_soon(iterations: int) -> float:
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    left = iterations

    def call():
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(call)
        else:
            done.set_result(None)

    began = time.process_time()
    loop.call_soon(call)
    await done
    return (time.process_time() - began) / iterations


async def _sleep0(iterations: int) -> float:
    tasks = 100

    async def sleeps():
        for _ in range(iterations // tasks):
            await asyncio.sleep(0)

    began = time.process_time()
    await asyncio.gather(*(sleeps() for _ in range(tasks)))
    return (time.process_time() - began) / iterations


def _run(iterations: int) -> float:
    from gevent import aio

    async def ready():
        return 1

    aio.run(ready())
    began = time.process_time()
    for _ in range(iterations):
        aio.run(ready())
    return (time.process_time() - began) / iterations


def _switch(iterations: int) -> float:
    import gevent

    def turns():
        for _ in range(iterations // 2):
            gevent.sleep(0)

    began = time.process_time()
    gevent.joinall([gevent.spawn(turns), gevent.spawn(turns)])
    return (time.process_time() - began) / iterations


async def _answer() -> int:
    await asyncio.sleep(0)
    return 42


def _to_async(side: str, iterations: int) -> float:
    if side == "ours":
        from gevent import aio

        aio.run(_answer())
        began = time.process_time()
        for _ in range(iterations):
            aio.run(_answer())
        return (time.process_time() - began) / iterations

    import threading

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(_answer(), loop).result()
    began = time.process_time()
    for _ in range(iterations):
        asyncio.run_coroutine_threadsafe(_answer(), loop).result()
    took = time.process_time() - began
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    return took / iterations


def _blocking() -> int:
    return 42


async def _to_blocking(side: str, iterations: int) -> float:
    call: Callable[[Callable[[], int]], Awaitable[int]] = asyncio.to_thread
    if side == "ours":
        from gevent import aio

        call = aio.to_greenlet
    await call(_blocking)
    began = time.process_time()
    for _ in range(iterations):
        await call(_blocking)
    return (time.process_time() - began) / iterations


def _run_loop(side: str, coroutine) -> float:
    if side == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    elif side == "ours":
        from gevent import aio

        factory = aio.new_event_loop
    else:
        factory = asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(coroutine)


def _work(side: str, name: str, iterations: int) -> float:
    """Return the seconds of processor time that one iteration takes."""
    if name == "run":
        return _run(iterations)
    if name == "switch":
        return _switch(iterations)
    if name == "to_async":
        return _to_async(side, iterations)
    coroutine = {
        "call_soon": lambda: _call_soon(iterations),
        "sleep0": lambda: _sleep0(iterations),
        "to_blocking": lambda: _to_blocking(side, iterations),
    }.get(name, lambda: _serve(name, iterations))()
    return _run_loop(side, coroutine)


def _measure(python: str, side: str, scenario: Scenario, share: float) -> float:
    count = max(CONNECTIONS, int(scenario.iterations * share))
    command = [python, __file__, "--work", side, scenario.name, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT, check=False)
    if done.returncode:
        raise RuntimeError(f"{side}, {scenario.name}: {done.stderr.strip()[-500:]}")
    return float(done.stdout)


def _row(scenario: Scenario, medians: dict[str, float]) -> tuple[str, ...]:
    figures = [f"{medians[side] * 1e6:.2f}" if side in medians else "-" for side in SIDES]
    if scenario.beside not in medians or "ours" not in medians:
        return (scenario.title, *figures, "-")
    ratio = medians[scenario.beside] / medians["ours"]
    missed = ", missed" if scenario.bar is not None and ratio < scenario.bar else ""
    aim = "" if scenario.bar is None else f" (≥ {scenario.bar:g}{missed})"
    return (scenario.title, *figures, f"{ratio:.2f}{aim}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--rounds", type=int, default=5, help="measurements per side")
    parser.add_argument("--share", type=float, default=1.0, help="part of the usual iterations")
    parser.add_argument("--peer-python", help="an interpreter that has uvloop")
    parser.add_argument("--our-python", default=sys.executable, help="one that has this package")
    parser.add_argument("--check", action="store_true", help="fail where a bar is missed")
    parser.add_argument("--results", type=Path, help="file to write; a whole run: RESULTS.md")
    return parser.parse_args()


def main() -> int:
    """Measure, print, write; return the exit status."""
    import environment
    from report import publish, table

    chosen = _arguments()
    ours = chosen.our_python
    peer = chosen.peer_python or environment.peer_python(ours, ROOT / ".venv-peer")
    rows = []
    for scenario in SCENARIOS:
        if chosen.only is not None and scenario.name not in chosen.only:
            continue
        samples: dict[str, list[float]] = {}
        for number in range(chosen.rounds):
            # The order changes, so that a machine that slows down is fair to all.
            for side in scenario.sides if number % 2 == 0 else reversed(scenario.sides):
                python = peer if side == "uvloop" else ours
                samples.setdefault(side, []).append(_measure(python, side, scenario, chosen.share))
        medians = {side: statistics.median(found) for side, found in samples.items()}
        rows.append(_row(scenario, medians))
    text = "\n".join(
        [
            *(f"- {fact}" for fact in environment.machine()),
            f"- Date: {date.today().isoformat()}; {chosen.rounds} measurements per side, in turn",
            "",
            *table(("operation", *(f"{side} µs" for side in SIDES), "other : ours"), rows),
            "",
            "Processor time of one iteration. The ratio is to uvloop where that was measured, and",
            "otherwise to asyncio with threads; above 1 this package takes less.",
            "",
        ]
    )
    whole = chosen.only is None and chosen.share >= 1
    publish("Event loops", text, chosen.results, whole)
    return 1 if chosen.check and "missed" in text else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--client"]:
        _client(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "tls")
    elif sys.argv[1:2] == ["--work"]:
        print(json.dumps(_work(sys.argv[2], sys.argv[3], int(sys.argv[4]))))
    else:
        sys.exit(main())
