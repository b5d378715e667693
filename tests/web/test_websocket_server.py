"""WebSockets of a server: handshakes, sending and receiving, the close, applications by path."""

import pytest
from conditions import settle, until
from paths import CERTIFICATE
from websocket_support import (
    ACCEPT,
    echo,
    frame,
    read_frame,
    read_frames,
    read_head,
    request,
    serving,
)

import gevent
from gevent import socket, ssl
from gevent.pywsgi import WSGIServer
from gevent.websocket import (
    MSG_ALREADY_CLOSED,
    MSG_SOCKET_DEAD,
    PerMessageDeflate,
    Resource,
    WebSocketApplication,
    WebSocketError,
    WebSocketHandler,
    WebSocketServer,
    connect,
)

TEXT, CLOSE, PING = 1, 8, 9


def ws_only(function):
    """An application that is given the WebSocket alone."""

    def application(environ, start_response):
        function(environ["wsgi.websocket"])
        return []

    return application


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 101),
        ({"Connection": "keep-alive, Upgrade"}, 101),
        ({"Upgrade": "WebSocket", "Connection": "UPGRADE"}, 101),
        ({"Upgrade": "h2c, WebSocket"}, 101),
        ({"Sec_WebSocket_Version": "8"}, 101),
        ({"Sec_WebSocket_Version": "12"}, 426),
        ({"Sec_WebSocket_Version": None}, 426),
        ({"Sec_WebSocket_Key": None}, 400),
        ({"Sec_WebSocket_Key": "abc"}, 400),
        ({"Sec_WebSocket_Key": "AAAA"}, 400),
        ({"version": "1.0"}, 400),
        ({"Upgrade": None}, 200),
        ({"Upgrade": "h2c"}, 200),
        ({"Connection": None}, 200),
        ({"method": "POST", "Content_Length": "0"}, 200),
    ],
)
def test_handshake(fields, status):
    with serving(echo) as served, served.connection(request(**fields)) as (_, file):
        line, answered = read_head(file)
        assert int(line.split()[1]) == status
        if status == 101:
            assert answered[b"sec-websocket-accept"] == ACCEPT
            assert answered[b"upgrade"] == b"websocket"
            assert answered[b"connection"] == b"Upgrade"
        elif status == 426:
            assert answered[b"sec-websocket-version"] == b"13, 8, 7"
        elif status == 200:
            assert file.read(5) == b"plain"
        if status >= 400:
            file.read(int(answered[b"content-length"]))
            assert file.read() == b""
        assert served.errors.getvalue() == ""


def test_what_an_application_sees():
    seen = []

    def application(environ, start_response):
        ws = environ["wsgi.websocket"]
        seen.append((ws.path, ws.origin, ws.version, ws.protocol, ws.closed))
        seen.append(environ["wsgi.websocket_version"])
        seen.append((ws.environ is environ, ws.handler.websocket is ws))
        seen.append([client.ws is ws for client in ws.handler.server.clients.values()])
        ws.close()
        seen.append((ws.closed, ws.stream))
        return []

    with (
        serving(application, server=WebSocketServer, close_timeout=0.02) as served,
        served.upgraded(b"", "/p?q", Origin="http://o", Sec_WebSocket_Protocol="a, b") as (_, file),
    ):
        assert read_frames(file) == [(8, b"\x03\xe8")]
        assert seen == [
            ("/p", "http://o", "13", "a, b", False),
            "13",
            (True, True),
            [True],
            (True, None),
        ]
        assert served.server.clients == {}


