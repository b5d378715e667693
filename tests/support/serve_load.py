"""Clients that put a WSGI server under load and account for every request."""

import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

#: The application: the body of the request, and behind it as many bytes as the path says, in
#: parts and with pauses.
PROGRAM = """
import time

def app(environ, start_response):
    size = int(environ["PATH_INFO"][1:])
    body = environ["wsgi.input"].read()
    time.sleep(size % 7 / 200)
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield body
    for _ in range(4):
        yield b"x" * (size // 4)
        time.sleep(size % 3 / 500)
"""


class Closed(Exception):
    """A connection ended before the first byte of an answer."""


class Wrong(Exception):
    """An answer was cut, or another than it should be."""


def read_answer(sock: socket.socket, size: int, body: bytes) -> bool:
    """Read one response and return true if the server keeps the connection.

    Raises Closed or Wrong.
    """
    file = sock.makefile("rb")
    try:
        status = file.readline()
    except ConnectionError as error:
        raise Closed(str(error)) from error
    if not status:
        raise Closed("end of stream")
    try:
        return _read_after_status(file, status, size, body)
    except (ConnectionError, ValueError) as error:
        raise Wrong(f"cut: {error}") from error


def _read_after_status(file: BinaryIO, status: bytes, size: int, body: bytes) -> bool:
    if status != b"HTTP/1.1 200 OK\r\n":
        raise Wrong(f"status {status!r}")
    fields = {}
    while (line := file.readline()) not in (b"\r\n", b""):
        name, _, value = line.partition(b":")
        fields[name.lower()] = value.strip().lower()
    if fields.get(b"transfer-encoding") != b"chunked":
        raise Wrong(f"fields {fields}")
    found = b""
    while length := int(file.readline(), 16):
        found += file.read(length)
        file.readline()
    if file.readline() != b"\r\n":
        raise Wrong("no end")
    if found != body + b"x" * (size // 4 * 4):
        raise Wrong(f"{len(found)} wrong bytes")
    return fields.get(b"connection") != b"close"


@dataclass
class Ledger:
    """The results of the requests."""

    #: How many were answered; refused, as nobody listened; failed; and, on a connection that the
    #: server had closed by then, had to be sent again.
    counts: Counter[str] = field(default_factory=Counter)
    #: From when to when a request was under way that was refused or failed, and how it ended.
    refusals: list[tuple[float, float, str]] = field(default_factory=list)
    failures: list[tuple[float, float, str]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


class Client(threading.Thread):
    """Sends one request after another, some of them on connections of their own."""

    def __init__(self, address: tuple[str, int], seed: int, ledger: Ledger) -> None:
        super().__init__(daemon=True)
        self.address = address
        self.random = random.Random(seed)
        self.ledger = ledger
        self.sock: socket.socket | None = None

    def run(self) -> None:
        while not self.ledger.over.is_set():
            begun = time.monotonic()
            try:
                outcome = self.request()
            except ConnectionRefusedError as error:
                outcome = "refused"
                self.ledger.refusals.append((begun, time.monotonic(), str(error)))
            except (OSError, Closed, Wrong) as error:
                outcome = "failed"
                failure = f"{type(error).__name__}: {error}"
                self.ledger.failures.append((begun, time.monotonic(), failure))
            self.ledger.counts[outcome] += 1
            if outcome != "answered":
                self.hang_up()
                time.sleep(0.01)
        self.hang_up()

    def hang_up(self) -> None:
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def request(self) -> str:
        size = self.random.choice((0, 7, 500, 8_000, 200_000))
        body = b"b" * self.random.choice((0, 0, 10, 50_000))
        keep = self.random.random() < 0.5
        reused = self.sock is not None
        if self.sock is None:
            self.sock = socket.create_connection(self.address, timeout=20)
            # No connection of this machine to itself may pass for one to the server.
            assert self.sock.getsockname() != self.sock.getpeername()
        head = (
            f"POST /{size} HTTP/1.1\r\nHost: load\r\nContent-Length: {len(body)}\r\n"
            f"Connection: {'keep-alive' if keep else 'close'}\r\n\r\n"
        )
        try:
            self.sock.sendall(head.encode() + body)
            kept = read_answer(self.sock, size, body)
        except (ConnectionError, Closed):
            if not reused:
                raise
            # A server may close an idle connection at any time, and then the client sends its
            # request again (RFC 9112, 9.3.1), as nothing of an answer came.
            return "again"
        if not (keep and kept):
            self.hang_up()
        return "answered"


@contextmanager
def under_load(address: tuple[str, int], count: int, seed: int) -> Iterator[Ledger]:
    """Keep *count* clients at work meanwhile; yield what becomes of their requests."""
    ledger = Ledger()
    clients = [Client(address, 100 * seed + n, ledger) for n in range(count)]
    for client in clients:
        client.start()
    try:
        yield ledger
    finally:
        ledger.over.set()
        for client in clients:
            client.join(60)
        assert not any(client.is_alive() for client in clients)
