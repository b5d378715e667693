"""The limits of the server: the requests that it refuses, their statuses, and its timeouts."""

import pytest
from conditions import until

import gevent
from gevent import pywsgi

GOOD = b"GET /good HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def application(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [environ["PATH_INFO"].encode() + b" " + body]


REFUSED = {
    "no request": (b"BAD\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /\r\n\r\n", 400),
    "HTTP/2": (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\nHost: x\r\n\r\n", 505),
    "lower-case version": (b"GET / http/1.1\r\nHost: x\r\n\r\n", 400),
    "space in target": (b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "control in target": (b"GET /a\x01b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "method with a separator": (b"GE(T / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", 400),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: x\n\n", 400),
    "bare line feed in the fields": (b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", 400),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400),
    "space before the colon": (POST + b"A : b\r\n\r\n", 400),
    "no colon": (POST + b"A\r\n\r\n", 400),
    "empty name": (POST + b": b\r\n\r\n", 400),
    "folded field": (POST + b"A: b\r\n c\r\n\r\n", 400),
    "NUL in a value": (POST + b"A: b\0c\r\n\r\n", 400),
    "bell in a value": (POST + b"A: b\x07c\r\n\r\n", 400),
    "CR in a value": (POST + b"A: b\rc\r\n\r\n", 400),
    "length not a number": (POST + b"Content-Length: x\r\n\r\n", 400),
    "length below zero": (POST + b"Content-Length: -1\r\n\r\n", 400),
    "length with a sign": (POST + b"Content-Length: +1\r\n\r\n1", 400),
    "length with an underscore": (POST + b"Content-Length: 1_0\r\n\r\n", 400),
    "length in hexadecimal": (POST + b"Content-Length: 0x1\r\n\r\n1", 400),
    "length beyond ASCII": (POST + b"Content-Length: \xd9\xa1\r\n\r\n1", 400),
    "two lengths": (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n12", 400),
    "equal lengths": (POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n1", 400),
    "a list of lengths": (POST + b"Content-Length: 1, 1\r\n\r\n1", 400),
    "length and chunks": (POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0", 400),
    "unknown coding": (POST + b"Transfer-Encoding: zip\r\n\r\n", 400),
    "identity": (POST + b"Transfer-Encoding: identity\r\n\r\n", 400),
    "xchunked": (POST + b"Transfer-Encoding: xchunked\r\n\r\n", 400),
    "chunked twice": (POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    "chunks in HTTP/1.0": (
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "long request line": (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    "long field": (POST + b"A: " + b"x" * 70_000 + b"\r\n\r\n", 431),
    "many fields": (POST + b"A: b\r\n" * 101 + b"\r\n", 431),
    "chunk size not a number": (CHUNKED + b"x\r\n", 400),
    "chunk size with 0x": (CHUNKED + b"0x1\r\na\r\n0\r\n\r\n", 400),
    "chunk size below zero": (CHUNKED + b"-1\r\n", 400),
    "no chunk size": (CHUNKED + b"\r\n", 400),
    "bare line feed after the chunk size": (CHUNKED + b"1\na\r\n0\r\n\r\n", 400),
    "bare line feed in an extension": (CHUNKED + b"1;a\nb\r\na\r\n0\r\n\r\n", 400),
    "chunk longer than it says": (CHUNKED + b"1\r\nab\r\n0\r\n\r\n", 400),
    "huge chunk": (CHUNKED + b"fffffffffffffffff\r\n", 413),
    "long extension": (CHUNKED + b"1;" + b"x" * 9000, 400),
    "bad trailer": (CHUNKED + b"0\r\nGET / HTTP/1.1\r\n\r\n", 400),
}


def check(answers, status, before=0):
    """The good requests are answered, the bad one refused, and nothing comes after that."""
    heads = answers.split(b"HTTP/1.1 ")[1:]
    assert [head[:3] for head in heads] == [b"200"] * before + [b"%d" % status]
    assert b"Connection: close" in heads[-1]
    assert b"Traceback" not in answers


@pytest.mark.parametrize("case", REFUSED)
def test_refused_requests(serve, case):
    request, status = REFUSED[case]
    web = serve(application)
    check(web.send(request), status)
    check(web.send(GOOD + request + GOOD), status, before=1)
    assert web.send(GOOD).endswith(b"/good ")
    assert f" {status} " in web.log.getvalue()
    assert web.errors.getvalue()


@pytest.mark.parametrize("case", [name for name, (data, _) in REFUSED.items() if len(data) < 200])
def test_refused_byte_by_byte(serve, case):
    request, status = REFUSED[case]
    check(serve(application).send(*(request[at : at + 1] for at in range(len(request)))), status)


def test_an_unread_bad_body_ends_the_connection(serve):
    def ignore(environ, start_response):
        start_response("200 OK", [])
        return [b"x"]

    bad = CHUNKED + b"1\r\na\r\n0\r\nGET /smuggled HTTP/1.1\r\n\r\n"
    answers = serve(ignore).send(bad + GOOD)
    assert answers.count(b"HTTP/1.1") == 1


LENIENT = {
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "length and chunks": POST
    + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    "folded field": POST + b"A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("case", LENIENT)
def test_what_older_servers_accept(serve, case):
    assert b" 200 " in serve(application, strict=False).send(LENIENT[case])
    assert b" 400 " in serve(application).send(LENIENT[case])


def test_a_length_beside_chunks_ends_the_connection(serve):
    web = serve(application, strict=False)
    answer = web.send(LENIENT["length and chunks"] + GOOD)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close\r\n" in answer


def test_the_environment_makes_a_process_lenient(output_of):
    code = "from gevent.pywsgi import WSGIServer; print(WSGIServer.strict)"
    assert output_of(code) == "True\n"
    assert output_of(code, GEVENT_HTTP_STRICT="no") == "False\n"


@pytest.mark.parametrize(
    ("limits", "request_", "status"),
    [
        ({"max_request_line": 20}, b"GET /12345678901 HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        ({"max_header_bytes": 20}, POST + b"A: 12345678901\r\n\r\n", 431),
        ({"max_headers": 2}, POST + b"A: b\r\nC: d\r\n\r\n", 431),
        ({"max_body": 3}, POST + b"Content-Length: 4\r\n\r\n1234", 413),
        ({"max_body": 3}, CHUNKED + b"4\r\n1234\r\n0\r\n\r\n", 413),
        ({"max_body": 3}, CHUNKED + b"2\r\n12\r\n2\r\n34\r\n0\r\n\r\n", 413),
    ],
)
def test_limits_of_a_server(serve, limits, request_, status):
    check(serve(application, **limits).send(request_), status)


def test_limits_of_a_class(serve):
    class Server(pywsgi.WSGIServer):
        max_headers = 1

    with Server(("127.0.0.1", 0), application, log=None, error_log=None) as server:
        server.start()
        web = type(serve(application))(server)
        assert b" 431 " in web.send(POST + b"A: b\r\n\r\n")


def test_slow_heads_get_408(serve):
    web = serve(application, header_timeout=0.05)
    with web.connect() as sock:
        sock.sendall(b"GET / HT")
        assert sock.recv(1000).startswith(b"HTTP/1.1 408 ")
        assert sock.recv(1000) == b""


def test_drops_of_a_head_do_not_prolong_it(serve):
    web = serve(application, header_timeout=0.2, idle_timeout=60)
    with web.connect() as sock:

        def drip():
            for _ in range(2000):
                sock.sendall(b"x")
                gevent.sleep(0.01)

        dripping = gevent.spawn(drip)
        assert sock.recv(1000).startswith(b"HTTP/1.1 408 ")
        dripping.kill()


def test_idle_connections_are_closed(serve):
    web = serve(application, idle_timeout=0.5)
    with web.connect() as sock:
        assert sock.recv(1000) == b""
    with web.connect() as sock:
        sock.sendall(GOOD)
        assert sock.recv(1000).endswith(b"/good ")
        assert sock.recv(1000) == b""
    assert " 408 " not in web.log.getvalue()


def test_slow_bodies_get_408(serve, reported):
    web = serve(application, body_timeout=0.05)
    with web.connect() as sock:
        sock.sendall(POST + b"Content-Length: 10\r\n\r\n123")
        assert sock.recv(1000).startswith(b"HTTP/1.1 408 ")
    assert not reported


def test_a_slow_body_raises_in_the_application(serve):
    def patient(environ, start_response):
        with pytest.raises(TimeoutError):
            environ["wsgi.input"].read()
        start_response("503 Slow", [])
        return [b"slow"]

    web = serve(patient, body_timeout=0.05)
    with web.connect() as sock:
        sock.sendall(POST + b"Content-Length: 10\r\n\r\n123")
        assert sock.recv(1000).startswith(b"HTTP/1.1 503 ")
        assert sock.recv(1000) in (b"", b"slow")


def test_clients_that_read_nothing_are_left(serve, reported):
    ended = []

    def endless(environ, start_response):
        start_response("200 OK", [])
        try:
            while True:
                yield b"x" * 100_000
        finally:
            ended.append(True)

    web = serve(endless, write_timeout=0.1)
    with web.connect() as sock:
        sock.sendall(GOOD)
        until(lambda: ended)
    assert not reported
    until(lambda: web.server._service.busy == 0)


def test_bodies_that_nobody_reads(serve):
    def ignore(environ, start_response):
        start_response("200 OK", [])
        return [b"ignored"]

    web = serve(ignore, max_discard=1000)
    small = POST + b"Content-Length: 900\r\n\r\n" + b"x" * 900
    large = POST + b"Content-Length: 100000\r\n\r\n" + b"x" * 100_000
    chunks = CHUNKED + b"384\r\n" + b"x" * 900 + b"\r\n0\r\n\r\n"
    assert web.send(small + GOOD).count(b"ignored") == 2
    assert web.send(chunks + GOOD).count(b"ignored") == 2
    with web.connect() as sock:
        sock.sendall(large)
        assert sock.recv(1000).endswith(b"ignored")
        assert receive(sock) == b""


def receive(sock):
    try:
        return sock.recv(1000)
    except ConnectionError:
        return b""