def test_what_is_received_and_sent():
    received = []

    def application(ws):
        received.extend(ws.receive() for _ in range(2))
        for message, binary in [
            ("té", None),
            ("té", True),
            (b"b", None),
            (bytearray(b"b"), None),
            (memoryview(b"b"), None),
            (b"t\xc3\xa9", False),
        ]:
            ws.send(message, binary)
        for wrong in (None, 5, 1.5, ["x"]):
            with pytest.raises(TypeError):
                ws.send(wrong)
        with pytest.raises(ValueError, match="UTF-8"):
            ws.send(b"\xff", binary=False)
        ws.send_frame("f", ws.OPCODE_TEXT)
        with pytest.raises(ValueError, match="too long"):
            ws.ping(b"x" * 126)
        ws.ping(b"q")

    with serving(ws_only(application)) as served:
        messages = frame(1, b"t\xc3\xa9") + frame(2, b"\xff")
        with served.upgraded(messages + frame(8)) as (_, file):
            sent = read_frames(file)
        assert served.errors.getvalue() == ""
    assert received == ["té", bytearray(b"\xff")]
    assert type(received[1]) is bytearray
    text, content = (1, b"t\xc3\xa9"), (2, b"b")
    assert sent[:6] == [text, (2, b"t\xc3\xa9"), content, content, content, text]
    assert sent[6:] == [(1, b"f"), (9, b"q"), (8, b"\x03\xe8")]


def test_after_the_end():
    ended = []

    def application(ws):
        ended.extend([ws.receive(), ws.closed, ws.stream, ws.close_code, ws.close_reason])
        with pytest.raises(WebSocketError, match=MSG_ALREADY_CLOSED):
            ws.receive()
        with pytest.raises(WebSocketError, match=MSG_SOCKET_DEAD):
            ws.send("x")
        ws.close()
        ended.append("closed twice")

    for data, code, reason in [
        (frame(8, b"\x0b\xb8bye"), 3000, "bye"),
        (frame(8), 1005, ""),
        (frame(1, b"\xff"), 1007, "invalid UTF-8"),
    ]:
        with (
            serving(ws_only(application), close_timeout=0.02) as served,
            served.upgraded(data) as (_, file),
        ):
            while read_frame(file):
                pass
        assert ended == [None, True, None, code, reason, "closed twice"]
        ended.clear()


def test_a_lost_connection():
    def application(ws):
        ended.extend([ws.receive(), ws.close_code])

    ended = []
    with serving(ws_only(application)) as served:
        with served.upgraded(b"\x81"):
            pass
        with gevent.Timeout(10):
            while not ended:
                gevent.sleep(0.01)
    assert ended == [None, 1006]


@pytest.mark.parametrize("code", [0, 999, 1005, 1006, 2999, 5000])
def test_a_code_that_may_not_be_sent(code):
    def application(ws):
        with pytest.raises(ValueError, match="code"):
            ws.close(code)
        with pytest.raises(ValueError, match="too long"):
            ws.close(1000, "x" * 124)
        assert not ws.closed
        ws.close(4000, b"because")

    with serving(ws_only(application)) as served, served.upgraded() as (sock, file):
        assert read_frame(file) == (8, b"\x0f\xa0because")
        sock.sendall(frame(8))
        assert read_frame(file) is None


def test_the_server_waits_for_the_answer_to_its_close():
    with serving(lambda *_: [], close_timeout=20) as served, served.upgraded() as (sock, file):
        assert read_frame(file) == (8, b"\x03\xe8")
        # What was on its way is dropped; the connection stays until the close is answered.
        sock.sendall(frame(1, b"late"))
        with gevent.Timeout(0.05, False):
            file.peek()
            pytest.fail("the connection was closed at once")
        sock.sendall(frame(8, b"\x03\xe8"))
        assert read_frame(file) is None


def test_a_client_that_does_not_answer_a_close():
    with serving(lambda *_: [], close_timeout=0.02) as served, served.upgraded() as (_, file):
        assert read_frames(file) == [(8, b"\x03\xe8")]


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_bytes_behind_a_close_do_not_cost_the_client_what_it_has_not_read(secure, contexts):
    theirs, ours = contexts if secure else (None, None)
    seen = []

    def application(environ, start_response):
        seen.append(environ["wsgi.websocket"])
        return echo(environ, start_response)

    handler = type("Handler", (WebSocketHandler,), {"close_timeout": 0.3})
    made = {"ssl_context": theirs} if secure else {}
    server = WSGIServer(("127.0.0.1", 0), application, handler_class=handler, log=None, **made)
    server.start()
    message = b"x" * 300_000
    try:
        with gevent.Timeout(20), socket.socket() as sock:
            # Most of the answer has to stay on the server's side for now.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(server.address)
            sock = ours.wrap_socket(sock, server_hostname="localhost") if secure else sock
            with sock, sock.makefile("rb") as file:
                sock.sendall(request("/") + frame(TEXT, message) + frame(CLOSE, b"\x03\xe8"))
                until(lambda: seen and seen[0].closed)
                sock.sendall(frame(PING))
                until(lambda: not server.clients)
                settle()
                read_head(file)
                assert read_frame(file) == (TEXT, message)
                assert read_frame(file) == (CLOSE, b"\x03\xe8")
                assert file.read() == b""
    finally:
        server.stop()


