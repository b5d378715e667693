"""Handlers that override methods or set attributes: they see the steps in gevent's order."""

import io

import pytest
from conditions import until

from gevent import pywsgi, socket
from gevent.server import StreamServer

STEPS = (
    "handle",
    "handle_one_request",
    "read_requestline",
    "read_request",
    "_check_http_version",
    "MessageClass",
    "get_environ",
    "_headers",
    "_connection_upgrade_requested",
    "handle_one_response",
    "run_application",
    "start_response",
    "process_result",
    "write",
    "_write_with_headers",
    "finalize_headers",
    "_sendall",
    "_write",
    "log_request",
    "format_request",
    "log_error",
    "handle_error",
    "_log_error",
    "_handle_client_error",
    "_send_error_response_if_possible",
)

READ = """
handle
. handle_one_request
. . read_requestline
. . read_request
. . . _check_http_version
. . . MessageClass
. . get_environ
. . . _headers
. . . _connection_upgrade_requested
. . handle_one_response
. . . run_application
. . . . start_response
"""

LOG = """
. . . log_request
. . . . format_request
"""

LIST = """
. . . . process_result
. . . . . write
. . . . . . _write_with_headers
. . . . . . . finalize_headers
. . . . . . . _sendall
. . . . . . . _write
. . . . . . . . _sendall
. . . . . write
. . . . . . _write
. . . . . . . _sendall
"""

GENERATOR = f"""{LIST}
. . . . . _sendall
"""

WRITE = """
. . . . write
. . . . . _write_with_headers
. . . . . . finalize_headers
. . . . . . _sendall
. . . . . . _write
. . . . . . . _sendall
. . . . process_result
. . . . . write
. . . . . . _write
. . . . . . . _sendall
. . . . . _sendall
"""

ERROR = """
. . . handle_error
. . . . _log_error
. . . . _send_error_response_if_possible
. . . . . start_response
. . . . . write
. . . . . . _write_with_headers
. . . . . . . finalize_headers
. . . . . . . _sendall
. . . . . . . _write
. . . . . . . . _sendall
"""

END = """
. handle_one_request
. . read_requestline
"""


def steps(*texts):
    return [line for text in texts for line in text.split("\n") if line]


def tracing(names):
    trace = []

    class Handler(pywsgi.WSGIHandler):
        depth = 0

    def traced(name):
        base = getattr(pywsgi.WSGIHandler, name)

        def method(self, *args):
            trace.append(". " * self.depth + name)
            self.depth += 1
            try:
                return base(self, *args)
            finally:
                self.depth -= 1

        return method

    for name in names:
        setattr(Handler, name, traced(name))
    return Handler, trace


def application(environ, start_response):
    path = environ["PATH_INFO"]
    write = start_response("200 OK", [])
    if path == "/list":
        return [b"one", b"two"]
    if path == "/generator":
        return (part for part in (b"one", b"", b"two"))
    if path == "/write":
        write(b"one")
        return [b"two"]
    raise ValueError("expected")


GET = "GET {} HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/list", steps(READ, LIST, LOG, END)),
        ("/generator", steps(READ, GENERATOR, LOG, END)),
        ("/write", steps(READ, WRITE, LOG, END)),
        ("/error", steps(READ, ERROR, LOG)),
    ],
)
def test_the_order_of_the_steps(serve, reported, path, expected):
    handler, trace = tracing(STEPS)
    serve(application, handler_class=handler).send(GET.format(path).encode())
    assert trace == expected


def test_the_steps_of_what_is_no_request(serve):
    handler, trace = tracing(STEPS)
    web = serve(application, handler_class=handler)
    answer = web.send(b"BAD\r\n\r\n")
    assert answer == b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-length: 0\r\n\r\n"
    assert trace == [
        "handle",
        ". handle_one_request",
        ". . read_requestline",
        ". . read_request",
        ". . _handle_client_error",
        ". . . log_error",
        ". log_request",
        ". . format_request",
    ]


