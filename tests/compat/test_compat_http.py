"""Names of gevent 0.13: the HTTP servers that were libevent's."""

import http.client
import importlib
import socket
import warnings
from contextlib import contextmanager

import pytest
from ports import free_port

import gevent
from gevent import core
from gevent.event import Event
from gevent.pool import Pool
from gevent.socket import create_connection

pytestmark = pytest.mark.filterwarnings("ignore:.*is of gevent 0.13:DeprecationWarning")


def old(name):
    with warnings.catch_warnings(action="ignore"):
        return importlib.import_module(f"gevent.{name}")


@contextmanager
def http_server(handle, **options):
    server = old("http").HTTPServer(("127.0.0.1", 0), handle, **options)
    server.start()
    try:
        yield server.address
    finally:
        server.stop()


def ask(address, head, body=b""):
    """Send a request as it is; return everything that comes back until the end of connection."""
    with create_connection(address, timeout=20) as client:
        client.sendall(head.replace("\n", "\r\n").encode() + body)
        received = b""
        while chunk := client.recv(65536):
            received += chunk
    return received


def get(address, target="/", fields=""):
    head, _, body = ask(address, f"GET {target} HTTP/1.1\nHost: test\n{fields}\n").partition(
        b"\r\n\r\n"
    )
    status, *lines = head.decode().split("\r\n")
    return status, dict(line.lower().split(": ", 1) for line in lines), body


def test_reply():
    def handle(request):
        if request.uri == "/":
            request.add_output_header("Content-Type", "text/html")
            request.send_reply(200, "OK", "<b>hello world</b>")
        else:
            request.send_reply(404, "Not Found", "<h1>Not Found</h1>")

    with http_server(handle) as address:
        status, fields, body = get(address)
        assert (status, body) == ("HTTP/1.1 200 OK", b"<b>hello world</b>")
        assert fields["content-type"] == "text/html"
        assert fields["content-length"] == "18"
        assert fields["connection"] == "close"
        status, _, body = get(address, "/other")
        assert (status, body) == ("HTTP/1.1 404 Not Found", b"<h1>Not Found</h1>")


def test_what_a_request_tells():
    seen = {}

    def handle(request):
        for name in (
            *("typestr", "type", "uri", "version", "major", "minor", "remote", "remote_host"),
            *("remote_port", "kind", "chunked", "response"),
        ):
            seen[name] = getattr(request, name)
        seen["peer"] = request.connection.peer
        seen["header"] = request.find_input_header("x-KEY")
        seen["type header"] = request.find_input_header("Content-Type")
        seen["missing"] = request.find_input_header("Missing")
        seen["headers"] = dict(request.get_input_headers())
        seen["lines"] = list(request.input_buffer)
        seen["repr"] = repr(request)
        request.send_reply(204)
        seen["code"] = request.response_code, request.response_code_line, request.response

    with http_server(handle) as address:
        received = ask(
            address,
            "POST /a%20b/c?d=e%20f HTTP/1.1\nHost: test\nX-Key: value\nContent-Type: text/plain\n"
            "Content-Length: 7\n\n",
            b"one\ntwo",
        )
    assert received.startswith(b"HTTP/1.1 204 No Content\r\n")
    host, port = seen["remote"]
    assert seen["repr"].startswith("<http_request at 0x")
    assert seen["repr"].endswith(f" POST /a%20b/c?d=e%20f HTTP/1.1 from 127.0.0.1:{port} code=0>")
    assert (host, seen["remote_host"], seen["remote_port"]) == ("127.0.0.1", host, port)
    assert seen["peer"] == (host, port)
    assert (seen["typestr"], seen["type"]) == ("POST", 1)
    assert seen["uri"] == "/a%20b/c?d=e%20f"
    assert (seen["version"], seen["major"], seen["minor"]) == ((1, 1), 1, 1)
    assert (seen["header"], seen["type header"]) == ("value", "text/plain")
    assert seen["missing"] is None
    assert seen["headers"]["Content-Length"] == "7"
    assert seen["lines"] == [b"one\n", b"two"]
    assert (seen["chunked"], seen["response"]) == (False, (0, ""))
    assert seen["code"] == (204, "No Content", (204, "No Content"))


def test_headers_can_be_changed():
    def handle(request):
        request.add_input_header("Added", "1")
        assert request.find_input_header("added") == "1"
        assert request.remove_input_header("ADDED")
        assert not request.remove_input_header("Added")
        request.clear_input_headers()
        assert request.get_input_headers() == []
        request.add_output_header("Gone", "1")
        request.clear_output_headers()
        request.add_output_header("Removed", "1")
        assert request.remove_output_header("removed")
        assert not request.remove_output_header("removed")
        request.add_output_header("Kept", 2)
        assert request.get_output_headers() == [("Kept", "2")]
        assert request.find_output_header("kept") == "2"
        request.send_reply(200, "Fine", b"")

    with http_server(handle, default_response_headers=[("Kept", "0"), ("Default", "3")]) as address:
        status, fields, _ = get(address, fields="Connection: close\n")
    assert status == "HTTP/1.1 200 Fine"
    assert (fields["kept"], fields["default"]) == ("2", "3")
    assert not {"gone", "removed"} & set(fields)


