"""The WSGI server: what goes in and what comes out."""

import io
import os
import re
import socket as stdlib
import sys
import wsgiref.validate
from concurrent.futures import ThreadPoolExecutor

import pytest
from conditions import settle, until

import gevent
from gevent import pywsgi, socket


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello ", b"world"]


def echo(environ, start_response):
    start_response("200 OK", [])
    return [environ["wsgi.input"].read()]


def one(path="/", *headers, method="GET", version="1.1", body=b""):
    lines = (f"{method} {path} HTTP/{version}", "Host: x", *headers, "", "")
    return "\r\n".join(lines).encode("latin-1") + body


def test_a_response(serve):
    status, headers, body = serve(hello).get()
    assert (status, body) == ("200 OK", b"hello world")
    assert headers["Content-Length"] == "11"
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", headers["Date"])


def test_requests_on_one_connection(serve):
    web = serve(hello)
    with web.connect() as sock:
        for _ in range(5):
            sock.sendall(one())
            assert sock.recv(1000).endswith(b"hello world")
    assert len(web.log.getvalue().splitlines()) == 5


def test_pipelined_requests_are_answered_in_order(serve):
    def path(environ, start_response):
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    answers = serve(path).send(b"".join(one(f"/{n}") for n in range(200)))
    assert re.findall(rb"\r\n\r\n(/\d+)", answers) == [b"/%d" % n for n in range(200)]


def test_a_request_in_pieces(serve):
    request = one("/", "Content-Length: 5", method="POST", body=b"12345")
    web = serve(echo)
    assert web.send(*(request[at : at + 1] for at in range(len(request)))).endswith(b"12345")