def test_an_application_that_fails(printed):
    def failing(ws):
        raise RuntimeError("secret")

    with serving(ws_only(failing)) as served, served.upgraded() as (sock, file):
        assert read_frame(file) == (8, b"\x03\xf3")
        sock.sendall(frame(8))
        assert file.read() == b""
    with gevent.Timeout(20):
        while "RuntimeError: secret" not in printed.getvalue():
            gevent.sleep(0.01)


def test_a_timeout_keeps_what_came():
    received = []

    def application(ws):
        with gevent.Timeout(0.01, False):
            ws.receive()
        go_on.set()
        received.append(ws.receive())

    go_on = gevent.event.Event()
    with serving(ws_only(application)) as served, served.upgraded(frame(1, b"hello")[:8]) as (s, _):
        assert go_on.wait(10)
        s.sendall(frame(1, b"hello")[8:] + frame(8))
        assert read_frames(_) == [(8, b"\x03\xe8")]
    assert received == ["hello"]


@pytest.mark.parametrize("compression", [None, PerMessageDeflate()])
def test_messages_of_many_senders_stay_whole(compression):
    def application(ws):
        def send(letter):
            for size in (1, 300_000, 70_000):
                ws.send(letter * size)

        gevent.joinall([gevent.spawn(send, letter) for letter in "abcdefgh"], raise_error=True)

    with (
        serving(ws_only(application), compression=compression) as served,
        connect(served.url, compression=compression, timeout=10) as ws,
    ):
        gevent.sleep(0.05)  # the server's buffers fill meanwhile
        messages = list(iter(ws.receive, None))
    assert sorted((m[0], len(m)) for m in messages) == [
        (letter, size) for letter in "abcdefgh" for size in (1, 70_000, 300_000)
    ]
    assert all(set(message) == {message[0]} for message in messages)


def test_a_bomb():
    """CVE-2021-21419: a message that is small on the wire."""
    agreed = PerMessageDeflate()
    with serving(echo, compression=agreed, max_message_size=100_000) as served:
        with connect(served.url, compression=agreed, timeout=10) as ws:
            ws.send(b"\0" * 100_000)
            assert ws.receive() == bytes(100_000)
            ws.send(b"\0" * 10_000_000)
            assert ws.receive() is None
        assert ws.close_code == 1009


@pytest.mark.parametrize(
    "offer",
    [
        PerMessageDeflate(),
        PerMessageDeflate(True, True),
        PerMessageDeflate(True, False, 10, 9),
        PerMessageDeflate(False, True, 9, 15),
    ],
)
@pytest.mark.parametrize("have", [PerMessageDeflate(), PerMessageDeflate(True, True, 11, 12), None])
def test_compression(offer, have):
    with (
        serving(echo, compression=have) as served,
        connect(served.url, compression=offer, timeout=10) as ws,
    ):
        for message in ["", "", "a" * 70_000, "again", "again", bytearray(range(256)) * 300]:
            ws.send(message)
            assert ws.receive() == message


def test_with_tls():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    server = WSGIServer(
        ("127.0.0.1", 0), echo, handler_class=WebSocketHandler, log=None, ssl_context=context
    )
    server.start()
    try:
        trusting = ssl.create_default_context(cafile=CERTIFICATE)
        url = f"wss://localhost:{server.server_port}/"
        with connect(url, ssl_context=trusting, timeout=10) as ws:
            for message in ("hi", "x" * 500_000):
                ws.send(message)
                assert ws.receive() == message
    finally:
        server.stop()


