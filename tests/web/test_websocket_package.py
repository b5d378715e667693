"""The package gevent-websocket itself, on our server.

It requires the distribution named gevent, so it is installed without its dependencies.
"""

import os

import pytest
from websocket_support import echo, serving

import gevent
from gevent.websocket import connect

try:
    from geventwebsocket import Resource, WebSocketApplication, WebSocketError, WebSocketServer
    from geventwebsocket.handler import WebSocketHandler
except ImportError:
    if os.environ.get("REQUIRE_PROGRAMS") == "1":
        raise
    pytest.skip("gevent-websocket is not installed", allow_module_level=True)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 70_000])
def test_echo(size):
    with (
        serving(echo, handler=WebSocketHandler) as served,
        connect(served.url + "/path?q", timeout=10) as ws,
    ):
        for message in ("x" * size, bytearray(b"\xff" * size)):
            ws.send(message)
            assert ws.receive() == message
        ws.ping(b"p")


def test_a_plain_request():
    with serving(echo, handler=WebSocketHandler) as served:
        request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        with served.connection(request) as (_, file):
            assert file.read().endswith(b"\r\n\r\nplain")


def test_a_connection_outlives_the_timeouts_of_http():
    class Server(WebSocketServer):
        idle_timeout = header_timeout = body_timeout = 0.5

    with (
        serving(echo, handler=WebSocketHandler, server=Server) as served,
        connect(served.url, timeout=10) as ws,
    ):
        ws.send("before")
        assert ws.receive() == "before"
        gevent.sleep(0.7)
        ws.send("after")
        assert ws.receive() == "after"


def test_applications():
    events = []

    class Told(WebSocketApplication):
        def on_open(self):
            events.append(("open", list(self.ws.handler.server.clients) != []))

        def on_message(self, message):
            events.append(message)
            if message is not None:
                self.ws.send(message)

        def on_close(self, reason):
            events.append("close")

    with (
        serving(
            Resource([("/ws", Told)]), handler=WebSocketHandler, server=WebSocketServer
        ) as served,
        connect(served.url + "/ws", timeout=10) as ws,
    ):
        ws.send("hi")
        assert ws.receive() == "hi"
    with gevent.Timeout(10):
        while events[-1] != "close":
            gevent.sleep(0.01)
    assert events == [("open", True), "hi", None, "close"]
    assert issubclass(WebSocketError, OSError)