def test_a_reply_in_pieces():
    def handle(request):
        request.send_reply_start(200, "OK")
        assert request.chunked
        request.send_reply_chunk("one")
        request.send_reply_chunk("")
        gevent.sleep(0.01)
        request.send_reply_chunk(b"two")
        request.send_reply_end()

    with http_server(handle) as address:
        _, fields, body = get(address)
    assert fields["transfer-encoding"] == "chunked"
    assert body == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"


def test_a_reply_that_comes_later():
    def handle(request):
        gevent.spawn_later(0.01, request.send_reply, 200, "OK", "later")

    with http_server(handle) as address:
        assert get(address)[2] == b"later"


def test_output_buffer_comes_first():
    def handle(request):
        request.output_buffer.write(b"before ")
        request.send_reply(200, "OK", "after")

    with http_server(handle) as address:
        assert get(address)[2] == b"before after"


def test_no_reply_is_an_error():
    with http_server(lambda request: None) as address:
        status, _, body = get(address)
    assert status == "HTTP/1.1 500 Internal Server Error"
    assert b"500 Internal Server Error" in body


def test_a_handler_that_fails(capsys):
    with http_server(lambda request: 1 / 0) as address:
        status, _, _ = get(address)
    assert status == "HTTP/1.1 500 Internal Server Error"
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_detach():
    kept = []

    def handle(request):
        kept.append(request)
        request.send_reply(200, "OK", "kept")
        request.detach()

    with http_server(handle) as address:
        assert get(address)[2] == b"kept"
    request = kept.pop()
    assert (request.uri, request.typestr, request.type) == ("", "", -1)
    assert request.input_buffer.read() == b""
    request.send_reply(200, "OK", "nobody listens")


def test_the_server_of_core():
    where = []

    def handle(request):
        where.append(gevent.getcurrent() is gevent.get_hub())
        request.send_reply(200, "OK", request.uri)

    server = core.http(handle, [("Default", "value"), ("Connection", "close")])
    assert server.handle is handle
    address = server.bind(port=free_port())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.accept(listener.fileno())
        for place in address, listener.getsockname():
            _, fields, body = get(place, "/where")
            assert (fields["default"], body) == ("value", b"/where")
        server.close()
        assert listener.fileno() != -1
    assert where == [True, True]
    with pytest.raises(OSError, match="refused"):
        create_connection(address)


def test_a_subclass_with_a_handler_of_its_own():
    class Server(old("http").HTTPServer):
        def handle(self, request):
            request.send_reply(200, "OK", f"{type(self).__name__} {request.uri}")

    server = Server(("127.0.0.1", 0))
    server.start()
    try:
        assert get(server.address, "/a")[2] == b"Server /a"
    finally:
        server.stop()


def test_a_server_without_a_handler():
    with pytest.raises(TypeError, match="'handle' must be provided"):
        old("http").HTTPServer(("127.0.0.1", 0))


@pytest.mark.parametrize("body", [lambda: core.buffer(b"abc"), lambda: bytearray(b"abc")])
def test_a_body_of_any_kind(body):
    made = []

    def handle(request):
        made.append(body())
        request.send_reply(200, "OK", made[0])

    with http_server(handle) as address:
        assert get(address)[2] == b"abc"
    if isinstance(made[0], core.buffer):
        assert len(made[0]) == 0, "it is drained"


def test_a_body_in_pieces_of_any_kind():
    def handle(request):
        request.send_reply_start(200, "OK")
        for part in (core.buffer(b"a"), "b", b"", None, memoryview(b"c")):
            request.send_reply_chunk(part)
        request.send_reply_end()

    with http_server(handle) as address:
        assert get(address)[2] == b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n"


def test_a_body_that_cannot_be_sent(printed):
    with http_server(lambda request: request.send_reply(200, "OK", 5)) as address:
        assert get(address)[0] == "HTTP/1.1 500 Internal Server Error"
    assert "TypeError: a reply must consist of str, bytes, a " in printed.getvalue()


def test_no_body():
    with http_server(lambda request: request.send_reply(200, "OK", None)) as address:
        _, fields, body = get(address)
    assert (fields["content-length"], body) == ("0", b"")


