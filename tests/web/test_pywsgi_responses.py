"""A response is sent as the application meant it, or is an error of the application's."""

import bz2
import functools
import gzip
import io
import lzma
import os
import tempfile

import pytest

import gevent
from gevent.event import Event

GET = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"


def answering(status, fields, body=(b"0123456789",)):
    def application(environ, start_response):
        start_response(status, fields)
        return list(body)

    return application


MISTAKES = {
    "status below": ("-1 X", []),
    "status of two digits": ("20 OK", []),
    "status of four digits": ("2000 OK", []),
    "status beyond": ("600 X", []),
    "status without a number": ("OK", []),
    "status with a control": ("200 \x1b[2J", []),
    "an answer before the answer": ("103 Early Hints", []),
    "100": ("100 Continue", []),
    "another protocol unasked": ("101 Switching Protocols", []),
    "name with a colon": ("200 OK", [("X: y", "z")]),
    "name with a space": ("200 OK", [("X Y", "z")]),
    "name with a tab": ("200 OK", [("X\t", "z")]),
    "empty name": ("200 OK", [("", "z")]),
    "name beyond ASCII": ("200 OK", [("X\xe9", "z")]),
    "value with a control": ("200 OK", [("X", "a\x01b")]),
    "value with DEL": ("200 OK", [("X", "a\x7fb")]),
    "two lengths": ("200 OK", [("Content-Length", "5"), ("content-length", "10")]),
    "equal lengths": ("200 OK", [("Content-Length", "10"), ("Content-Length", "10")]),
    "length and chunks": ("200 OK", [("Content-Length", "5"), ("Transfer-Encoding", "chunked")]),
    "another coding": ("200 OK", [("Transfer-Encoding", "gzip, chunked")]),
    "identity": ("200 OK", [("Transfer-Encoding", "identity")]),
    "chunks twice": ("200 OK", [("Transfer-Encoding", "chunked")] * 2),
    "signed length": ("200 OK", [("Content-Length", "+10")]),
    "empty length": ("200 OK", [("Content-Length", "")]),
    "body of nothing": ("204 No Content", []),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_500(serve, reported, mistake):
    answer = serve(answering(*MISTAKES[mistake])).send(GET % b"/")
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert len(reported) == 1


def test_no_reason_is_needed(serve):
    assert serve(answering("404", [])).send(GET % b"/").startswith(b"HTTP/1.1 404 \r\n")


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_lengths_of_bodies_that_are_not_there(serve, method):
    request = method + b" / HTTP/1.1\r\nHost: x\r\n\r\n"
    nothing = serve(answering("204 No Content", [("Content-Length", "0")], ())).send(request * 2)
    assert nothing.count(b"HTTP/1.1 204 ") == 2
    assert b"content-length" not in nothing.lower()
    unchanged = serve(answering("304 Not Modified", [("Content-Length", "10")], ()))
    answer = unchanged.send(request * 2)
    assert answer.count(b"HTTP/1.1 304 ") == 2
    assert answer.count(b"Content-Length: 10\r\n") == 2
    assert answer.endswith(b"\r\n\r\n")


def test_start_response_twice(serve, reported):
    def twice(environ, start_response):
        start_response("200 OK", [])
        with pytest.raises(AssertionError, match="exc_info"):
            start_response("201 Created", [])
        return [b"once"]

    assert serve(twice).send(GET % b"/").startswith(b"HTTP/1.1 200 ")
    assert not reported


@pytest.mark.parametrize("late", ["write", "start_response"])
def test_what_is_kept_is_of_no_use_to_the_next_request(serve, late):
    second, errors = Event(), []

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/1":
            write = start_response("200 OK", [("Content-Length", "1")])

            def later():
                second.wait()
                try:
                    if late == "write":
                        write(b"SECRET")
                    else:
                        start_response("200 OK", [("X", "SECRET")])(b"SECRET")
                except AssertionError as error:
                    errors.append(error)

            gevent.spawn(later)
            return [b"1"]

        def body():
            second.set()
            gevent.sleep(0.05)
            yield b"second"

        start_response("200 OK", [])
        return body()

    answer = serve(application).send(GET % b"/1" + GET % b"/2")
    assert b"SECRET" not in answer
    assert b"second" in answer
    assert len(errors) == 1


class Decoy(io.FileIO):
    """A file whose reads differ from its content."""

    def readinto(self, buffer):
        count = super().readinto(buffer)
        buffer[:count] = bytes(buffer[:count]).swapcase()
        return count


class Altered(io.BytesIO):
    def fileno(self):
        return 0


TEXT = b"plain text " * 2000


def written(tmp_path, opener):
    with opener(tmp_path / "file", "wb") as file:
        file.write(TEXT)
    return tmp_path / "file"


def unflushed(tmp_path):
    file = tempfile.TemporaryFile(dir=tmp_path)  # noqa: SIM115
    file.write(TEXT)
    file.seek(0)
    return file


def patched(tmp_path):
    file = open(written(tmp_path, open), "rb")  # noqa: SIM115
    content = io.BytesIO(TEXT)
    raw = file.detach()
    file = io.BufferedReader(raw)
    file.read = content.read  # type: ignore[method-assign]
    return file


def over_decoy(tmp_path):
    (tmp_path / "file").write_bytes(TEXT.swapcase())
    return io.BufferedReader(Decoy(tmp_path / "file"))


FILES = {
    "gzip": lambda path: gzip.GzipFile(written(path, gzip.open)),
    "bz2": lambda path: bz2.BZ2File(written(path, bz2.open)),
    "lzma": lambda path: lzma.LZMAFile(written(path, lzma.open)),  # noqa: SIM115
    "fileno of another": lambda path: Altered(TEXT),
    "buffered over another": over_decoy,
    "patched": patched,
    "written to": unflushed,
    "plain": lambda path: io.BufferedReader(io.FileIO(written(path, open))),
    "unbuffered": lambda path: io.FileIO(written(path, open)),
}


@pytest.mark.parametrize("kind", FILES)
def test_the_bytes_of_a_file_are_those_of_read(serve, tmp_path, kind):
    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", str(len(TEXT)))])
        return environ["wsgi.file_wrapper"](FILES[kind](tmp_path))

    assert serve(application).send(GET % b"/").partition(b"\r\n\r\n")[2] == TEXT


@pytest.mark.parametrize("name", ["/proc/version", "/sys/kernel/mm/transparent_hugepage/enabled"])
def test_files_that_the_kernel_makes_up(serve, name):
    """They are regular files, whose size is none that could be announced."""

    def application(environ, start_response):
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](open(name, "rb"))

    if not os.path.exists(name):
        pytest.skip(f"this kernel has no {name}")
    with open(name, "rb") as file:
        content = file.read()
    answer = serve(application).send(GET % b"/")
    assert answer.endswith(b"\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(content), content))


class Once:
    """An iterable that states the number of its parts, and yields each of them once only."""

    def __init__(self, *parts):
        self.count = len(parts)
        self.parts = iter(parts)

    def __len__(self):
        return self.count

    def __iter__(self):
        return self.parts


@pytest.mark.parametrize("parts", [(b"0123456789",), (b"01234", b"", b"56789"), (b"",), ()])
def test_a_result_is_run_once(serve, parts):
    def application(environ, start_response):
        start_response("200 OK", [])
        return Once(*parts)

    body = b"".join(parts)
    answer = serve(application).send(GET % b"/" * 2).partition(b"\r\n\r\n")
    if len(parts) == 1:
        assert b"Content-Length: %d\r\n" % len(body) in answer[0] + b"\r\n"
        assert answer[2].startswith(body + b"HTTP/1.1 200 ")
    else:
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts if part)
        assert answer[2].startswith(chunks + b"0\r\n\r\nHTTP/1.1 200 ")


