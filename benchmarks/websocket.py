"""Measure WebSocket echo: gevent.websocket here beside gevent-websocket on gevent.

    python websocket.py [--messages N] [--rounds N]

Each round starts one server after the other, a process each on a processor of its own, and sends it
messages over 64 connections: frames made beforehand, so that the client's work is two system calls
a message. Printed are messages a second and the processor time of the server for each, the medians,
and their ratios; where the client or another program is what limits the first, the second still
says what a server takes.

    python websocket.py --serve {gevent.websocket,geventwebsocket}

serves until its standard input ends, and prints its port.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import environment
from report import publish, table

OURS, PEER = "gevent.websocket", "geventwebsocket"
CONNECTIONS = 64
#: How many times less processor time a message must take.
BAR = 5
HEADER = ("echo", "theirs 1/s", "ours 1/s", "theirs µs", "ours µs", "times less", "bar")
UNITS = "Messages per second, and microseconds of the server's processor time for a message."
#: A name, the size of a message in bytes, and how many are sent before one is awaited.
KINDS = (
    ("20 bytes", 20, 1),
    ("20 bytes, 16 in flight", 20, 16),
    ("120 bytes", 120, 1),
    ("1 KiB", 1024, 1),
    ("64 KiB", 65_536, 1),
)
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def serve(package: str) -> None:
    """Serve until standard input ends."""
    import gevent
    from gevent.pywsgi import WSGIServer

    if package == OURS:
        from gevent.websocket import WebSocketHandler
    else:
        from geventwebsocket.handler import WebSocketHandler

    def echo(environ, start_response):
        ws = environ["wsgi.websocket"]
        while (message := ws.receive()) is not None:
            ws.send(message)
        return []

    server = WSGIServer(("127.0.0.1", 0), echo, handler_class=WebSocketHandler, log=None)
    server.start()
    print(server.server_port, flush=True)
    gevent.socket.wait_read(0)
    os._exit(0)


@contextmanager
def running(python: str, package: str, cpu: int) -> Iterator[tuple[int, int]]:
    """A server in a process of its own: the process, and the port."""

    def pin() -> None:
        os.sched_setaffinity(0, {cpu})

    command = [python, __file__, "--serve", package]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, preexec_fn=pin) as process:
        try:
            yield process.pid, int(process.stdout.readline())
        finally:
            process.stdin.close()


def frame(size: int) -> bytes:
    """A message of text as a client sends it, masked with zeros."""
    if size < 126:
        head = bytes([0x81, 0x80 | size])
    elif size < 65536:
        head = bytes([0x81, 0x80 | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([0x81, 0x80 | 127]) + size.to_bytes(8, "big")
    return head + bytes(4) + b"x" * size


def receive(sock: socket.socket, buffer: bytearray, wanted: int) -> None:
    """Receive as many bytes, and drop them."""
    while wanted > 0:
        got = sock.recv_into(buffer, min(wanted, len(buffer)))
        if not got:
            raise ConnectionError("the server closed the connection")
        wanted -= got


def processor_time(process: int) -> float:
    """The seconds that a process has run."""
    with open(f"/proc/{process}/schedstat") as file:
        return int(file.read().split()[0]) / 1e9


def measure(process: int, port: int, messages: int, size: int, flight: int) -> tuple[float, float]:
    """Messages a second, and the server's microseconds for each."""
    buffer = bytearray(1 << 20)
    connections = []
    for _ in range(CONNECTIONS):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(REQUEST)
        while not bytes(buffer[: sock.recv_into(buffer)]).endswith(b"\r\n\r\n"):
            pass
        connections.append(sock)
    sent = frame(size) * flight
    answered = len(sent) - 4 * flight  # a server does not mask

    def turn() -> None:
        for sock in connections:
            sock.sendall(sent)
        for sock in connections:
            receive(sock, buffer, answered)

    turn()
    turns = max(1, messages // (CONNECTIONS * flight))
    busy = processor_time(process)
    began = time.perf_counter()
    for _ in range(turns):
        turn()
    seconds = time.perf_counter() - began
    busy = processor_time(process) - busy
    for sock in connections:
        sock.close()
    count = turns * CONNECTIONS * flight
    return count / seconds, busy / count * 1e6


def main() -> int:
    """Compare both; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", help="an interpreter with gevent and gevent-websocket")
    parser.add_argument("--our-python", default=sys.executable, help="one that has this package")
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--check", action="store_true", help="fail where a bar is missed")
    parser.add_argument("--results", type=Path, help="file to write (RESULTS.md)")
    parser.add_argument("--serve", choices=[OURS, PEER], help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve:
        serve(chosen.serve)
    peer = chosen.peer_python or environment.peer_python(
        chosen.our_python, Path(__file__).parents[1] / ".venv-web", servers=True
    )
    cpus = environment.two_processors()
    os.sched_setaffinity(0, {cpus[1]})
    rows = []
    missed = False
    for name, size, flight in KINDS:
        messages = chosen.messages if size < 10_000 else chosen.messages // 20
        found = {PEER: [], OURS: []}
        for _ in range(chosen.rounds):
            for package, python in ((PEER, peer), (OURS, chosen.our_python)):
                with running(python, package, cpus[0]) as (process, port):
                    found[package].append(measure(process, port, messages, size, flight))
        (their_rate, their_cost), (rate, cost) = (
            map(statistics.median, zip(*values, strict=True)) for values in found.values()
        )
        times = their_cost / cost
        missed |= times < BAR
        bar = f"{BAR}" if times >= BAR else f"{BAR} (missed)"
        figures = (f"{their_rate:,.0f}", f"{rate:,.0f}", f"{their_cost:.1f}", f"{cost:.1f}")
        rows.append((name, *figures, f"{times:.1f}", bar))
    facts = [
        *environment.machine(),
        f"Date: {date.today().isoformat()}; {chosen.rounds} processes per side, in turn",
    ]
    lines = [*(f"- {fact}" for fact in facts), "", *table(HEADER, rows), "", UNITS]
    publish("WebSocket", "\n".join(lines) + "\n", chosen.results, True)
    return 1 if chosen.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
