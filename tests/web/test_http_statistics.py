"""The counts of connections by what they wait for, and of requests by how they ended."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from conditions import until

import gevent
from gevent import socket
from gevent._core import http_statistics
from gevent.event import Event
from gevent.websocket import WebSocketHandler

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
UPLOAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
WEBSOCKET = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
)


def difference(before: Any, after: Any) -> Any:
    """Return what has changed of counts, in dictionaries of dictionaries."""
    if isinstance(before, dict):
        changes = {name: difference(before[name], after[name]) for name in before}
        return {name: change for name, change in changes.items() if change}
    return after - before


class Application:
    """Holds each request as long as the test wants."""

    def __init__(self) -> None:
        self.go_on = Event()

    def __call__(self, environ: dict, start_response: Callable) -> list[bytes]:
        ws = environ.get("wsgi.websocket")
        if ws is not None:
            self.go_on.wait()
            return []
        if environ["PATH_INFO"] == "/hold":
            self.go_on.wait()
        body = environ["wsgi.input"].read()
        big = b"x" * (16 << 20) if environ["PATH_INFO"] == "/big" else body
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [big]


@contextmanager
def connection(server: Any, data: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(server.address) as sock:
        sock.sendall(data)
        yield sock


STATES = {
    "new": b"",
    "head": b"GET / HT",
    "idle": GET,
    "application": GET.replace(b"/", b"/hold", 1),
    "body": UPLOAD + b"abc",
    "sending": GET.replace(b"/", b"/big", 1),
    "upgraded": WEBSOCKET,
    "lingering": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
}


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("state", STATES)
def test_each_connection_is_at_one_stage(serve, contexts, state, secure):
    application = Application()
    arguments = {"ssl_context": contexts[0]} if secure else {}
    server = serve(application, handler_class=WebSocketHandler, **arguments).server
    gevent.sleep(0)
    before = http_statistics()
    with socket.create_connection(server.address) as plain:
        sock = plain
        if secure:
            sock = contexts[1].wrap_socket(plain, server_hostname="localhost")
        sock.sendall(STATES[state])
        if state == "idle":
            sock.recv(1000)
        only = {state: 1}
        until(lambda: difference(before, http_statistics()).get("connections") == only)
        application.go_on.set()
        sock.close()
    server.stop(timeout=5)
    until(lambda: "connections" not in difference(before, http_statistics()))
    assert difference(before, http_statistics())["accepted"] == 1


def refused(environ: dict, start_response: Callable) -> list[bytes]:
    raise AssertionError("never called")


def answering(status: str) -> Callable:
    def application(environ: dict, start_response: Callable) -> list[bytes]:
        start_response(status, [])
        return []

    return application


def broken(environ: dict, start_response: Callable) -> Iterator[bytes]:
    start_response("200 OK", [])
    yield b"some"
    raise ValueError


ENDINGS = {
    "success": (answering("201 Created"), GET, {"requests": {"2xx": 1}}),
    "redirection": (answering("304 Not Modified"), GET, {"requests": {"3xx": 1}}),
    "client": (answering("404 Not Found"), GET, {"requests": {"4xx": 1}}),
    "server": (answering("nothing"), GET, {"requests": {"5xx": 1}}),
    "refused": (refused, b"GET /\r\n\r\n", {"requests": {"4xx": 1}, "refused": 1}),
    "version": (refused, b"GET / HTTP/2.0\r\n\r\n", {"requests": {"5xx": 1}, "refused": 1}),
    "broken off": (broken, GET, {"requests": {"2xx": 1}, "aborted": 1}),
    "not started": (lambda environ, start_response: [], GET, {"requests": {"none": 1}}),
    "many": (answering("200 OK"), GET * 7, {"requests": {"2xx": 7}}),
    "nothing": (refused, b"", {}),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_each_request_is_counted_once(serve, reported, ending):
    application, request, expected = ENDINGS[ending]
    exchange = serve(application)
    before = http_statistics()
    exchange.send(request)
    until(lambda: "connections" not in difference(before, http_statistics()))
    assert difference(before, http_statistics()) == {"accepted": 1} | expected


def test_a_client_that_leaves_the_response(serve, reported):
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"x" * (16 << 20)]

    server = serve(application).server
    before = http_statistics()
    with connection(server, GET) as sock:
        sock.recv(1000)
    until(lambda: "connections" not in difference(before, http_statistics()))
    assert difference(before, http_statistics()) == {
        "accepted": 1,
        "requests": {"2xx": 1},
        "aborted": 1,
    }


def test_a_forked_child_begins_at_zero(serve):
    server = serve(answering("200 OK")).server
    with connection(server, GET) as sock:
        sock.recv(1000)
        assert http_statistics()["accepted"] > 0
        pid = os.fork()
        if not pid:
            counts = http_statistics()
            numbers = [*counts.pop("connections").values(), *counts.pop("requests").values()]
            os._exit(any(numbers + list(counts.values())))
        assert os.waitpid(pid, 0)[1] == 0