def test_the_environment(serve):
    seen = {}

    def keep(environ, start_response):
        seen.update(environ)
        return hello(environ, start_response)

    web = serve(keep, environ={"custom": 1})
    web.send(
        one(
            "/a%20b/%C3%A9?x=%20y",
            "X-One: 1",
            "x-one: 2",
            "X_Two: 3",
            "Cookie: a=1",
            "Cookie: b=2",
            "Content-Type: text/x",
            "Content-Length: 0",
            "Empty:",
            "Latin: \xe9",
            method="PUT",
        )
    )
    host, port = web.server.address[:2]
    assert seen["REQUEST_METHOD"] == "PUT"
    assert seen["PATH_INFO"] == "/a b/Ã©"
    assert seen["QUERY_STRING"] == "x=%20y"
    assert seen["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert seen["SCRIPT_NAME"] == ""
    assert seen["SERVER_PORT"] == str(port)
    assert seen["REMOTE_ADDR"] == host
    assert seen["REMOTE_PORT"].isdigit()
    assert (seen["CONTENT_TYPE"], seen["CONTENT_LENGTH"]) == ("text/x", "0")
    assert seen["HTTP_X_ONE"] == "1,2"
    assert seen["HTTP_COOKIE"] == "a=1; b=2"
    assert seen["HTTP_EMPTY"] == ""
    assert seen["HTTP_LATIN"] == "\xe9"
    assert seen["custom"] == 1
    assert seen["wsgi.url_scheme"] == "http"
    assert seen["wsgi.errors"] is web.errors
    assert seen["wsgi.input_terminated"] is True
    assert seen["SERVER_SOFTWARE"].startswith("gevent")
    assert not [name for name in seen if "TWO" in name or name == "HTTP_CONTENT_TYPE"]


def test_environments_are_not_shared(serve):
    def change(environ, start_response):
        start_response("200 OK", [])
        seen = "mine" in environ
        environ["mine"] = 1
        return [str(seen).encode()]

    assert serve(change).send(one() + one()).count(b"False") == 2


def test_a_field_that_the_server_states_is_replaced(serve):
    def agent(environ, start_response):
        start_response("200 OK", [])
        return [environ["HTTP_X"].encode()]

    web = serve(agent, environ={"HTTP_X": "server"})
    assert web.get("/", "X: client")[2] == b"client"


def test_the_validator_of_the_standard_library(serve):
    web = serve(wsgiref.validate.validator(hello))
    assert web.get()[2] == b"6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n"
    assert web.errors.getvalue() == ""


def test_http_1_0_ends_the_connection(serve):
    _, headers, body = serve(hello).get(version="1.0")
    assert (headers["Connection"], body) == ("close", b"hello world")


def test_http_1_0_may_ask_to_keep_it(serve):
    answers = serve(hello).send(one("/", "Connection: keep-alive", version="1.0") * 2)
    assert answers.count(b"Connection: keep-alive") == answers.count(b"hello world") == 2


def test_http_1_0_without_length_ends_with_the_connection(serve):
    def parts(environ, start_response):
        start_response("200 OK", [])
        yield b"one"
        yield b"two"

    status, headers, body = parse_of(
        serve(parts).send(one("/", "Connection: keep-alive", version="1.0") * 2)
    )
    assert (status, body) == ("200 OK", b"onetwo")
    assert headers["Connection"] == "close"
    assert "Transfer-Encoding" not in headers


def parse_of(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    return status.partition(" ")[2], dict(line.split(": ", 1) for line in lines), body


@pytest.mark.parametrize("kind", [list, tuple, iter])
def test_head_gets_no_body(serve, kind):
    def parts(environ, start_response):
        start_response("200 OK", [])
        return kind([b"one", b"two"])

    answers = serve(parts).send(one(method="HEAD") + one())
    head, _, rest = answers.partition(b"\r\n\r\n")
    assert rest.startswith(b"HTTP/1.1 200 OK")
    if kind is not iter:
        assert b"Content-Length: 6" in head


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_responses_without_a_body(serve, status):
    def none(environ, start_response):
        start_response(status, [])
        return []

    answers = serve(none).send(one() + one())
    assert answers.count(status.encode()) == 2
    assert b"Content-Length" not in answers
    assert b"chunked" not in answers


@pytest.mark.parametrize(
    "result",
    [
        [b"one", b"two"],
        (b"one", b"two"),
        {b"onetwo"},
        [bytearray(b"one"), memoryview(b"two")],
        [b"", b"one", b"", b"two"],
    ],
)
def test_results_whose_length_is_known(serve, result):
    def parts(environ, start_response):
        start_response("200 OK", [])
        return result

    _, headers, body = serve(parts).get()
    assert (headers["Content-Length"], body) == ("6", b"onetwo")


def test_more_parts_than_one_system_call_takes(serve):
    def parts(environ, start_response):
        start_response("200 OK", [])
        return [b"%04d" % n for n in range(3000)]

    assert serve(parts).get()[2] == b"".join(b"%04d" % n for n in range(3000))


def test_no_more_than_was_announced_is_sent(serve):
    def long(environ, start_response):
        start_response("200 OK", [("Content-Length", "3")])
        return [b"ab", b"cdef"]

    answers = serve(long).send(one() + one())
    assert re.findall(rb"\r\n\r\n(abc)(?=HTTP|$)", answers) == [b"abc"] * 2


def test_less_than_was_announced_ends_the_connection(serve):
    def short(environ, start_response):
        start_response("200 OK", [("Content-Length", "9")])
        return [b"ab"]

    assert serve(short).send(one() + one()).count(b"HTTP/1.1") == 1


def test_framing_is_the_server_s(serve):
    def chunked(environ, start_response):
        start_response("200 OK", [("Transfer-Encoding", "chunked")])
        return [b"abc"]

    _, headers, body = serve(chunked).get()
    assert (headers["Content-Length"], body) == ("3", b"abc")
    assert "Transfer-Encoding" not in headers


def test_own_date_and_connection(serve):
    def own(environ, start_response):
        start_response("200 OK", [("date", "today"), ("connection", "close")])
        return [b"x"]

    answers = serve(own).send(one() + one())
    assert answers.count(b"HTTP/1.1") == 1
    assert answers.lower().count(b"date:") == answers.lower().count(b"connection:") == 1


def test_the_access_log(serve):
    web = serve(hello)
    web.send(one("/a?b", "Referer: x"))
    line = (
        r"127\.0\.0\.1 - - \[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] "
        r'"GET /a\?b HTTP/1\.1" 200 113 \d+\.\d{6}\n'
    )
    assert re.fullmatch(line, web.log.getvalue())


def test_logs_that_are_loggers(serve):
    class Logger:
        lines = ()

        def log(self, level, message):
            self.lines += ((level, message),)

    access, errors = Logger(), Logger()
    web = serve(hello, log=access, error_log=errors)
    web.send(b"BAD\r\n\r\n")
    assert [level for level, _ in access.lines] == [20]
    assert '"BAD" 400 -' in access.lines[0][1]
    assert [level for level, _ in errors.lines] == [40]
    assert "malformed request line" in errors.lines[0][1]


def test_no_log(serve):
    server = pywsgi.WSGIServer(("127.0.0.1", 0), hello, log=None, error_log=None)
    with server:
        server.start()
        with socket.create_connection(server.address) as client:
            client.sendall(one())
            assert client.recv(1000).endswith(b"hello world")


def test_a_unix_socket(serve, socket_folder):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_folder / "s"))
        listener.listen()
        seen = {}

        def keep(environ, start_response):
            seen.update(environ)
            return hello(environ, start_response)

        web = serve(keep, listener)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(socket_folder / "s"))
            for _ in range(3):
                client.sendall(one())
                assert client.recv(1000).endswith(b"hello world")
    assert "REMOTE_ADDR" not in seen
    assert (seen["SERVER_NAME"], seen["SERVER_PORT"]) == ("", "")
    assert web.log.getvalue().startswith("- - - [")


