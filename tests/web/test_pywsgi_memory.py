"""The memory that connections held goes back to the kernel, also when they end in turns.

Memory that was freed stays resident where it lies between memory in use, which connections that
begin and end in turns bring about.
"""

import gc
import random
import struct
import zlib
from collections.abc import Callable

import pytest
from websocket_support import request

import gevent
from gevent import socket
from gevent.pywsgi import WSGIServer
from gevent.websocket import PerMessageDeflate, WebSocketHandler

SIZE = 1 << 20
#: How many connections are open at a time, and how many there are in all.
OPEN, ALL = 20, 60
#: How much of the bytes that connections held at a time may stay.
LIMIT = OPEN * SIZE // 3

KEY = b"\0\0\0\0"
UPGRADE = request(Sec_WebSocket_Extensions="permessage-deflate")


class Handler(WebSocketHandler):
    compression = PerMessageDeflate()


def application(environ, start_response):
    ws = environ.get("wsgi.websocket")
    if ws is not None:
        while ws.receive() is not None:
            pass
        return []
    if environ["PATH_INFO"] == "/line":
        environ["wsgi.input"].readline()
    elif environ["PATH_INFO"] == "/lines":
        environ["wsgi.input"].readlines()
    else:
        environ["wsgi.input"].read()
    start_response("200 OK", [])
    return []


def message(part: int) -> bytes:
    head = b"\x02\xff" + struct.pack("!Q", SIZE + 9) + KEY
    return UPGRADE + head + b"x" * part


def fragments(part: int) -> bytes:
    fragment = b"\xff" + struct.pack("!Q", SIZE // 8) + KEY + b"x" * (SIZE // 8)
    return UPGRADE + b"\x02" + fragment + (b"\x00" + fragment) * (part * 8 // SIZE)


def compressed(part: int) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    data = deflate.compress(bytes(part)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    return UPGRADE + b"\x42\xff" + struct.pack("!Q", len(data) + (1 << 16)) + KEY + data


def upload(path: str) -> Callable[[int], bytes]:
    return lambda part: (
        b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (path.encode(), SIZE + 9)
        + b"x" * part
    )


def chunks(part: int) -> bytes:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n" % (SIZE + 9) + b"x" * part


KINDS = {
    "message": message,
    "message in fragments": fragments,
    "compressed message": compressed,
    "upload": upload("/"),
    "upload of one line": upload("/line"),
    "upload as lines": upload("/lines"),
    "upload in chunks": chunks,
}


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def turns(connect: Callable[[], socket.socket], data: Callable[[int], bytes]) -> int:
    """Let connections begin and end in turns, and return how many bytes the server held."""
    chosen, clients, before, held = random.Random(1), [], resident(), 0
    for _ in range(ALL):
        client = connect()
        client.sendall(data(chosen.choice((SIZE, SIZE * 3 // 4, SIZE // 2))))
        clients.append(client)
        # The server takes what was sent.
        gevent.sleep(0.003)
        held = max(held, resident() - before)
        if len(clients) == OPEN:
            clients.pop(chosen.randrange(OPEN)).close()
    chosen.shuffle(clients)
    for client in clients:
        client.close()
        gevent.sleep(0)
    return held


@pytest.mark.parametrize(
    ("kind", "secure"),
    [*((kind, False) for kind in KINDS), ("message", True), ("upload", True)],
)
def test_connections_that_end_in_turns(contexts, kind, secure):
    theirs, ours = contexts
    extra = {"ssl_context": theirs} if secure else {}
    server = WSGIServer(
        ("127.0.0.1", 0), application, handler_class=Handler, log=None, error_log=None, **extra
    )

    def connect():
        sock = socket.create_connection(server.address)
        return ours.wrap_socket(sock, server_hostname="localhost") if secure else sock

    def settle():
        with gevent.Timeout(20, False):
            while server._service.busy:
                gevent.sleep(0.02)
        assert server._service.busy == 0
        gc.collect()

    with server:
        server.start()
        # The first ones make what is made once.
        turns(connect, KINDS[kind])
        settle()
        before = resident()
        held = turns(connect, KINDS[kind])
        settle()
        assert held > LIMIT
        assert resident() - before < LIMIT