def test_a_server_that_stops():
    with (
        serving(echo, spawn=10, close_timeout=60) as served,
        connect(served.url, timeout=10) as ws,
        gevent.Timeout(20),
    ):
        ws.send("x")
        assert ws.receive() == "x"
        served.server.stop(0.01)
        assert ws.receive() is None
        assert ws.close_code == 1001


def test_a_client_that_does_not_read():
    over, senders = gevent.event.Event(), []

    def application(environ, start_response):
        ws = environ["wsgi.websocket"]
        senders.append(gevent.spawn(ws.send, "x" * 30_000_000))
        gevent.sleep(0.01)
        return []

    class Noting(WebSocketHandler):
        close_timeout = 0.02

        def run_websocket(self):
            super().run_websocket()
            over.set()

    with serving(application, handler=Noting) as served, served.upgraded():
        assert over.wait(20)
    gevent.killall(senders)


class Told(WebSocketApplication):
    """An application that says what happens to it."""

    subprotocols = ("new", "old")
    events: list

    def on_open(self):
        self.events.append(("open", self.ws.path, self.ws.protocol, self.ws.current_app is self))

    def on_message(self, message):
        self.events.append(message)
        if message is not None:
            self.ws.send(message)

    def on_close(self, reason):
        self.events.append(("close", reason))


@pytest.fixture
def told():
    return type("ToldOfTest", (Told,), {"events": []})


def plain(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"plain " + environ["PATH_INFO"].encode()]


@pytest.mark.parametrize("form", [list, dict])
def test_applications_by_path(told, form):
    resource = Resource(form([("/ws$", told), ("/", plain), ("/other", told)]))
    assert resource.app_protocol("/ws") == "new"
    assert resource.app_protocol("/nowhere") == ""
    with serving(resource, server=WebSocketServer) as served:
        goodbye = frame(8, b"\x03\xe8")
        with served.upgraded(frame(1, b"hi") + goodbye, path="/ws") as (_, file):
            assert read_frames(file) == [(1, b"hi"), (8, b"\x03\xe8")]
        opened = ("open", "/ws", None, True)
        assert told.events == [opened, "hi", None, ("close", None)]
        with served.upgraded(goodbye, path="/other/more"):
            pass
        with served.connection(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") as (
            _,
            f,
        ):
            assert f.read().endswith(b"\r\n\r\nplain /ws")
        with served.connection(request("/ws/x")) as (_, file):
            assert read_head(file)[0] == b"HTTP/1.1 404 Not Found"
        assert served.errors.getvalue() == ""


def test_no_application_for_a_path(told):
    resource = Resource([("/ws", told)])
    with serving(resource) as served, served.connection(b"GET / HTTP/1.0\r\n\r\n") as (_, file):
        assert read_head(file)[0] == b"HTTP/1.1 404 Not Found"


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(("old", "new"), "new"), (("x", "old"), "old"), (("x",), None), ((), None)],
)
def test_subprotocols(told, offered, chosen):
    with (
        serving(Resource([("/", told)])) as served,
        connect(served.url, protocols=offered, timeout=10) as ws,
    ):
        assert ws.protocol == chosen


def test_a_handler_that_chooses_the_subprotocol():
    class Choosing(WebSocketHandler):
        def choose_protocol(self, offered):
            return offered[-1]

    with (
        serving(echo, handler=Choosing) as served,
        connect(served.url, protocols=["a", "b"], timeout=10) as ws,
    ):
        assert ws.protocol == "b"


def test_a_handler_that_calls_no_application():
    upgraded = []

    class Taking(WebSocketHandler):
        prevent_wsgi_call = True

        def run_application(self):
            super().run_application()
            upgraded.append(self.websocket.receive())

    def never(environ, start_response):
        raise AssertionError("it was called")

    with serving(never, handler=Taking) as served, served.upgraded(frame(1, b"x")) as (_, file):
        assert file.read() == b""
    assert upgraded == ["x"]
