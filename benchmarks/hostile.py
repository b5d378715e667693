#!/usr/bin/env python3
"""Lets hostile clients loose on a server, and prints what memory and time each kind holds.

    python benchmarks/hostile.py            # all, at the sizes of the table
    python benchmarks/hostile.py --scale 10 # a tenth of the clients
    python benchmarks/hostile.py slowloris stalled_readers

The server runs in a process of its own with the limits below, shorter than the defaults so that a
run takes some minutes only. Beside each attack a probe asks for a small answer ten times a
second.
"""

from __future__ import annotations

import argparse
import os
import resource
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable

LIMITS = {
    "header_timeout": 5.0,
    "body_timeout": 5.0,
    "write_timeout": 5.0,
    "idle_timeout": 5.0,
    "linger_timeout": 2.0,
}
MESSAGE_TIMEOUT = 5.0
CERTIFICATE = os.path.join(os.path.dirname(__file__), "..", "tests", "data", "localhost.pem")
BIG = 8 << 20

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
)


def serve() -> None:
    """Run the server: its port is the first line that it prints, that with TLS the second."""
    from gevent.pywsgi import WSGIServer
    from gevent.ssl import SSLContext
    from gevent.websocket import WebSocketHandler

    big = b"x" * BIG

    class Handler(WebSocketHandler):
        message_timeout = MESSAGE_TIMEOUT

    def application(environ, start_response):
        ws = environ.get("wsgi.websocket")
        if ws is not None:
            while ws.receive() is not None:
                pass
            return []
        environ["wsgi.input"].read()
        body = big if environ["PATH_INFO"] == "/big" else b"hello"
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    context = SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    settings = dict(LIMITS, log=None, error_log=None, backlog=4096, handler_class=Handler)
    plain = WSGIServer(("127.0.0.1", 0), application, **settings)
    tls = WSGIServer(("127.0.0.1", 0), application, ssl_context=context, **settings)
    plain.start()
    tls.start()
    print(plain.server_port, tls.server_port, sep="\n", flush=True)
    plain.serve_forever()


class Server:
    """The server's process, looked at from outside."""

    def __init__(self) -> None:
        command = [sys.executable, os.path.abspath(__file__), "--serve"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())
        self.tls_port = int(self.process.stdout.readline())
        self.idle_descriptors = self.descriptors()

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def megabytes(self) -> float:
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize() / (1 << 20)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


class Probe:
    """Asks for a small answer again and again, and notes the longest time that one took."""

    def __init__(self, port: int) -> None:
        self.port, self.slowest, self.failed, self.going = port, 0.0, 0, True
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while self.going:
            begin = time.monotonic()
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=20) as sock:
                    sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                    while sock.recv(1000):
                        pass
            except OSError:
                self.failed += 1
            self.slowest = max(self.slowest, time.monotonic() - begin)
            time.sleep(0.1)

    def close(self) -> None:
        self.going = False
        self.thread.join()


def opened(port: int, data: bytes, room: int | None = None) -> socket.socket:
    sock = socket.socket()
    if room is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    sock.connect(("127.0.0.1", port))
    sock.sendall(data)
    return sock


def slowloris(server: Server) -> socket.socket:
    return opened(server.port, b"GET / HTTP/1.1\r\nHost: a\r\nX-A: ")


def upgrade_and_stall(server: Server) -> socket.socket:
    return opened(server.port, UPGRADE.replace(b"GET", b"POST") + b"Content-Length: 9\r\n\r\nx")


def stalled_readers(server: Server) -> socket.socket:
    return opened(server.port, b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n", 4096)


def half_open_tls(server: Server) -> socket.socket:
    return opened(server.tls_port, b"\x16\x03\x01\x02\x00\x01")


def half_messages(server: Server) -> socket.socket:
    sock = opened(server.port, UPGRADE + b"\r\n")
    sock.recv(1000)
    size = 1 << 20
    sock.sendall(b"\x02\xff" + struct.pack("!Q", size + 9) + b"\0\0\0\0" + b"x" * size)
    return sock


ATTACKS: dict[str, tuple[int, Callable[[Server], socket.socket]]] = {
    "slowloris": (5000, slowloris),
    "upgrade_and_stall": (2000, upgrade_and_stall),
    "stalled_readers": (400, stalled_readers),
    "half_open_tls": (1000, half_open_tls),
    "half_messages": (200, half_messages),
}


def attack(name: str, count: int, make: Callable[[Server], socket.socket]) -> str:
    """Return the row of the table for one attack, on a server of its own."""
    server = Server()
    try:
        probe = Probe(server.port)
        time.sleep(0.5)
        before = peak = server.megabytes()
        begin = time.monotonic()
        clients = []
        for _ in range(count):
            clients.append(make(server))
            if len(clients) % 100 == 0:
                peak = max(peak, server.megabytes())
        held = server.descriptors() - server.idle_descriptors
        opening = time.monotonic() - begin
        # The probe has one or two at a time.
        while server.descriptors() > server.idle_descriptors + 2:
            peak = max(peak, server.megabytes())
            if time.monotonic() - begin > 90:
                break
            time.sleep(0.1)
        took = time.monotonic() - begin
        left = server.descriptors() - server.idle_descriptors
        after = server.megabytes()
        probe.close()
        for client in clients:
            client.close()
    finally:
        server.close()
    return (
        f"{name:18} {count:6} {held:6} {peak - before:9.1f} {after - before:9.1f} {opening:8.1f} "
        f"{took:8.1f} {left:5} {probe.slowest:8.3f} {probe.failed:6}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "--scale", type=int, default=1, help="divide the numbers of clients by this"
    )
    parser.add_argument("attacks", nargs="*", default=[], help=f"of {', '.join(ATTACKS)}")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if options.serve:
        serve()
        return
    print(
        f"limits: {LIMITS}, message_timeout {MESSAGE_TIMEOUT}; MB of the server's memory, seconds"
    )
    print(
        f"{'attack':18} {'number':>6} {'held':>6} {'peak MB':>9} {'after MB':>9} {'opening':>8} "
        f"{'all over':>8} {'left':>5} {'probe':>8} {'failed':>6}"
    )
    for name, (count, make) in ATTACKS.items():
        if not options.attacks or name in options.attacks:
            print(attack(name, max(1, count // options.scale), make), flush=True)


if __name__ == "__main__":
    main()
