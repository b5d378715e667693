"""Bodies that do not consist of bytes: the client gets a whole error while that is possible."""

import pytest

import gevent
from gevent.pywsgi import WSGIHandler

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
INTERNAL = b"Internal Server Error"


def yielding(*parts):
    yield from parts


class Sized:
    """A body that is neither a list nor a tuple, and knows its length."""

    def __init__(self, *parts):
        self.parts = parts

    def __len__(self):
        return len(self.parts)

    def __iter__(self):
        return iter(self.parts)


def application_of(make_body, written=None):
    def application(environ, start_response):
        write = start_response("200 OK", [("Content-Type", "text/html")])
        if written is not None:
            write(written)
        return make_body()

    return application


class AddsNothing(WSGIHandler):
    """A handler with a step of its own, so that no steps are taken together."""

    def _sendall(self, data):
        super()._sendall(data)


@pytest.mark.parametrize("handler_class", [WSGIHandler, AddsNothing])
@pytest.mark.parametrize(
    ("make_body", "written", "kind"),
    [
        (lambda: ["text"], None, "str"),
        (lambda: ("text",), None, "str"),
        (lambda: "text", None, "str"),
        (lambda: yielding("text"), None, "str"),
        (lambda: yielding(b"", "text"), None, "str"),
        (lambda: Sized(b"", "text"), None, "str"),
        (lambda: [5], None, "int"),
        (lambda: yielding(["text"]), None, "list"),
        (list, "text", "str"),
    ],
)
def test_the_first_part_is_no_bytes(serve, printed, handler_class, make_body, written, kind):
    web = serve(application_of(make_body, written), handler_class=handler_class)
    head, _, body = web.send(REQUEST * 2).partition(b"\r\n\r\n")
    assert (head.split(b"\r\n")[0], body) == (b"HTTP/1.1 500 Internal Server Error", INTERNAL)
    assert f"the application must yield or write bytes, not {kind}\n" in printed.getvalue()
    assert '" 500 ' in web.log.getvalue()


@pytest.mark.parametrize("make_body", [lambda: [b"abc", "text"], lambda: (bytearray(b"a"), "b")])
def test_any_part_of_a_body_that_is_all_there(serve, printed, make_body):
    answer = serve(application_of(make_body)).send(REQUEST)
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert "must yield or write bytes" in printed.getvalue()


def test_a_later_part_ends_the_connection(serve, printed):
    answer = serve(application_of(lambda: yielding(b"abc", "text"))).send(REQUEST * 2)
    assert answer.endswith(b"\r\n\r\n3\r\nabc\r\n"), "no end of the body, and no second answer"
    assert "must yield or write bytes, not str" in printed.getvalue()


def test_a_request_for_the_head_alone(serve, printed):
    status, _, body = serve(application_of(lambda: ["text"])).get(method="HEAD")
    assert (status, body) == ("500 Internal Server Error", b"")
    assert "must yield or write bytes" in printed.getvalue()


def test_empty_text_is_nothing_to_send(serve, reported):
    assert serve(application_of(lambda: [""])).get()[0] == "200 OK"
    assert serve(application_of(lambda: yielding("", b"abc"))).get()[2].count(b"abc") == 1
    assert not reported


def test_the_length_of_a_body_is_counted_in_bytes(serve):
    words = memoryview(b"abcdef").cast("H")
    _, headers, body = serve(application_of(lambda: [words])).get()
    assert (headers["Content-Length"], body) == ("6", b"abcdef")


def test_the_other_requests_of_a_server_go_on(serve, printed):
    def application(environ, start_response):
        start_response("200 OK", [])
        gevent.sleep(0)
        return ["text" if environ["PATH_INFO"] == "/text" else b"bytes"]

    web = serve(application)
    asked = [gevent.spawn(web.get, path) for path in ("/text", "/", "/text", "/")]
    gevent.joinall(asked, raise_error=True)
    assert [greenlet.value[0][:3] for greenlet in asked] == ["500", "200", "500", "200"]