@pytest.mark.parametrize("spawn", ["default", "raw", None, 1, gevent.spawn_raw, gevent.spawn])
def test_where_handlers_run(spawn):
    where = []

    def handle(request):
        where.append(gevent.getcurrent())
        request.send_reply(200, "OK", "x")

    with http_server(handle, spawn=spawn) as address:
        assert get(address)[2] == b"x"
    [current] = where
    assert (current is gevent.get_hub()) == (spawn is None)
    assert isinstance(current, gevent.Greenlet) == (spawn in ("default", 1, gevent.spawn))


def test_the_requests_that_are_held():
    held = []
    server = core.http(held.append)
    assert server._requests is not None
    address = server.bind(port=0)
    asked = gevent.spawn(get, address, "/", "Connection: close\n")
    with gevent.Timeout(20):
        while not held:
            gevent.sleep(0.001)
        assert server.requests == set(held)
        held[0].send_reply(200, "OK", "x")
        assert server.requests == set()
        assert asked.get()[2] == b"x"
    server.close()
    with pytest.raises(TypeError, match="handle must be callable"):
        core.http(None)


class TestFullPools:
    """gevent.http and gevent.wsgi accept while their pool is full, and answer 503."""

    @contextmanager
    def serving(self, kind, entered, may_go, spawn):
        def handle(request):
            entered.append(request.uri)
            may_go.wait()
            request.send_reply(200, "OK", "done")

        def application(environ, start_response):
            entered.append(environ["PATH_INFO"])
            may_go.wait()
            start_response("200 OK", [])
            return [b"done"]

        if kind == "http":
            server = old("http").HTTPServer(("127.0.0.1", 0), handle, spawn=spawn)
        else:
            server = old("wsgi").WSGIServer(("127.0.0.1", 0), application, spawn=spawn, log=None)
        server.start()
        try:
            yield server
        finally:
            server.stop()

    @pytest.mark.parametrize("spawn", [lambda: 2, lambda: Pool(2)])
    @pytest.mark.parametrize("kind", ["http", "wsgi"])
    def test_they_turn_away(self, kind, spawn):
        entered, may_go = [], Event()
        with self.serving(kind, entered, may_go, spawn()) as server, gevent.Timeout(20):
            close = "Connection: close\n"
            running = [gevent.spawn(get, server.address, f"/{n}", close) for n in range(2)]
            while len(entered) < 2:
                gevent.sleep(0.001)
            assert (len(server.pool), server.pool.full()) == (2, True)
            for _ in range(3):
                status, _, body = get(server.address, "/more", close)
                assert status == "HTTP/1.1 503 Service Unavailable"
                assert b"503" in body
            may_go.set()
            assert [each.get()[2] for each in running] == [b"done", b"done"]
            while len(server.pool):
                gevent.sleep(0.001)
            assert get(server.address, "/again", close)[2] == b"done"
            assert sorted(entered) == ["/0", "/1", "/again"]

    def test_a_connection_takes_no_place_between_requests(self):
        may_go = Event()
        may_go.set()
        with (
            self.serving("wsgi", [], may_go, 1) as server,
            gevent.Timeout(20),
            create_connection(server.address) as idle,
            idle.makefile("rb") as file,
        ):
            for _ in range(3):
                idle.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert file.readline() == b"HTTP/1.1 200 OK\r\n"
                while file.readline().strip():
                    pass
                assert file.read(4) == b"done"
                assert get(server.address, "/", "Connection: close\n")[2] == b"done"

    def test_a_handler_class_of_ones_own(self):
        pywsgi = importlib.import_module("gevent.pywsgi")

        class Handler(pywsgi.WSGIHandler):
            def get_environ(self):
                return super().get_environ() | {"own": "yes"}

        def application(environ, start_response):
            start_response("200 OK", [])
            return [environ["own"].encode()]

        server = old("wsgi").WSGIServer(
            ("127.0.0.1", 0), application, spawn=1, log=None, handler_class=Handler
        )
        server.start()
        try:
            assert get(server.address, "/", "Connection: close\n")[2] == b"yes"
        finally:
            server.stop()


def test_wsgi_is_a_server_of_pywsgi():
    wsgi, pywsgi = old("wsgi"), importlib.import_module("gevent.pywsgi")
    assert issubclass(wsgi.WSGIServer, pywsgi.WSGIServer)
    assert wsgi.WSGIHandler is pywsgi.WSGIHandler


def test_many_at_once():
    def handle(request):
        gevent.sleep(0.01)
        request.send_reply(200, "OK", request.input_buffer.read() * 1000)

    with http_server(handle, spawn=20) as address:

        def post(number):
            # One that waits in a thread of its own, as clients elsewhere do.
            client = http.client.HTTPConnection(*address, timeout=30)
            try:
                client.request("POST", "/", body=str(number))
                return client.getresponse().read()
            finally:
                client.close()

        pool = gevent.get_hub().threadpool
        results = pool.map(post, range(30))
    assert results == [str(number).encode() * 1000 for number in range(30)]
