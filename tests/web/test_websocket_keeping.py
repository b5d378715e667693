"""Limits, pings, origins and ends of WebSockets, and what a client takes."""

import base64
import contextlib
import hashlib
import re

import pytest
from conditions import until
from websocket_support import (
    echo,
    frame,
    read_frame,
    read_head,
    request,
    serving,
)

import gevent
from gevent import socket
from gevent.server import StreamServer
from gevent.websocket import HandshakeError, WebSocketServer, connect


@pytest.mark.parametrize("part", [frame(1, b"hello")[:3], frame(1, b"a", fin=False)])
def test_a_message_that_does_not_come(part):
    with serving(echo, message_timeout=0.1) as served, served.upgraded(part) as (_, file):
        assert read_frame(file)[1][:2] == b"\x03\xf0"
        assert read_frame(file) is None
        until(lambda: "message_timeout" in served.errors.getvalue())


def test_a_drip_of_a_message_is_no_progress():
    with serving(echo, message_timeout=0.3) as served, served.upgraded() as (sock, file):

        def drip():
            with contextlib.suppress(OSError):
                for byte in frame(2, b"x" * 10_000):
                    sock.sendall(bytes([byte]))
                    gevent.sleep(0.02)

        dripping = gevent.spawn(drip)
        assert read_frame(file)[1][:2] == b"\x03\xf0"
        dripping.kill()


def test_a_message_that_goes_on_may_take_longer():
    with serving(echo, message_timeout=1) as served, served.upgraded() as (sock, file):
        whole = frame(2, b"x" * 20_000)
        for at in range(0, len(whole), 1000):
            sock.sendall(whole[at : at + 1000])
            gevent.sleep(0.06)
        assert read_frame(file) == (2, b"x" * 20_000)


def test_silence_between_messages_is_no_message():
    with serving(echo, message_timeout=0.05) as served, served.upgraded() as (sock, file):
        gevent.sleep(0.2)
        sock.sendall(frame(1, b"x"))
        assert read_frame(file) == (1, b"x")


def test_a_client_that_takes_nothing():
    lost = []

    def application(environ, start_response):
        ws = environ["wsgi.websocket"]
        try:
            ws.send("x" * 30_000_000)
        except OSError:
            lost.append(ws.closed)
            raise
        return []

    with serving(application, close_timeout=0.05) as served:
        served.server.write_timeout = 0.2
        with served.upgraded():
            until(lambda: lost)
            until(lambda: "write_timeout" in served.errors.getvalue())
    assert lost == [True]


def test_pings():
    settings = {"ping_interval": 0.05, "ping_timeout": 1}
    with serving(echo, **settings) as served:
        with connect(served.url, timeout=20) as ws:
            # Whoever answers stays.
            with gevent.Timeout(1.5, False):
                ws.receive()
            assert not ws.closed
        with served.upgraded() as (_, file):
            assert read_frame(file) == (9, b"")
            while read_frame(file) is not None:
                pass
            until(lambda: "ping_timeout" in served.errors.getvalue())


@pytest.mark.parametrize(
    ("origin", "allowed", "status"),
    [
        ("http://a", ["same-origin"], b"101"),
        ("http://a:80", ["same-origin"], b"101"),
        ("https://a", ["same-origin"], b"403"),
        ("http://a:81", ["same-origin"], b"403"),
        ("http://evil", ["same-origin"], b"403"),
        ("http://evil:port", ["same-origin"], b"403"),
        ("null", ["same-origin"], b"403"),
        ("http://b", ["http://b", "same-origin"], b"101"),
        (None, ["same-origin"], b"101"),
        ("http://evil", None, b"101"),
    ],
)
def test_origins(origin, allowed, status):
    with (
        serving(echo, allowed_origins=allowed) as served,
        served.connection(request(Origin=origin)) as (_, file),
    ):
        assert read_head(file)[0].split()[1] == status


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ({"Content_Length": "7"}, frame(1, b"x")),
        ({"Transfer_Encoding": "chunked"}, b"7\r\n" + frame(1, b"x") + b"\r\n0\r\n\r\n"),
    ],
)
def test_a_body_is_not_taken_for_frames(fields, body):
    with serving(echo) as served, served.connection(request(**fields) + body) as (_, file):
        assert read_head(file)[0].split()[1] == b"400"
        assert b"\x81\x01x" not in file.read()


def test_the_iterable_is_closed():
    closed = []

    class Body:
        def __init__(self, ws):
            self.ws = ws

        def __iter__(self):
            return self

        def __next__(self):
            if self.ws.receive() is None:
                raise StopIteration
            return b""

        def close(self):
            closed.append(True)

    with serving(lambda environ, _: Body(environ["wsgi.websocket"])) as served:
        with served.upgraded(frame(8)) as (_, file):
            file.read()
        with served.upgraded():
            pass
        until(lambda: len(closed) == 2)


def test_a_server_that_stops_tells_everybody():
    with serving(echo) as served:
        clients = [connect(served.url, timeout=20) for _ in range(3)]
        stopping = gevent.spawn(served.server.stop, 5)
        for ws in clients:
            assert ws.receive() is None
            assert ws.close_code == 1001
            ws.disconnect()
        stopping.get(timeout=20)


def test_clients_of_a_unix_socket(socket_folder):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(socket_folder / "s"))
    listener.listen(8)
    with WebSocketServer(listener, echo, log=None) as server:
        server.start()
        clients = []
        for _ in range(2):
            client = socket.socket(socket.AF_UNIX)
            client.connect(str(socket_folder / "s"))
            client.sendall(request())
            client.recv(1000)
            clients.append(client)
        until(lambda: len(server.clients) == 2)
        clients.pop().close()
        until(lambda: len(server.clients) == 1)
        clients.pop().close()


AGREE = (
    b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %s\r\n\r\n"
)
EARLY = [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 x\r\nA: b\r\n\r\n" * 3]


@contextlib.contextmanager
def answering(answer):
    """A server that answers a handshake with this; the accept of its key in the place of `%s`."""
    seen = []

    def handle(sock, _):
        data = sock.recv(5000)
        seen.append(data)
        key = re.search(rb"Sec-WebSocket-Key: (\S+)", data)[1]
        digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        sock.sendall(answer.replace(b"%s", base64.b64encode(digest)))
        sock.recv(100)

    with StreamServer(("127.0.0.1", 0), handle) as server:
        server.start()
        yield f"127.0.0.1:{server.server_port}", seen


@pytest.mark.parametrize("before", EARLY)
def test_answers_before_the_answer(before):
    with answering(before + AGREE) as (place, _):
        connect(f"ws://{place}/", timeout=20).disconnect(timeout=0)


def test_http_1_0_is_no_agreement():
    with (
        answering(AGREE.replace(b"HTTP/1.1", b"HTTP/1.0")) as (place, _),
        pytest.raises(HandshakeError),
    ):
        connect(f"ws://{place}/", timeout=20)


def test_one_host_and_the_user_of_the_url():
    with answering(AGREE) as (place, seen):
        connect(f"ws://me:p%40ss@{place}/", headers={"host": "b"}, timeout=20).disconnect(timeout=0)
    assert seen[0].lower().count(b"\r\nhost:") == 1
    assert b"\r\nhost: b\r\n" in seen[0]
    assert b"\r\nAuthorization: Basic bWU6cEBzcw==\r\n" in seen[0]