OFFERS = {
    "none": (b"", 500),
    "no protocol": (b"Connection: upgrade\r\n", 500),
    "no connection": (b"Upgrade: y\r\n", 500),
    "websocket alone": (b"Upgrade: websocket\r\n", 500),
    "both": (b"Connection: keep-alive, Upgrade\r\nUpgrade: y\r\n", 101),
}


@pytest.mark.parametrize("offer", OFFERS)
def test_another_protocol_has_to_be_offered(serve, reported, offer):
    fields, status = OFFERS[offer]
    application = answering("101 Switching Protocols", [("Upgrade", "y")], ())
    answer = serve(application).send((GET % b"/").replace(b"\r\n\r\n", b"\r\n" + fields + b"\r\n"))
    assert answer.startswith(b"HTTP/1.1 %d " % status)


def test_http_1_0_cannot_change_its_protocol(serve, reported):
    application = answering("101 Switching Protocols", [("Upgrade", "y")], ())
    request = b"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: y\r\n\r\n"
    assert serve(application).send(request).startswith(b"HTTP/1.1 500 ")


def test_the_target_s_host_counts(serve):
    def application(environ, start_response):
        start_response("200 OK", [])
        seen = [environ[name] for name in ("PATH_INFO", "QUERY_STRING", "HTTP_HOST")]
        return [" ".join(seen).encode()]

    answer = serve(application).send(GET % b"http://real.example:80/a%20b?c=d")
    assert answer.endswith(b"/a b c=d real.example:80")