@pytest.mark.parametrize("name", STEPS)
def test_each_alone(serve, reported, name):
    handler, trace = tracing([name])
    plain = serve(application)
    web = serve(application, handler_class=handler)
    for path in ("/list", "/generator", "/write", "/error"):
        request = GET.format(path).encode()
        answers = [dated(exchange.send(request * 2 + b"BAD\r\n")) for exchange in (plain, web)]
        assert answers[0] == answers[1]
    assert trace


def dated(answer):
    head, _, rest = answer.partition(b"Date: ")
    return head + rest[29:] if not rest else head + dated(rest[29:])


def test_attributes_in_a_request(serve):
    seen = []

    class Handler(pywsgi.WSGIHandler):
        def log_request(self):
            names = (
                "command path request_version requestline status _orig_status code headers_sent "
                "response_length response_headers content_length close_connection "
                "provided_content_length provided_date connection_upgraded response_use_chunked"
            )
            seen.append({name: getattr(self, name) for name in names.split()})
            assert self.time_finish >= self.time_start > 1e9
            assert self.headers.items() == [("Host", "x"), ("Content-Length", "0")]
            assert self.headers["host"] == "x"
            assert self.environ["HTTP_HOST"] == "x"
            assert self.socket.fileno() >= 0
            assert self.client_address[0] == "127.0.0.1"
            assert self.server is web.server
            assert self.application is application
            assert self.result is None

    web = serve(application, handler_class=Handler)
    web.send(b"PUT /list?a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    headers = dict(seen[0].pop("response_headers"))
    assert set(headers) == {b"Date", b"Content-Length"}
    assert headers[b"Content-Length"] == b"6"
    assert seen[0] == {
        "command": "PUT",
        "path": "/list?a",
        "request_version": "HTTP/1.1",
        "requestline": "PUT /list?a HTTP/1.1",
        "status": b"200 OK",
        "_orig_status": None,
        "code": 200,
        "headers_sent": True,
        "response_length": 81,
        "content_length": 0,
        "close_connection": False,
        "provided_content_length": None,
        "provided_date": None,
        "connection_upgraded": False,
        "response_use_chunked": False,
    }


def test_setting_attributes_changes_the_response(serve):
    class Handler(pywsgi.WSGIHandler):
        def finalize_headers(self):
            super().finalize_headers()
            self.response_headers.append((b"X-Added", b"yes"))
            self.status = b"201 Made"

        def get_environ(self):
            self.path = "/generator?changed"
            self.headers["X-Request"] = "set"
            environ = super().get_environ()
            assert environ["QUERY_STRING"] == "changed"
            assert environ["HTTP_X_REQUEST"] == "set"
            return environ

    answer = serve(application, handler_class=Handler).send(GET.format("/list").encode())
    assert answer.startswith(b"HTTP/1.1 201 Made\r\n")
    assert b"X-Added: yes\r\n" in answer
    assert answer.endswith(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


def test_closing_by_the_attribute(serve):
    class Handler(pywsgi.WSGIHandler):
        def process_result(self):
            super().process_result()
            self.close_connection = True

    answers = serve(application, handler_class=Handler).send(GET.format("/list").encode() * 2)
    assert answers.count(b"HTTP/1.1") == 1


def test_a_method_that_the_instance_has(serve):
    lines = []

    class Handler(pywsgi.WSGIHandler):
        def __init__(self, *args):
            super().__init__(*args)
            self.log_request = lambda: lines.append(self.requestline)

    serve(application, handler_class=Handler).send(GET.format("/list").encode() * 2)
    assert lines == ["GET /list HTTP/1.1"] * 2


def test_a_method_set_on_the_class_later(serve, monkeypatch):
    web = serve(application)
    web.send(GET.format("/list").encode())
    assert len(web.log.getvalue().splitlines()) == 1
    monkeypatch.setattr(pywsgi.WSGIHandler, "format_request", lambda self: "patched")
    web.send(GET.format("/list").encode())
    assert web.log.getvalue().endswith("\npatched\n")


def test_the_steps_of_a_class_are_looked_up_once(serve):
    looked_up = []

    class Counting(type):
        def __getattribute__(cls, name):
            looked_up.append(name)
            return super().__getattribute__(name)

    class Handler(pywsgi.WSGIHandler, metaclass=Counting):
        pass

    web = serve(application, handler_class=Handler)
    web.send(GET.format("/list").encode())
    assert set(STEPS) <= set(looked_up)
    looked_up.clear()
    web.send(GET.format("/list").encode() * 3)
    assert not set(STEPS) & set(looked_up)


def test_values_that_a_subclass_states_do_not_hide_what_is_set(serve):
    class Handler(pywsgi.WSGIHandler):
        close_connection = True
        status = None
        protocol_version = "HTTP/1.0"

        def log_request(self):
            lines.append((self.status, self.close_connection, self.protocol_version))

    lines = []
    serve(application, handler_class=Handler).send(GET.format("/list").encode())
    assert lines == [(b"200 OK", False, "HTTP/1.0")]


def test_own_error_class_and_rfile(serve, reported):
    class Broken(Exception):
        pass

    class Handler(pywsgi.WSGIHandler):
        ApplicationError = Broken

        def read_requestline(self):
            first = self.rfile.read(4)
            assert first == b"GET "
            return (first + self.rfile.readline()).decode()

    web = serve(lambda environ, start_response: [b"x"], handler_class=Handler)
    assert b" 500 " in web.send(GET.format("/").encode())
    assert [error[1] for error in reported] == [Broken]


def test_a_handler_over_a_file_of_somebody_s(serve):
    class Sock:
        sent = b""

        def sendall(self, data):
            self.sent += bytes(data)

        def close(self):
            self.closed = True

    web = serve(application)
    sock = Sock()
    requests = io.BytesIO(GET.format("/list").encode() * 2)
    pywsgi.WSGIHandler(sock, ("1.2.3.4", 5), web.server, requests).handle()
    assert sock.sent.count(b"onetwo") == 2
    assert sock.closed
    assert web.log.getvalue().startswith("1.2.3.4 - - [")


def test_overriding_the_server_s_methods(serve):
    class Server(pywsgi.WSGIServer):
        closed_sockets = 0

        def get_environ(self):
            return super().get_environ() | {"mine": True}

        def handle(self, sock, address):
            self.handled = address
            super().handle(sock, address)

        def do_close(self, *args):
            self.closed_sockets += 1
            super().do_close(*args)

    def check(environ, start_response):
        start_response("200 OK", [])
        return [str(environ["mine"]).encode()]

    with Server(("127.0.0.1", 0), check, log=io.StringIO()) as server:
        server.start()
        with socket.create_connection(server.address) as client:
            client.sendall(GET.format("/").encode())
            assert client.recv(1000).endswith(b"True")
        server.stop()
        assert server.handled[0] == "127.0.0.1"
        assert server.closed_sockets == 1


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (pywsgi.WSGIServer, "handle"),
        (pywsgi.WSGIServer, "get_environ"),
        (StreamServer, "do_close"),
    ],
)
def test_the_server_s_methods_set_on_the_class(serve, monkeypatch, owner, name):
    original = getattr(owner, name)
    called = []

    def method(self, *args):
        called.append(name)
        return original(self, *args)

    monkeypatch.setattr(owner, name, method)
    web = serve(application)
    assert web.send(GET.format("/list").encode()).startswith(b"HTTP/1.1 200")
    until(lambda: called)


def test_a_handler_with_a_loop_of_its_own(serve):
    class Handler(pywsgi.WSGIHandler):
        def handle(self):
            while self.handle_one_request():
                pass
            self.socket.close()

    web = serve(application, handler_class=Handler)
    assert web.send(GET.format("/list").encode() * 3).count(b"onetwo") == 3
    until(lambda: (web.server._service.busy, web.server._service.waiting) == (0, 0))
