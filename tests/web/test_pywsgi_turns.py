"""A client that never keeps the server waiting does not keep the others waiting.

A system call that succeeds at once lets nobody else run. So how much is done in a row is counted
here in parts, and no time is measured: a greenlet that is always ready has to get its turn after a
bounded number of them.
"""

import contextlib
import itertools
from collections.abc import Iterator

import pytest
from websocket_support import frame, request

import gevent
from gevent import socket
from gevent.event import Event
from gevent.pywsgi import WSGIServer
from gevent.websocket import WebSocketHandler

GET = b"%s %s HTTP/1.1\r\nHost: a\r\n\r\n"
#: The most bytes, or calls, that may be transferred in a row.
MOST_BYTES, MOST_CALLS = 1_200_000, 80
KERNEL = 1 << 20


class Others:
    """A greenlet that is always ready, and what a connection does between two turns of it."""

    def __init__(self) -> None:
        self.longest = self.current = 0
        self.ready = gevent.spawn(self.run)

    def run(self) -> None:
        while True:
            self.longest, self.current = max(self.longest, self.current), 0
            gevent.sleep(0)

    def count(self, amount: int) -> None:
        self.current += amount


@pytest.fixture
def others() -> Iterator[Others]:
    made = Others()
    yield made
    made.ready.kill()


class Listening(WSGIServer):
    """A server whose connections hold much that it has not read."""

    def init_socket(self) -> None:
        super().init_socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL)


@contextlib.contextmanager
def serving(application, contexts=None):
    """Yield a function that connects to a server of the application."""
    theirs, ours = contexts or (None, None)
    extra = {"ssl_context": theirs} if theirs else {}
    server = Listening(
        ("127.0.0.1", 0),
        application,
        handler_class=WebSocketHandler,
        log=None,
        error_log=None,
        **extra,
    )

    def connect(data: bytes):
        sock = socket.create_connection(server.address)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL)
        if ours:
            sock = ours.wrap_socket(sock, server_hostname="localhost")
        sock.sendall(data)
        return sock

    with gevent.Timeout(30), server:
        server.start()
        yield connect


def fill(sock, data: bytes) -> int:
    """Send as much as the kernel takes, and return how much that is."""
    sent = 0
    with contextlib.suppress(gevent.Timeout), gevent.Timeout(0.3):
        while True:
            sent += sock.send(data[sent % len(data) :])
    return sent


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def maybe_secure(request, contexts):
    return contexts if request.param else None


@pytest.mark.parametrize("path", [b"/yield", b"/write"])
@pytest.mark.parametrize("size", [1, 5000])
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_a_response_of_small_parts(others, maybe_secure, path, size, method):
    over = Event()

    def parts():
        for _ in range(1000):
            others.count(1)
            yield b"x" * size

    def application(environ, start_response):
        write = start_response("200 OK", [])
        if path == b"/yield":
            return closing()
        for part in parts():
            write(part)
        over.set()
        return []

    def closing():
        try:
            yield from parts()
        finally:
            over.set()

    head = GET[:-2] % (method, path) + b"Connection: close\r\n\r\n"
    with serving(application, maybe_secure) as connect, connect(head) as sock:
        while sock.recv(1 << 20):
            pass
    assert over.is_set()
    assert others.longest <= MOST_CALLS


@pytest.mark.parametrize("kind", [b"/large", b"/list", b"/file"])
def test_a_large_response_beside_many_ready_greenlets(maybe_secure, tmp_path, kind):
    """The more greenlets are ready, the smaller are the parts that are sent in a row."""
    body = b"x" * 1_000_000
    path = tmp_path / "file"
    path.write_bytes(body)
    turns = 0

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", str(len(body)))])
        if kind == b"/list":
            return [body[:100_000]] * 10
        if kind == b"/file":
            return environ["wsgi.file_wrapper"](path.open("rb"))
        return [body]

    def run():
        nonlocal turns
        while True:
            gevent.sleep(0)
            turns += 1

    with serving(application, maybe_secure) as connect, connect(GET % (b"GET", kind)) as sock:
        others = [gevent.spawn(run) for _ in range(300)]
        received = 0
        while received < len(body):
            received += len(sock.recv(1 << 20))
        # All have had their turn after each part of about 110 KiB.
        assert turns >= 300 * 5
        gevent.killall(others)


