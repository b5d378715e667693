"""A bit of every part in one program, for machines on which the tests themselves cannot run.

``python tests/support/smoke.py CERTIFICATE`` takes a file with a certificate for ``localhost`` and
its key, prints a line for each part as it passes, and ends with status 0 if all do. It needs
nothing but gevent, and the name server of the tests beside it.
"""

from __future__ import annotations

import platform
import sys
import threading
import urllib.request
from functools import partial

from dns_server import DNSServer

import gevent
from gevent import pywsgi, socket, ssl
from gevent.event import AsyncResult, Event
from gevent.lock import BoundedSemaphore
from gevent.pool import Pool
from gevent.queue import PriorityQueue, Queue
from gevent.resolver.ares import Resolver
from gevent.server import StreamServer
from gevent.threadpool import ThreadPool

LOOPBACK = ("127.0.0.1", 0)
GREENLETS = 15_000
MANY = b"x" * 1_000_000


def greenlets() -> None:
    """Thousands that wait at once, each with frames of its own, and are woken, killed and freed."""

    def wait(number: int, depth: int) -> int:
        if depth:
            return wait(number, depth - 1) + 1
        event.wait()
        return number

    event = Event()
    waiting = [gevent.spawn(wait, number, number % 20) for number in range(GREENLETS)]
    gevent.sleep(0.01)
    event.set()
    gevent.joinall(waiting)
    assert [task.value for task in waiting] == [n + n % 20 for n in range(GREENLETS)]
    again = [gevent.spawn(gevent.sleep, 1000) for _ in range(GREENLETS)]
    gevent.sleep(0.01)
    gevent.killall(again)
    assert all(task.dead for task in again)


def timeouts() -> None:
    """A timeout ends a wait, and an error comes out of the greenlet that it ended."""
    with gevent.Timeout(0.01, False):
        gevent.sleep(1000)
        raise AssertionError("the timeout did not come")
    failing = gevent.spawn(int, "no number")
    failing.parent.exception_stream = None
    failing.join()
    assert isinstance(failing.exception, ValueError)


def queues_and_pools() -> None:
    """Queues, a pool of greenlets, a semaphore, a result."""
    queue, ordered = Queue(3), PriorityQueue()
    gevent.spawn(lambda: [queue.put(number) for number in range(1000)])
    assert sum(queue.get() for _ in range(1000)) == 499_500
    for number in (3, 1, 2):
        ordered.put(number)
    assert [ordered.get() for _ in range(3)] == [1, 2, 3]
    inside, most, limit = 0, 0, BoundedSemaphore(4)

    def work(number: int) -> int:
        nonlocal inside, most
        with limit:
            inside += 1
            most = max(most, inside)
            gevent.sleep(0.0001)
            inside -= 1
        return number * 2

    assert sorted(Pool(10).imap_unordered(work, range(100))) == [2 * n for n in range(100)]
    assert most == 4
    result = AsyncResult()
    gevent.spawn_later(0.001, result.set, "set")
    assert result.get(timeout=60) == "set"


def threads() -> None:
    """A pool of native threads, and a hub in each of them."""
    pool = ThreadPool(4)

    def elsewhere(number: int) -> tuple[int, int]:
        gevent.sleep(0.001)
        return number, threading.get_native_id()

    done = [job.get() for job in [pool.spawn(elsewhere, number) for number in range(40)]]
    assert [number for number, _ in done] == list(range(40))
    assert threading.get_native_id() not in {thread for _, thread in done}
    pool.kill()


def servers(certificate: str) -> None:
    """An echo over TCP and over TLS, with more than what fits into the kernel's buffers."""
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate)
    client_side = ssl.create_default_context(cafile=certificate)

    def echo(connection: socket.socket, address: object) -> None:
        while data := connection.recv(65536):
            connection.sendall(data)

    def exchange(connection: socket.socket) -> None:
        sending = gevent.spawn(connection.sendall, MANY)
        got = bytearray()
        while len(got) < len(MANY):
            got += connection.recv(65536)
        sending.get()
        assert got == MANY

    def talk(address: tuple[str, int], encrypted: bool) -> None:
        with socket.create_connection(address) as connection:
            if encrypted:
                with client_side.wrap_socket(connection, server_hostname="localhost") as secure:
                    exchange(secure)
            else:
                exchange(connection)

    for settings in ({}, {"ssl_context": server_side}):
        server = StreamServer(LOOPBACK, echo, **settings)
        server.start()
        for client in [gevent.spawn(talk, server.address, bool(settings)) for _ in range(5)]:
            client.get()
        server.stop()


def names() -> None:
    """A look-up at a name server, by the resolver in a thread of the engine's own."""
    with DNSServer({"a.name.test": {"A": ["10.1.2.3"]}}) as server:
        resolver = Resolver(servers=["127.0.0.1"], udp_port=server.port, tcp_port=server.port)
        assert resolver.gethostbyname("a.name.test") == "10.1.2.3"
        resolver.close()


def web() -> None:
    """A WSGI server, asked by many at once."""

    def application(environ: dict, start_response: object) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        gevent.sleep(0.001)
        return [environ["PATH_INFO"].encode(), environ["wsgi.input"].read()]

    server = pywsgi.WSGIServer(LOOPBACK, application, log=None)
    server.start()

    def ask(number: int) -> bytes:
        with socket.create_connection(server.address) as connection:
            head = f"POST /{number} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            connection.sendall(f"{head}Content-Length: 4\r\n\r\nbody".encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        return answer

    answers = [client.get() for client in [gevent.spawn(ask, number) for number in range(50)]]
    assert all(f"/{number}".encode() in answer for number, answer in enumerate(answers))
    assert all(b"body" in answer for answer in answers)
    server.stop()


def patched() -> None:
    """The standard library, patched: threads are greenlets, and what blocks lets others run."""
    from gevent import monkey

    monkey.patch_all()
    seen = []

    class Answer(threading.Thread):
        def run(self) -> None:
            connection, _ = listener.accept()
            connection.recv(1000)
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nanswer")
            connection.close()
            seen.append(threading.current_thread() is self)

    import socket as standard

    with standard.create_server(LOOPBACK) as listener:
        thread = Answer()
        thread.start()
        port = listener.getsockname()[1]
        assert urllib.request.urlopen(f"http://127.0.0.1:{port}/").read() == b"answer"
        thread.join()
    assert seen == [True]


def main(certificate: str) -> None:
    print(gevent.__implementation__, "on", platform.machine(), "under", platform.python_version())
    parts = (greenlets, timeouts, queues_and_pools, threads, partial(servers, certificate))
    for part in (*parts, web, names, patched):
        part()
        print("passed:", getattr(part, "func", part).__name__, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
