"""Shared by the tests of WebSockets: frames made by hand, and a server to send them to."""

import contextlib
import io
from collections.abc import Iterator

import gevent
from gevent import socket
from gevent.pywsgi import WSGIServer
from gevent.websocket import WebSocketHandler

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

FIELDS = {
    "Host": "a",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


def request(path="/", method="GET", version="1.1", **fields) -> bytes:
    """A request for a WebSocket; a field given as None is left out."""
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    lines = [f"{name}: {value}" for name, value in (FIELDS | named).items() if value is not None]
    return "\r\n".join([f"{method} {path} HTTP/{version}", *lines, "", ""]).encode()


def frame(opcode, payload=b"", *, fin=True, rsv=0, mask=True) -> bytes:
    """A frame as a client sends it."""
    length = len(payload)
    bit = 0x80 if mask else 0
    if length < 126:
        size = bytes([bit | length])
    elif length < 65536:
        size = bytes([bit | 126]) + length.to_bytes(2, "big")
    else:
        size = bytes([bit | 127]) + length.to_bytes(8, "big")
    head = bytes([fin << 7 | rsv << 4 | opcode]) + size
    if not mask:
        return head + payload
    key = b"\x01\x02\x03\x04"
    return head + key + bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))


def read_frame(file) -> tuple[int, bytes] | None:
    """The opcode and payload of a server's frame, or None at the end."""
    head = file.read(2)
    if len(head) < 2:
        return None
    assert head[0] & 0xF0 == 0x80, "whole, and not compressed"
    length = head[1]
    if length == 126:
        length = int.from_bytes(file.read(2), "big")
    elif length == 127:
        length = int.from_bytes(file.read(8), "big")
    return head[0] & 0x0F, file.read(length)


def read_frames(file) -> list[tuple[int, bytes]]:
    """All frames up to the end of the connection."""
    return list(iter(lambda: read_frame(file), None))


def read_head(file) -> tuple[bytes, dict[bytes, bytes]]:
    """The status line and the fields of a response, in lower case."""
    status = file.readline().rstrip()
    fields = {}
    while line := file.readline().rstrip():
        name, _, value = line.partition(b":")
        fields[name.lower()] = value.strip()
    return status, fields


class Served:
    """A running server, what it logged, and connections to it."""

    def __init__(self, server: WSGIServer) -> None:
        self.server = server
        self.errors = server.error_log
        self.address = ("127.0.0.1", server.server_port)
        self.url = f"ws://127.0.0.1:{server.server_port}"

    @contextlib.contextmanager
    def connection(self, data: bytes = b"") -> Iterator[tuple[socket.socket, io.BufferedReader]]:
        """A socket on which `data` was sent, and a file to read from it."""
        with (
            gevent.Timeout(20),
            socket.create_connection(self.address) as sock,
            sock.makefile("rb") as file,
        ):
            sock.sendall(data)
            yield sock, file

    @contextlib.contextmanager
    def upgraded(self, data: bytes = b"", path="/", **fields):
        """The same, with the handshake done and `data` sent with it."""
        with self.connection(request(path, **fields) + data) as (sock, file):
            status, _ = read_head(file)
            assert status == b"HTTP/1.1 101 Switching Protocols"
            yield sock, file


@contextlib.contextmanager
def serving(application, handler=WebSocketHandler, server=WSGIServer, spawn="default", **settings):
    """Run a server of `application`; further settings are attributes of its handler's class."""
    name = f"{handler.__name__}OfTest"
    made = server(
        ("127.0.0.1", 0),
        application,
        handler_class=type(name, (handler,), settings),
        spawn=spawn,
        log=None,
        error_log=io.StringIO(),
    )
    made.start()
    try:
        yield Served(made)
    finally:
        made.stop(1)


def echo(environ, start_response):
    """Send every message back."""
    ws = environ.get("wsgi.websocket")
    if ws is None:
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
        return [b"plain"]
    while (message := ws.receive()) is not None:
        ws.send(message)
    return []
