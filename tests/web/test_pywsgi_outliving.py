"""Nothing of a connection outlives it: no object and no buffer, without the garbage collector."""

import contextlib
import gc
import ssl
import struct
import weakref
from collections.abc import Callable, Iterator

import pytest
from paths import CERTIFICATE
from websocket_support import frame, request

import gevent
from gevent import socket
from gevent.pywsgi import WSGIServer
from gevent.ssl import SSLContext
from gevent.websocket import WebSocketHandler

GET = b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
LARGE = 2_000_000
ROUNDS = 12
#: By how many bytes the process may be larger after as many connections have ended.
LIMIT = ROUNDS * LARGE // 2


class Tracked(dict):
    """An environment that can be watched."""


class Watched:
    """The objects that servers made, as long as they live."""

    def __init__(self) -> None:
        self.living: list[weakref.ref] = []
        watched = self

        class Handler(WebSocketHandler):
            close_timeout = 0.2
            message_timeout = 0.3

            def __init__(self, sock, address, server, rfile=None):
                super().__init__(sock, address, server, rfile)
                watched.add(self)
                watched.add(sock)

            def upgrade_websocket(self):
                body = super().upgrade_websocket()
                if self.websocket is not None:
                    watched.add(self.websocket)
                return body

        class Taking(Handler):
            """One that goes on with the WebSocket itself."""

            prevent_wsgi_call = True

            def run_application(self):
                super().run_application()
                if self.websocket is not None:
                    self.websocket.receive()

        class Server(WSGIServer):
            environ_class = Tracked
            base_env = WSGIServer.base_env

            def get_environ(self):
                made = super().get_environ()
                watched.add(made)
                return made

        self.handler, self.taking, self.server = Handler, Taking, Server

    def add(self, made: object) -> None:
        self.living.append(weakref.ref(made))

    def left(self) -> list[object]:
        return [made for ref in self.living if (made := ref()) is not None]


def application(environ, start_response):
    path = environ["PATH_INFO"]
    ws = environ.get("wsgi.websocket")
    if ws is not None:
        return conversation(ws, path)
    if path == "/error":
        raise RuntimeError("of the application")
    if path == "/read":
        environ["wsgi.input"].read()
    if path == "/late-error":
        return late_error(start_response)
    if path == "/big":
        start_response("200 OK", [("Content-Length", str(20 * LARGE))])
        return (b"x" * LARGE for _ in range(20))
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/write":
        write(b"written")
        return []
    if path == "/generator":
        return (part for part in (b"a", b"b"))
    return [b"hello"]


def late_error(start_response):
    start_response("200 OK", [])
    yield b"begun"
    raise RuntimeError("of the application, later")


def conversation(ws, path):
    if path == "/error":
        raise RuntimeError("of the application")
    if path == "/bye":
        return []
    while (message := ws.receive()) is not None:
        ws.send(message)
    return []


def plain(data: bytes, *, wait: bool = True) -> Callable:
    """A client that sends this, and reads to the end or leaves at once."""

    def run(address):
        with socket.create_connection(address) as sock:
            sock.settimeout(20)
            with contextlib.suppress(OSError):
                sock.sendall(data)
                if wait:
                    while sock.recv(65536):
                        pass

    return run


def kept(data: bytes, answers: int) -> Callable:
    """A client that leaves once it has so many answers."""

    def run(address):
        with socket.create_connection(address) as sock:
            sock.settimeout(20)
            sock.sendall(data)
            got = b""
            while got.count(b"HTTP/1.1 ") < answers:
                got += sock.recv(65536)

    return run


def upgraded(data: bytes, path: str = "/", *, wait: bool = True) -> Callable:
    def run(address):
        with socket.create_connection(address) as sock, contextlib.suppress(OSError):
            sock.settimeout(20)
            sock.sendall(request(path))
            assert b" 101 " in sock.recv(1000)
            sock.sendall(data)
            while wait and sock.recv(65536):
                pass

    return run