@pytest.mark.parametrize("coding", [b"Content-Length: 100000000", b"Transfer-Encoding: chunked"])
@pytest.mark.parametrize("size", [1000, 70_000, None])
def test_an_upload(others, maybe_secure, coding, size):
    begin, over = Event(), Event()
    chunk = b"400\r\n" + b"x" * 1024 + b"\r\n"
    data = chunk * 100 if b"chunked" in coding else b"x" * 100_000

    def application(environ, start_response):
        begin.wait()
        body = environ["wsgi.input"]
        left = KERNEL // 3
        while left > 0:
            got = len(body.readline(1000) if size is None else body.read(size))
            others.count(got)
            left -= got
        start_response("200 OK", [])
        over.set()
        return []

    head = b"POST / HTTP/1.1\r\nHost: a\r\n" + coding + b"\r\n\r\n"
    with serving(application, maybe_secure) as connect, connect(head) as sock:
        filled = fill(sock, data)
        begin.set()
        while not over.is_set():
            filled += fill(sock, data[filled % len(data) :])
    assert 0 < others.longest <= MOST_BYTES


@pytest.mark.parametrize("size", [1, 60_000])
def test_received_messages(others, maybe_secure, size):
    begin = Event()
    data = frame(2, b"x" * size)
    most = 2 * KERNEL // len(data)
    counts = []

    def application(environ, start_response):
        ws = environ["wsgi.websocket"]
        begin.wait()
        for _ in range(most):
            ws.receive()
            others.count(len(data))
        counts.append(others.longest)
        return []

    with serving(application, maybe_secure) as connect, connect(request()) as sock:
        assert b" 101 " in sock.recv(1000)
        many = data * (1 + 100_000 // len(data))
        filled = fill(sock, many)
        begin.set()
        while not counts:
            filled += fill(sock, many[filled % len(many) :])
    assert 0 < counts[0] <= MOST_BYTES


@pytest.mark.parametrize("size", [1, 5000])
def test_sent_messages(others, maybe_secure, size):
    over = Event()

    def application(environ, start_response):
        ws = environ["wsgi.websocket"]
        for _ in range(1000):
            others.count(1)
            ws.send(b"x" * size)
        over.set()
        return []

    with serving(application, maybe_secure) as connect, connect(request()) as sock:
        while not over.is_set():
            sock.recv(1 << 20)
    assert others.longest <= MOST_CALLS


@pytest.mark.parametrize("method", [b"HEAD", b"GET"])
def test_a_stream_without_end(serve, method):
    """It is not made on when nothing of it can be sent any more, as only sending shows its end."""
    closed = Event()

    class Stream:
        def __iter__(self):
            return itertools.repeat(b"x")

        def close(self):
            closed.set()

    def application(environ, start_response):
        fields = [("Content-Length", "5")] if environ["REQUEST_METHOD"] == "GET" else []
        start_response("200 OK", fields)
        return Stream()

    answers = serve(application).send(GET % (method, b"/") * 2)
    assert closed.is_set()
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert answers.endswith(b"\r\n\r\n" if method == b"HEAD" else b"\r\n\r\nxxxxx")


def test_writing_from_the_hub():
    """A callback of the loop may use `write`, as it did before, though the hub cannot wait."""
    errors = []

    def application(environ, start_response):
        write = start_response("200 OK", [])
        done = Event()

        def many():
            try:
                for _ in range(MOST_CALLS * 2):
                    write(b"x")
            except BaseException as error:
                errors.append(error)
            done.set()

        gevent.get_hub().loop.run_callback(many)
        done.wait()
        return []

    with serving(application) as connect, connect(GET % (b"GET", b"/")) as sock:
        got = b""
        while not got.endswith(b"0\r\n\r\n"):
            got += sock.recv(10_000)
    assert errors == []
    assert got.count(b"1\r\nx\r\n") == MOST_CALLS * 2
