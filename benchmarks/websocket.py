"""Measure WebSocket echo: gevent.websocket here beside gevent-websocket on gevent.

    python websocket.py --peer PYTHON [--messages N] [--rounds N]

PYTHON is an interpreter that has gevent and gevent-websocket. Each round starts one server after
the other, a process each, and sends it messages over 64 connections: frames made beforehand, so
that the client's work is two system calls a message. Printed are messages a second and the
processor time of the server for each, the medians, and their ratios; where the client or another
program is what limits the first, the second still says what a server takes.

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

OURS, PEER = "gevent.websocket", "geventwebsocket"
CONNECTIONS = 64
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
def running(python: str, package: str) -> Iterator[tuple[int, int]]:
    """A server in a process of its own: the process, and the port."""
    command = [python, __file__, "--serve", package]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
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


def main() -> None:
    """Compare both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", metavar="PYTHON", help="has gevent and gevent-websocket")
    parser.add_argument("--ours", metavar="PYTHON", default=sys.executable)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", choices=[OURS, PEER])
    given = parser.parse_args()
    if given.serve:
        serve(given.serve)
        return
    if not given.peer:
        parser.error("--peer is needed")
    for name, size, flight in KINDS:
        messages = given.messages if size < 10_000 else given.messages // 20
        found = {OURS: [], PEER: []}
        for _ in range(given.rounds):
            for python, package in ((given.peer, PEER), (given.ours, OURS)):
                with running(python, package) as (process, port):
                    found[package].append(measure(process, port, messages, size, flight))
        rate, busy = (
            {
                package: statistics.median(one[which] for one in values)
                for package, values in found.items()
            }
            for which in (0, 1)
        )
        print(
            f"{name}: {rate[PEER]:,.0f}/s and {rate[OURS]:,.0f}/s, {rate[OURS] / rate[PEER]:.1f} "
            f"times; {busy[PEER]:,.1f} us and {busy[OURS]:,.1f} us, "
            f"{busy[PEER] / busy[OURS]:.1f} times",
            flush=True,
        )


if __name__ == "__main__":
    main()