HALF = b"\x02\xff" + struct.pack("!Q", LARGE + 9) + b"\0\0\0\0" + b"x" * LARGE
ENDS = {
    "client leaves": kept(GET % b"/", 1),
    "several requests": kept(GET % b"/" * 3 + GET % b"/generator", 4),
    "Connection: close": plain(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    "HTTP/1.0": plain(b"GET /write HTTP/1.0\r\n\r\n"),
    "silent": plain(b""),
    "leaves at once": plain(b"", wait=False),
    "half a head": plain(b"GET / HT"),
    "half a head, then leaves": plain(b"GET / HT", wait=False),
    "no request": plain(b"BAD\r\n\r\n"),
    "upload broken off": plain(POST % (b"/read", 2 * LARGE) + b"x" * LARGE, wait=False),
    "upload that stalls": plain(POST % (b"/read", 2 * LARGE) + b"x" * LARGE),
    "upload that nobody reads": plain(POST % (b"/", 2 * LARGE) + b"x" * LARGE, wait=False),
    "application fails": plain(GET % b"/error"),
    "application fails later": plain(GET % b"/late-error"),
    "response not taken": plain(GET % b"/big", wait=False),
    "WebSocket: client closes": upgraded(frame(1, b"x") + frame(8, b"\x03\xe8")),
    "WebSocket: client leaves": upgraded(frame(1, b"x"), wait=False),
    "WebSocket: half a message": upgraded(HALF, wait=False),
    "WebSocket: message that stalls": upgraded(HALF),
    "WebSocket: protocol broken": upgraded(b"\x83\x80\0\0\0\0"),
    "WebSocket: application fails": upgraded(frame(8), "/error"),
    "WebSocket: application ends": upgraded(b"", "/bye"),
    "WebSocket: refused": plain(request(Sec_WebSocket_Version="99")),
}


@pytest.fixture
def uncollected() -> Iterator[None]:
    """The garbage collector does not run."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def settle(watched: Watched) -> list[object]:
    with gevent.Timeout(20, False):
        while watched.left():
            gevent.sleep(0.02)
    return watched.left()


def serving(watched: Watched, handler: type, **settings):
    limits = {
        "idle_timeout": 0.2,
        "header_timeout": 0.3,
        "body_timeout": 0.3,
        "write_timeout": 0.3,
        "linger_timeout": 0.2,
    }
    return watched.server(
        ("127.0.0.1", 0),
        application,
        handler_class=handler,
        log=None,
        error_log=None,
        **limits | settings,
    )


@pytest.mark.parametrize(
    ("end", "taking"),
    # The handler that takes the connection over differs for WebSockets only.
    [(end, taking) for end in ENDS for taking in (False, True) if not taking or "WebSocket" in end],
)
def test_every_end(uncollected, monkeypatch, end, taking):
    # What is reported keeps the frames that it came from.
    monkeypatch.setitem(vars(gevent.get_hub()), "handle_error", lambda *error: None)
    watched = Watched()
    with serving(watched, watched.taking if taking else watched.handler) as server:
        server.start()
        address = server.address
        ENDS[end](address)
        settle(watched)
        # The allocator may keep what was freed, once. What is not freed grows each time.
        grown = []
        while len(grown) < 4 and min(grown, default=LIMIT) >= LIMIT:
            before = resident()
            gevent.joinall(
                [gevent.spawn(ENDS[end], address) for _ in range(ROUNDS)], raise_error=True
            )
            assert watched.living or end == "leaves at once"
            assert settle(watched) == []
            grown.append(resident() - before)
        assert min(grown) < LIMIT


def test_the_end_of_the_server(uncollected):
    watched = Watched()
    server = serving(watched, watched.handler, idle_timeout=60)
    server.start()
    clients = [socket.create_connection(server.address) for _ in range(3)]
    clients[1].sendall(GET % b"/")
    clients[1].recv(1000)
    clients[2].sendall(request())
    clients[2].recv(1000)
    stopping = gevent.spawn(server.stop, 2)
    assert clients[2].recv(100)[2:] == b"\x03\xe9"
    stopping.join()
    for client in clients:
        client.close()
    assert settle(watched) == []
    assert server._service.busy == 0


@pytest.mark.parametrize("data", [GET % b"/", b"GET / HT", b"", None, POST % (b"/read", 9) + b"x"])
def test_ends_with_tls(uncollected, data):
    watched = Watched()
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    theirs.check_hostname, theirs.verify_mode = False, ssl.CERT_NONE
    client_context = SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname, client_context.verify_mode = False, ssl.CERT_NONE
    context = SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)

    def run(address):
        with socket.create_connection(address) as sock:
            sock.settimeout(20)
            if data is None:
                sock.sendall(b"\x16\x03\x01\x00\x05hello")
                with contextlib.suppress(OSError):
                    sock.recv(1000)
                return
            with client_context.wrap_socket(sock) as tls, contextlib.suppress(OSError):
                tls.sendall(data)
                if not data.startswith(b"GET / HTTP"):
                    return
                tls.recv(1000)

    with serving(watched, watched.handler, ssl_context=context) as server:
        server.start()
        gevent.joinall([gevent.spawn(run, server.address) for _ in range(5)], raise_error=True)
        assert settle(watched) == []