def test_from_threads_of_the_system(serve):
    web = serve(hello)

    def fetch(_):
        with stdlib.create_connection(web.server.address) as client:
            client.settimeout(20)
            client.sendall(one("/", "Connection: close"))
            return b"".join(iter(lambda: client.recv(1000), b""))

    with ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(fetch, n) for n in range(40)]
        while not all(answer.done() for answer in answers):
            gevent.sleep(0.01)
    assert all(answer.result().endswith(b"hello world") for answer in answers)


def test_file_wrapper(serve, tmp_path):
    content = os.urandom(3_000_000)
    path = tmp_path / "file"
    path.write_bytes(content)
    files = []

    def send(environ, start_response):
        file = open(path, "rb")  # noqa: SIM115
        file.seek(10)
        files.append(file)
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](file, 4096)

    web = serve(send)
    _, headers, body = web.get()
    assert headers["Content-Length"] == str(len(content) - 10)
    assert body == content[10:]
    assert files[0].closed
    assert web.get(method="HEAD")[2] == b""


def test_file_wrapper_of_what_is_no_file(serve):
    def send(environ, start_response):
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](io.BytesIO(b"x" * 10_000), 4096)

    _, headers, body = serve(send).get()
    assert headers["Transfer-Encoding"] == "chunked"
    assert body.startswith(b"1000\r\n" + b"x" * 4096)
    assert body.endswith(b"0\r\n\r\n")


def test_a_large_response_to_a_slow_reader(serve):
    data = os.urandom(4_000_000)

    def large(environ, start_response):
        start_response("200 OK", [])
        return [data]

    web = serve(large)
    with web.connect() as sock:
        sock.sendall(one())
        gevent.sleep(0.05)
        got = b""
        while len(got) < len(data):
            got += sock.recv(1 << 20)
    assert got.partition(b"\r\n\r\n")[2] == data


def test_idle_connections_keep_no_buffers(serve):
    web = serve(hello)
    socks = [web.connect() for _ in range(20)]
    for sock in socks:
        sock.sendall(one())
    for sock in socks:
        assert sock.recv(1000)
    until(lambda: web.server._service.waiting == 20)
    for sock in socks:
        sock.close()
    until(lambda: (web.server._service.waiting, web.server._service.busy) == (0, 0))


def test_nothing_stays_of_a_connection(serve):
    web = serve(hello)
    web.send(one())
    settle()
    before = sys.getrefcount(web.server)
    for _ in range(50):
        web.send(one())
    until(lambda: sys.getrefcount(web.server) <= before + 2)
