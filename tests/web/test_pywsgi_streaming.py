"""Bodies in pieces: requests read as they come, responses sent as they are made."""

import io

import pytest

import gevent
from gevent import pywsgi
from gevent.event import Event

POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def chunks(*parts):
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (*parts, b""))


def framed(data, how):
    if how == "length":
        return POST + b"Content-Length: %d\r\n\r\n" % len(data) + data
    return POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks(*data.split(b"|"))


READS = {
    "read": lambda body: [body.read()],
    "read(-1)": lambda body: [body.read(-1)],
    "read(None)": lambda body: [body.read(None)],
    "read(2)": lambda body: list(iter(lambda: body.read(2), b"")),
    "read(0)": lambda body: [body.read(0), body.read()],
    "readline": lambda body: list(iter(body.readline, b"")),
    "readline(2)": lambda body: list(iter(lambda: body.readline(2), b"")),
    "readlines": lambda body: body.readlines(),
    "iteration": list,
    "next": lambda body: [next(body), *body],
    "readinto": lambda body: [into(body, 5), into(body, 100)],
    "io": lambda body: [io.BufferedReader(Raw(body)).read()],
}


class Raw(io.RawIOBase):
    def __init__(self, body):
        self.body = body

    def readable(self):
        return True

    def readinto(self, buffer):
        return self.body.readinto(buffer)


def into(body, size):
    buffer = bytearray(size)
    return bytes(buffer[: body.readinto(buffer)])


@pytest.mark.parametrize("how", ["length", "chunks"])
@pytest.mark.parametrize("way", READS)
def test_reading_a_body(serve, way, how):
    def application(environ, start_response):
        parts = READS[way](environ["wsgi.input"])
        start_response("200 OK", [])
        return [repr(parts).encode()]

    data = b"one\ntwo|three\n|four"
    plain = data if how == "length" else data.replace(b"|", b"")
    expected = READS[way](io.BytesIO(plain))
    answers = serve(application).send(framed(data, how) * 2)
    assert answers.count(repr(expected).encode()) == 2


@pytest.mark.parametrize("how", ["length", "chunks"])
def test_a_large_body(serve, how):
    data = bytes(range(256)) * 8000
    data = data.replace(b"|", b"-")

    def application(environ, start_response):
        assert environ["wsgi.input"].read() == data
        start_response("200 OK", [])
        return [b"same"]

    assert serve(application).send(framed(data, how) * 2).count(b"same") == 2


def test_the_application_waits_for_the_body(serve):
    def application(environ, start_response):
        start_response("200 OK", [])
        yield b"begun"
        yield environ["wsgi.input"].read(3)
        yield environ["wsgi.input"].read()

    with serve(application).connect() as sock:
        sock.sendall(POST + b"Content-Length: 6\r\n\r\n")
        assert b"begun" in sock.recv(1000)
        sock.sendall(b"123")
        assert sock.recv(1000) == b"3\r\n123\r\n"
        sock.sendall(b"456")
        assert sock.recv(1000).startswith(b"3\r\n456\r\n")


def test_parts_are_sent_as_they_are_yielded(serve):
    go = Event()

    def application(environ, start_response):
        start_response("200 OK", [])
        for part in (b"one", b"two"):
            yield part
            go.wait()
            go.clear()

    with serve(application).connect() as sock:
        sock.sendall(GET)
        assert sock.recv(1000).endswith(b"3\r\none\r\n")
        go.set()
        assert sock.recv(1000) == b"3\r\ntwo\r\n"
        go.set()
        assert sock.recv(1000) == b"0\r\n\r\n"


def test_write_sends_at_once(serve):
    go = Event()

    def application(environ, start_response):
        write = start_response("200 OK", [("Content-Length", "6")])
        write(b"one")
        go.wait()
        write(bytearray(b"two"))
        return []

    with serve(application).connect() as sock:
        sock.sendall(GET)
        assert sock.recv(1000).endswith(b"\r\n\r\none")
        go.set()
        assert sock.recv(1000) == b"two"


