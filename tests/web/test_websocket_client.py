"""The client: URLs, handshakes, closing; and a WebSocket library of others at either end."""

import pytest
from ports import free_port
from websocket_support import echo, serving
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    ServerPerMessageDeflateFactory,
)
from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

import gevent
from gevent import socket
from gevent.event import AsyncResult
from gevent.server import StreamServer
from gevent.websocket import HandshakeError, PerMessageDeflate, WebSocketError, connect
from gevent.websocket.connection import Stream


@pytest.fixture
def answering():
    """A server that answers every connection with given bytes: `answering(data)` is its URL."""
    servers = []

    def start(data: bytes, then=lambda sock: None) -> str:
        def serve(sock, address):
            sock.recv(65536)
            sock.sendall(data)
            then(sock)

        server = StreamServer(("127.0.0.1", 0), serve)
        server.start()
        servers.append(server)
        return f"ws://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.stop()


@pytest.mark.parametrize(
    "url", ["http://a/", "a", "ws://", "ws:///x", "ws://a/#fragment", "ws://a/x y", "ws://a:b/"]
)
def test_bad_urls(url):
    with pytest.raises(ValueError):  # noqa: PT011
        connect(url, sock=None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"headers": [("X", "a\r\nY: b")]},
        {"headers": {"X\r\nY": "b"}},
        {"origin": "a\nb"},
        {"protocols": ["a\r\n"]},
        {"compression": PerMessageDeflate(False, False, 8, 15)},
        {"compression": PerMessageDeflate(False, False, 15, 16)},
    ],
)
def test_what_cannot_be_sent(wrong):
    with pytest.raises(ValueError, match=r"header|window"):
        connect("ws://127.0.0.1:1/", **wrong)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", None),
        (b"SSH-2.0-x\r\n", None),
        (b"", None),
    ],
)
def test_a_server_that_does_not_agree(answering, answer, status):
    with pytest.raises(HandshakeError) as caught:
        connect(answering(answer), timeout=10)
    assert caught.value.status == status
    assert isinstance(caught.value, WebSocketError)


def test_a_server_that_does_not_answer(answering):
    with pytest.raises(TimeoutError):
        connect(answering(b"HTTP/1.1 101 ", lambda sock: sock.recv(1)), timeout=0.05)


def test_a_server_that_is_not_there():
    with pytest.raises(ConnectionRefusedError):
        connect(f"ws://127.0.0.1:{free_port()}/")


def test_headers_and_path():
    seen = []

    def application(environ, start_response):
        seen.extend(environ.get(name) for name in ("HTTP_X_Y", "HTTP_ORIGIN", "QUERY_STRING"))
        return echo(environ, start_response)

    with (
        serving(application) as served,
        connect(served.url + "/a?b=c", headers={"X-Y": "z"}, origin="http://o", timeout=10) as ws,
    ):
        ws.send("x")
        assert ws.receive() == "x"
        assert (ws.path, ws.environ, ws.handler, ws.origin) == ("/a", None, None, None)
        assert repr(ws).startswith("<ClientWebSocket /a open at 0x")
    assert seen == ["z", "http://o", "b=c"]
    assert ws.closed
    assert ws.close_code == 1000
    with pytest.raises(WebSocketError):
        ws.send("x")


def test_a_socket_of_ones_own():
    with serving(echo) as served:
        mine = socket.create_connection(served.address)
        with connect("ws://elsewhere/", sock=mine, timeout=10) as ws:
            ws.send("x")
            assert ws.receive() == "x"
        assert mine.fileno() == -1


def test_pongs_reach_the_client():
    with serving(echo) as served, connect(served.url, timeout=10) as ws:
        seen = []
        ws.handle_pong = seen.append
        ws.ping(b"q")
        ws.send("x")
        assert ws.receive() == "x"
        assert seen == [b"q"]


class Foreign:
    """The protocol of the library `websockets` over one of our sockets."""

    def __init__(self, protocol, sock):
        self.protocol = protocol
        self.sock = sock

    def flush(self):
        for data in self.protocol.data_to_send():
            if data:
                self.sock.sendall(data)

    def events(self):
        """Return the next events, at least one; none at the end."""
        while True:
            self.flush()
            if events := self.protocol.events_received():
                return events
            data = self.sock.recv(65536)
            if not data:
                return []
            self.protocol.receive_data(data)

    def message(self):
        """The next whole message, as bytes; control frames are left out."""
        content = b""
        while True:
            events = self.events()
            if not events:
                return None
            for event in events:
                if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                    content += event.data
                    if event.fin:
                        return content


MESSAGES = [b"", b"a", b"\xe2\x82\xac", b"x" * 125, b"x" * 126, b"y" * 65_535, bytes(65_536)]


@pytest.mark.parametrize("compress", [False, True])
def test_a_client_of_another_library(compress):
    extensions = [ClientPerMessageDeflateFactory(server_max_window_bits=10)] if compress else []
    ours = PerMessageDeflate() if compress else None
    with (
        gevent.Timeout(20),
        serving(echo, compression=ours) as served,
        socket.create_connection(served.address) as sock,
    ):
        protocol = ClientProtocol(parse_uri(served.url + "/"), extensions=extensions)
        foreign = Foreign(protocol, sock)
        protocol.send_request(protocol.connect())
        foreign.events()
        assert protocol.handshake_exc is None
        assert bool(protocol.extensions) == compress
        for message in MESSAGES:
            protocol.send_binary(message)
            assert foreign.message() == message
        protocol.send_text(b"a", fin=False)
        protocol.send_ping(b"p")
        protocol.send_continuation(b"b", fin=True)
        assert foreign.message() == b"ab"
        protocol.send_close(1000, "bye")
        while foreign.events():
            pass
        assert (protocol.close_rcvd.code, protocol.close_rcvd_then_sent) == (1000, False)


@pytest.mark.parametrize("compress", [False, True])
def test_a_server_of_another_library(compress):
    closed = AsyncResult()

    def serve(sock, address):
        extensions = [ServerPerMessageDeflateFactory()] if compress else []
        protocol = ServerProtocol(extensions=extensions)
        foreign = Foreign(protocol, sock)
        [request] = foreign.events()
        assert isinstance(request, Request)
        protocol.send_response(protocol.accept(request))
        foreign.flush()
        while (message := foreign.message()) is not None:
            protocol.send_binary(message[: len(message) // 2], fin=False)
            protocol.send_ping(b"p")
            protocol.send_continuation(message[len(message) // 2 :], fin=True)
            foreign.flush()
        closed.set((protocol.close_rcvd.code, protocol.close_rcvd.reason))
        sock.close()

    server = StreamServer(("127.0.0.1", 0), serve)
    server.start()
    try:
        url = f"ws://127.0.0.1:{server.server_port}/"
        ours = PerMessageDeflate(client_max_window_bits=11) if compress else None
        with connect(url, compression=ours, timeout=10) as ws:
            for message in MESSAGES:
                ws.send(message)
                assert ws.receive() == message
            ws.close(3001, "done")
        assert closed.get(timeout=10) == (3001, "done")
    finally:
        server.stop()


def test_stream_reads_as_much_as_was_asked_for(pair):
    one, other = pair
    other.sendall(b"hello")
    stream = Stream(one)
    assert stream.read(3) == b"hel"
    other.close()
    assert stream.read(10) == b"lo"