def test_a_tunnel_is_handed_over_whole(serve):
    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "0")])
        return []

    web = serve(application)
    connect = b"CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n"
    answer = web.send(connect + GET % b"/tunnelled")
    assert answer.count(b"HTTP/1.1") == 1
    assert b"Content-Length" not in answer
    assert b"Transfer-Encoding" not in answer


@pytest.mark.parametrize("size", [2**70, -(2**70)])
def test_numbers_beyond_all_memory(serve, size):
    def application(environ, start_response):
        body = environ["wsgi.input"].read(size)
        start_response("200 OK", [])
        return [body]

    request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
    assert serve(application).send(request).endswith(b"hello")


@pytest.mark.parametrize(
    "line",
    [
        b'GET /" 200 1 "x HTTP/1.1',
        b'GET /"200 HTTP/1.1',
        b"GET /\xc2\x9b31m HTTP/1.1",
        b"GET /\x1b]0;t\x07 HTTP/1.1",
        b"GET /\r1.2.3.4 - - fake HTTP/1.1",
    ],
)
def test_the_logs_are_lines_whatever_clients_send(serve, line):
    web = serve(answering("200 OK", []))
    web.send(line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
    for log in (web.log, web.errors):
        text = log.getvalue()
        assert text.count("\n") == bool(text)
        assert text.strip("\n").isascii()
        assert text.strip("\n").isprintable()
    assert web.log.getvalue().count('"') == 2


def test_a_log_that_is_lost_is_told_of_once(serve, reported):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    web = serve(answering("200 OK", []), log=Full())
    assert web.send(GET % b"/" * 3).count(b"HTTP/1.1 200 ") == 3
    assert len(reported) == 1


def test_logs_are_written_line_by_line(serve, tmp_path):
    with open(tmp_path / "log", "w") as log:
        web = serve(answering("200 OK", []), log=log)
        web.send(GET % b"/")
        assert (tmp_path / "log").read_text().endswith("\n")


STATED = ("200 OK", [("Content-Length", "2")])
CALLS = {
    "two": lambda start: start(*STATED),
    "three": lambda start: start(*STATED, None),
    "names": lambda start: start(status=STATED[0], headers=STATED[1]),
    "one name": lambda start: start(STATED[0], headers=STATED[1]),
    "all names": lambda start: start(exc_info=None, headers=STATED[1], status=STATED[0]),
    "names after": lambda start: start(*STATED, exc_info=()),
    "partial": lambda start: functools.partial(start, STATED[0])(STATED[1]),
    "method": lambda start: start.__call__(*STATED),
    "class": lambda start: type(start).__call__(start, *STATED),
}
NO_CALLS = {
    "none": lambda start: start(),
    "one": lambda start: start(STATED[0]),
    "four": lambda start: start(*STATED, None, None),
    "twice": lambda start: start(*STATED, status=STATED[0]),
    "unknown": lambda start: start(*STATED, other=None),
    "name alone": lambda start: start(headers=STATED[1]),
}


@pytest.mark.parametrize("way", CALLS)
def test_ways_to_call_start_response(serve, way):
    def application(environ, start_response):
        CALLS[way](start_response)(b"o")
        return [b"k"]

    assert serve(application).send(GET % b"/" * 2).count(b"\r\n\r\nok") == 2


@pytest.mark.parametrize("way", NO_CALLS)
def test_arguments_that_start_response_does_not_take(serve, way):
    def application(environ, start_response):
        with pytest.raises(TypeError):
            NO_CALLS[way](start_response)
        start_response(*STATED)
        return [b"ok"]

    assert serve(application).send(GET % b"/" * 2).count(b"\r\n\r\nok") == 2
