"""WebSockets behind `python -m gevent.serve`, and handlers by name."""

import socket
import types

import pytest
from serve_support import ask, until

from gevent.serve import server
from gevent.websocket import Resource, WebSocketApplication, connect

ECHO = """
from gevent.websocket import Resource, WebSocketApplication

class Echo(WebSocketApplication):
    def on_message(self, message):
        if message is not None:
            self.ws.send(message)

def page(environ, start_response):
    start_response("200 OK", [])
    return [b"page"]

resource = Resource([("^/ws", Echo), ("^/", page)])

def bare(environ, start_response):
    ws = environ.get("wsgi.websocket")
    if ws is None:
        return page(environ, start_response)
    while (message := ws.receive()) is not None:
        ws.send(message)
    return []

def without(environ, start_response):
    return page(environ, start_response)
"""


def echoed(address: tuple[str, int]) -> str:
    ws = connect("ws://{}:{}/ws".format(*address))
    ws.send("hello")
    answer = ws.receive()
    ws.close()
    return answer


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resource", ()),
        ("bare", ()),
        ("bare", ("--handler", "websocket")),
        ("resource", ("--handler", "gevent.websocket:WebSocketHandler")),
        ("bare", ("--access-log", "access", "--access-log-format", "json")),
    ],
)
def test_websockets_are_served(serve_program, tmp_path, name, options):
    (tmp_path / "program.py").write_text(ECHO)
    serving = serve_program(f"program:{name}", "--bind", "127.0.0.1:0", "--workers", "2", *options)
    address = serving.address()
    assert [echoed(address) for _ in range(4)] == ["hello"] * 4
    assert ask(address) == ["page"]


def test_a_handler_by_name(serve_program, tmp_path):
    (tmp_path / "program.py").write_text(
        ECHO + "from gevent.pywsgi import WSGIHandler\n"
        "class Mine(WSGIHandler):\n"
        "    def get_environ(self):\n"
        "        return super().get_environ() | {'mine': 'yes'}\n"
        "def own(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [environ['mine'].encode()]\n"
    )
    for name in ("program:Mine", "program.Mine"):
        options = ("--bind", "127.0.0.1:0", "--handler", name)
        assert ask(serve_program("program:own", *options).address()) == ["yes"]


def test_websockets_are_found_in_the_application():
    module = types.ModuleType("program")
    exec(ECHO, module.__dict__)
    resource = Resource([("/", WebSocketApplication)])
    uses = server.uses_websockets

    def middleware(environ, start_response):
        return resource(environ, start_response)

    class Wrapper:
        def __init__(self, app):
            self.app = app

        def __call__(self, environ, start_response):
            return self.app(environ, start_response)

    def plain(environ, start_response):
        return []

    assert uses(resource, "")
    assert uses(middleware, "")
    assert uses(Wrapper(Wrapper(resource)), "")
    assert uses(module.bare, "")
    assert not uses(plain, "")
    assert not uses(Wrapper(plain), "")


def test_every_limit_reaches_the_server(serve_program):
    serving = serve_program(
        *("program:app", "--bind", "127.0.0.1:0", "--max-connections", "1"),
        *("--max-request-line", "100", "--header-timeout", "0.5"),
    )
    address = serving.address()
    with socket.create_connection(address, timeout=30) as slow:
        slow.sendall(b"GET / HT")
        assert b" 408 " in slow.recv(65536)
    with socket.create_connection(address, timeout=30) as sock:
        sock.sendall(b"GET /" + b"x" * 200 + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b" 414 " in sock.recv(65536)
    until(lambda: ask(address)[0] == "first")


def test_an_address_has_so_many_connections(serve_program):
    serving = serve_program("program:app", "--bind", "127.0.0.1:0", "--max-per-address", "1")
    address = serving.address()
    with socket.create_connection(address, timeout=30) as first:
        first.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"200 OK" in first.recv(65536)
        with socket.create_connection(address, timeout=30) as second:
            assert second.recv(65536) == b""
