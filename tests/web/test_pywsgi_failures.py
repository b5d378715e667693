"""Applications that raise at each stage, return what they must not, or try to split responses."""

import gc
import sys

import pytest
from conditions import settle, until

import gevent
from gevent import pywsgi

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
INTERNAL = b"Internal Server Error"


class Expected(Exception):
    pass


def raising_at_once(environ, start_response):
    raise Expected


def raising_after_start(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    raise Expected


def raising_in_the_first_step(environ, start_response):
    start_response("200 OK", [])
    raise Expected
    yield


def not_starting(environ, start_response):
    return [b"x"]


def returning_none(environ, start_response):
    start_response("200 OK", [])


def returning_a_number(environ, start_response):
    start_response("200 OK", [])
    return 5


def returning_bytes(environ, start_response):
    start_response("200 OK", [])
    return b"abc"


def yielding_numbers(environ, start_response):
    start_response("200 OK", [])
    return [1, 2]


@pytest.mark.parametrize(
    "application",
    [
        raising_at_once,
        raising_after_start,
        raising_in_the_first_step,
        not_starting,
        returning_none,
        returning_a_number,
        returning_bytes,
        yielding_numbers,
    ],
)
def test_failures_before_anything_was_sent(serve, reported, application):
    web = serve(application)
    answer = web.send(REQUEST * 2)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert (body, answer.count(b"HTTP/1.1")) == (INTERNAL, 1)
    assert len(reported) == 1
    assert type(reported[0][0]) is pywsgi.WSGISecureEnviron
    assert " 500 " in web.log.getvalue()
    assert web.send(REQUEST).endswith(INTERNAL)


def test_a_failure_after_something_was_sent_ends_the_connection(serve, reported):
    def half(environ, start_response):
        start_response("200 OK", [])
        yield b"abc"
        raise Expected

    answer = serve(half).send(REQUEST * 2)
    assert answer.endswith(b"\r\n\r\n3\r\nabc\r\n")
    assert [error[1] for error in reported] == [Expected]


def test_text_instead_of_bytes(serve, reported):
    def text(environ, start_response):
        start_response("200 OK", [])
        return ["abc"]

    answer = serve(text).send(REQUEST * 2)
    assert answer.count(b"HTTP/1.1") == 1
    assert b"abc" not in answer
    assert [error[1] for error in reported] == [TypeError]


@pytest.mark.parametrize(
    ("status", "headers", "error"),
    [
        ("200 OK\r\nX: y", [], ValueError),
        ("200 OK\n", [], ValueError),
        ("200 OK", [("X\r\nY", "z")], ValueError),
        ("200 OK", [("X", "y\r\nZ: z")], ValueError),
        ("200 OK", [("X", "y\nz")], ValueError),
        ("200 OK", [("X", "y\rz")], ValueError),
        ("200 OK", [("X", "y\0z")], ValueError),
        ("200 OK", [("X", "\u1234")], UnicodeError),
        (b"200 OK", [], UnicodeError),
        ("200 OK", [(b"X", "y")], UnicodeError),
        ("200 OK", [("X", 1)], UnicodeError),
        ("two hundred", [], ValueError),
        ("200 OK", [("X",)], ValueError),
        ("200 OK", [("X", "y", "z")], ValueError),
        ("200 OK", None, TypeError),
        ("200 OK", [("Content-Length", "5x")], ValueError),
        ("200 OK", [("Content-Length", "-5")], ValueError),
    ],
)
def test_what_start_response_refuses(serve, reported, status, headers, error):
    raised = []

    def bad(environ, start_response):
        try:
            start_response(status, headers)
        except Exception as failure:
            raised.append(failure)
            raise

    answer = serve(bad).send(REQUEST)
    assert isinstance(raised[0], error)
    assert answer.endswith(INTERNAL)
    assert b"Z: z" not in answer


def test_the_messages_about_line_ends(serve, reported):
    def bad(environ, start_response):
        messages = []
        for status, name, value in (
            ("200 O\n", "a", "b"),
            ("200 O", "a\n", "b"),
            ("200 O", "a", "b\n"),
        ):
            with pytest.raises(ValueError, match="carriage return or newline in ") as caught:
                start_response(status, [(name, value)])
            messages.append(caught.value.args[0])
        start_response("200 OK", [])
        return [", ".join(message.split(" in ")[1] for message in messages).encode()]

    assert serve(bad).get()[2] == b"status, header name, header value"


def test_another_response_in_the_place_of_the_first(serve):
    def change(environ, start_response):
        start_response("200 OK", [("X-First", "1")])
        try:
            raise Expected
        except Expected:
            start_response("503 Later", [("X-Second", "2")], sys.exc_info())
        return [b"sorry"]

    status, headers, body = serve(change).get()
    assert (status, body) == ("503 Later", b"sorry")
    assert "X-Second" in headers
    assert "X-First" not in headers


def test_exc_info_is_raised_once_the_head_was_sent(serve, reported):
    def late(environ, start_response):
        write = start_response("200 OK", [])
        write(b"abc")
        try:
            raise Expected
        except Expected:
            start_response("500 Oh", [], sys.exc_info())
        return [b"never"]

    answer = serve(late).send(REQUEST)
    assert answer.endswith(b"3\r\nabc\r\n")
    assert [error[1] for error in reported] == [Expected]


class Result:
    """An iterable that counts how often it is closed."""

    closed = 0

    def __init__(self, *parts, error=None):
        self.parts, self.error = parts, error

    def __iter__(self):
        yield from self.parts
        if self.error:
            raise self.error

    def close(self):
        self.closed += 1


@pytest.mark.parametrize("error", [None, Expected()])
@pytest.mark.parametrize("parts", [(), (b"a",), (b"a", b"b"), ("text",)])
def test_results_are_closed_once(serve, reported, parts, error):
    result = Result(*parts, error=error)

    def application(environ, start_response):
        start_response("200 OK", [])
        return result

    serve(application).send(REQUEST)
    assert result.closed == 1


def test_results_are_closed_when_the_client_leaves(serve, reported):
    result = Result(*[b"x" * 100_000] * 1000)

    def application(environ, start_response):
        start_response("200 OK", [])
        return result

    web = serve(application)
    with web.connect() as sock:
        sock.sendall(REQUEST)
        sock.recv(10)
    until(lambda: result.closed)
    assert result.closed == 1
    assert not reported


def test_an_error_in_close(serve, reported):
    class Closing(Result):
        def close(self):
            raise Expected

    def application(environ, start_response):
        start_response("200 OK", [])
        return Closing(b"abc")

    assert serve(application).send(REQUEST * 2).count(b"HTTP/1.1") == 1
    assert [error[1] for error in reported] == [Expected]


def test_no_traceback_goes_to_the_client(serve, reported):
    answer = serve(raising_at_once).send(REQUEST)
    assert b"Expected" not in answer
    assert b"Traceback" not in answer


def test_a_client_that_leaves_in_the_middle_of_a_body(serve, reported):
    def application(environ, start_response):
        environ["wsgi.input"].read()

    web = serve(application)
    web.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
    assert not reported
    [line] = web.errors.getvalue().splitlines()
    assert line.endswith("unexpected end of file while reading request at position 5")


def test_disconnecting_at_every_byte(serve, reported):
    def application(environ, start_response):
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    web = serve(application)
    request = (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
    )
    for size in range(len(request)):
        with web.connect() as sock:
            sock.sendall(request[:size])
    assert web.send(request).endswith(b"ab")
    until(lambda: web.server._service.busy == 0)


def test_killing_a_greenlet_that_serves(serve, reported):
    greenlets = []

    def application(environ, start_response):
        greenlets.append(gevent.getcurrent())
        gevent.sleep(100)

    web = serve(application)
    with web.connect() as sock:
        sock.sendall(REQUEST)
        while not greenlets:
            gevent.sleep(0.01)
        greenlets[0].kill()
        assert sock.recv(1000).endswith(INTERNAL)
    assert not reported


def test_killing_a_greenlet_that_is_idle(serve):
    greenlets = []

    def spawn(*args):
        greenlets.append(gevent.spawn(*args))

    web = serve(lambda environ, start_response: [], spawn=spawn)
    with web.connect() as sock:
        while not greenlets:
            gevent.sleep(0.01)
        settle()
        greenlets[0].kill()
        assert sock.recv(1000) == b""
    del greenlets[:]
    gc.collect()


def test_a_connection_that_others_close(serve):
    socks = []

    class Handler(pywsgi.WSGIHandler):
        def __init__(self, sock, *args):
            socks.append(sock)
            super().__init__(sock, *args)

    web = serve(lambda environ, start_response: [], handler_class=Handler)
    with web.connect() as sock:
        while not socks:
            gevent.sleep(0.01)
        settle()
        socks[0].close()
        assert sock.recv(10) == b""
