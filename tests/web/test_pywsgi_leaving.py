"""Clients that leave in the middle: what the access log says, and that nothing else is printed."""

import pytest
from conditions import until
from websocket_support import frame, read_frame, serving

import gevent
from gevent import socket
from gevent.pywsgi import WSGIHandler
from gevent.websocket import WebSocketHandler

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Renames(WSGIHandler):
    def start_response(self, status, headers, exc_info=None):
        write = super().start_response(status, headers, exc_info)
        self.status = b"203 Found Elsewhere"
        return write


@pytest.mark.parametrize(
    ("handler_class", "status", "logged"),
    [
        (WSGIHandler, "200 OK", "200"),
        (WSGIHandler, "404 Not Found", "404"),
        (Renames, "200 OK", "203"),
    ],
)
def test_the_log_has_the_status_that_was_sent(serve, reported, handler_class, status, logged):
    def endless(environ, start_response):
        start_response(status, [])
        while True:
            yield b"x" * 1000
            gevent.sleep(0)

    web = serve(endless, handler_class=handler_class)
    with web.connect() as client:
        client.sendall(REQUEST)
        assert client.recv(12).decode() == f"HTTP/1.1 {logged}"
    until(web.log.getvalue)
    assert f'"GET / HTTP/1.1" {logged} ' in web.log.getvalue()
    assert not reported
    assert not web.errors.getvalue()


def package_handler():
    return pytest.importorskip(
        "geventwebsocket.handler", reason="gevent-websocket"
    ).WebSocketHandler


HANDLERS = pytest.mark.parametrize("handler_of", [lambda: WebSocketHandler, package_handler])


def leave_at_once(client, file):
    # With unread data in the way, the kernel resets the connection.
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def leave_with_a_close(client, file):
    client.sendall(frame(8, b"\x03\xe9"))


def leave_and_wait_for_the_end(client, file):
    client.sendall(frame(8, b"\x03\xe9"))
    while read_frame(file):
        pass


@HANDLERS
@pytest.mark.parametrize("leave", [leave_at_once, leave_with_a_close])
def test_a_page_that_is_sent_to_and_left(printed, handler_of, leave):
    ended = []

    def ticker(environ, start_response):
        ws = environ["wsgi.websocket"]
        try:
            while True:
                ws.send("tick")
                gevent.sleep(0.001)
        finally:
            ended.append(ws)

    with serving(ticker, handler_of()) as served:
        with served.upgraded() as (client, file):
            assert read_frame(file) == (1, b"tick")
            leave(client, file)
        until(lambda: ended)
        until(lambda: not served.server.pool or not len(served.server.pool))
    assert printed.getvalue() == ""
    assert served.errors.getvalue() == ""


@HANDLERS
@pytest.mark.parametrize("leave", [leave_with_a_close, leave_and_wait_for_the_end])
def test_a_page_that_is_answered_and_left(printed, handler_of, leave):
    ended = []

    def careless_echo(environ, start_response):
        ws = environ["wsgi.websocket"]
        try:
            while True:
                ws.send(ws.receive())
        finally:
            ended.append(ws)

    with serving(careless_echo, handler_of()) as served:
        with served.upgraded() as (client, file):
            client.sendall(frame(1, b"abc"))
            assert read_frame(file) == (1, b"abc")
            leave(client, file)
        until(lambda: ended)
        gevent.sleep(0.05)
    assert "Traceback" not in printed.getvalue() + served.errors.getvalue()


@HANDLERS
def test_an_error_of_the_application_is_still_printed(printed, handler_of):
    def broken(environ, start_response):
        environ["wsgi.websocket"].send("before")
        raise OSError("the disk is full")

    with serving(broken, handler_of()) as served:
        with served.upgraded() as (_, file):
            assert read_frame(file) == (1, b"before")
        until(lambda: "the disk is full" in printed.getvalue())


def test_an_application_that_fails_on_another_ones_websocket(printed):
    """Its own visitor is still there, and must not be dropped without a word."""
    waiting = []

    def broadcast(environ, start_response):
        ws = environ["wsgi.websocket"]
        if not waiting:
            waiting.append(ws)
            ws.receive()
            return
        until(lambda: waiting[0].close_code is not None)
        waiting[0].send("hello")

    with serving(broadcast) as served:
        with served.upgraded() as (first, file):
            until(lambda: waiting)
            with served.upgraded() as (_, other):
                first.sendall(frame(8, b"\x03\xe9"))
                assert read_frame(file)[0] == 8
                assert read_frame(other)[0] == 8
        until(lambda: "WebSocketError" in printed.getvalue())