def test_empty_parts_are_no_end(serve):
    def application(environ, start_response):
        write = start_response("200 OK", [])
        write(b"")
        yield b""
        yield b"abc"

    assert serve(application).send(GET).endswith(b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n")


def test_100_continue_comes_with_the_first_read(serve):
    go = Event()

    def application(environ, start_response):
        go.wait()
        body = environ["wsgi.input"]
        data = body.read(2) + body.read()
        start_response("200 OK", [])
        return [data]

    with serve(application).connect() as sock:
        sock.sendall(POST + b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            sock.recv(1000)
        sock.settimeout(10)
        go.set()
        assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"1234")
        assert sock.recv(1000).endswith(b"1234")
        sock.sendall(GET)
        assert sock.recv(1000).endswith(b"\r\n\r\n")


def test_a_body_that_was_not_asked_for(serve):
    def application(environ, start_response):
        start_response("417 Expectation Failed", [])
        return [b"no"]

    request = POST + b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    web = serve(application)
    # Its client may send the body or not: what comes next cannot be told.
    with web.connect() as sock:
        sock.sendall(request)
        assert sock.recv(1000).endswith(b"no")
        assert sock.recv(1000) == b""
    # One that did not wait sent it.
    assert web.send(request + b"1234" + GET).count(b"417") == 2


def test_no_100_once_the_response_has_begun(serve):
    def application(environ, start_response):
        start_response("200 OK", [])
        yield b"begun"
        yield environ["wsgi.input"].read()

    with serve(application).connect() as sock:
        sock.sendall(POST + b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        answer = b""
        while not answer.endswith(b"begun\r\n"):
            answer += sock.recv(1000)
        # A client may send the body all the same, and has to be ready for the end.
        sock.sendall(b"body")
        answer += b"".join(iter(lambda: sock.recv(1000), b""))
    assert b"100 Continue" not in answer
    assert b"Connection: close\r\n" in answer
    assert answer.endswith(b"4\r\nbody\r\n0\r\n\r\n")


def test_the_connection_s_file_and_socket(serve):
    def application(environ, start_response):
        body = environ["wsgi.input"]
        with body.rfile.raw._sock.dup() as sock:
            sock.sendall(b"HTTP/1.1 101 Switching\r\n\r\n" + body.rfile.readline())
            assert body.rfile.read(3) == b"abc"
            sock.sendall(body.rfile.read1() or b"nothing")
        start_response("200 OK", [])
        return []

    with serve(application).connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: y\r\n\r\n")
        sock.sendall(b"line\nabcdef")
        answer = b""
        while b"def" not in answer:
            answer += sock.recv(1000)
    assert answer.startswith(b"HTTP/1.1 101 Switching\r\n\r\nline\ndef")


def test_upgraded_connections_end_with_the_application(serve):
    def application(environ, start_response):
        assert environ["wsgi.input_terminated"] is False
        start_response("101 Switching Protocols", [("Upgrade", "y"), ("Connection", "upgrade")])
        return [b"raw"]

    request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: y\r\n\r\n"
    answer = serve(application).send(request + GET)
    assert answer.endswith(b"\r\n\r\nraw")
    assert b"Content-Length" not in answer
    assert b"chunked" not in answer


def test_inputs_over_any_file():
    made = pywsgi.Input(io.BytesIO(b"12345678"), 6)
    assert (made.read(2), made.position, made.read(), made.read()) == (b"12", 2, b"3456", b"")
    made = pywsgi.Input(io.BytesIO(chunks(b"ab", b"c\nd")), None, chunked_input=True)
    assert (made.readline(), made.readline(), made.readline()) == (b"abc\n", b"d", b"")
    assert pywsgi.Input(io.BytesIO(b"12"), None).read() == b""
    with pytest.raises(OSError, match="unexpected end of file while reading request at position 1"):
        pywsgi.Input(io.BytesIO(b"1"), 2).read()
    with pytest.raises(OSError, match="unexpected end of file while parsing chunked data"):
        pywsgi.Input(io.BytesIO(b"2\r\na"), None, chunked_input=True).read()
    with pytest.raises(OSError, match="malformed chunk size"):
        pywsgi.Input(io.BytesIO(b"x\r\n"), None, chunked_input=True).read()


def test_other_greenlets_run_while_one_waits_for_a_body(serve):
    def application(environ, start_response):
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    web = serve(application)
    with web.connect() as slow:
        slow.sendall(POST + b"Content-Length: 4\r\n\r\n12")
        gevent.sleep(0.01)
        assert web.send(framed(b"quick", "length")).endswith(b"quick")
        slow.sendall(b"34")
        assert slow.recv(1000).endswith(b"1234")
