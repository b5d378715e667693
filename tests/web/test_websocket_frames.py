"""Frames, good and bad, sent to a server whole and byte by byte."""

import socket as stdlib_socket
import struct

import pytest
from websocket_support import echo, frame, read_frame, read_frames, request, serving

import gevent

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10


@pytest.fixture(scope="module")
def served():
    with serving(echo, max_message_size=1000, close_timeout=20) as running:
        yield running
        assert running.errors.getvalue() == ""


def close_frame(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


GOODBYE = close_frame(1000)

GOOD = {
    "text": (frame(TEXT, b"hi"), [(TEXT, b"hi")]),
    "empty": (frame(TEXT) + frame(BINARY), [(TEXT, b""), (BINARY, b"")]),
    "bytes": (frame(BINARY, b"\xff\0"), [(BINARY, b"\xff\0")]),
    "longer": (frame(BINARY, b"x" * 1000), [(BINARY, b"x" * 1000)]),
    "ping": (frame(PING, b"p"), [(PONG, b"p")]),
    "pong": (frame(PONG, b"p"), []),
    "fragments": (
        frame(TEXT, b"a", fin=False) + frame(CONTINUATION, fin=False) + frame(CONTINUATION, b"b"),
        [(TEXT, b"ab")],
    ),
    "a ping between fragments of a character": (
        frame(TEXT, b"\xe2\x82", fin=False) + frame(PING) + frame(CONTINUATION, b"\xac"),
        [(PONG, b""), (TEXT, b"\xe2\x82\xac")],
    ),
}

BAD = {
    "not masked": (frame(TEXT, b"hi", mask=False), 1002),
    "compressed though that was not agreed on": (frame(TEXT, b"hi", rsv=4), 1002),
    "second reserved bit": (frame(TEXT, b"hi", rsv=2), 1002),
    "third reserved bit": (frame(TEXT, b"hi", rsv=1), 1002),
    "reserved opcode": (frame(3, b"hi"), 1002),
    "reserved control opcode": (frame(11), 1002),
    "long ping": (frame(PING, b"x" * 126), 1002),
    "ping in fragments": (frame(PING, fin=False), 1002),
    "continuation of nothing": (frame(CONTINUATION, b"x"), 1002),
    "message within a message": (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), 1002),
    "length in too many bytes": (b"\x81\xfe\x00\x05", 1002),
    "length above 2^63": (b"\x82\xff\x80" + bytes(7), 1002),
    "close of one byte": (frame(CLOSE, b"x"), 1002),
    "close with a reserved code": (close_frame(1005), 1002),
    "close with an unknown code": (close_frame(2000), 1002),
    "close with a reason that is not UTF-8": (close_frame(1000, b"\xff"), 1007),
    "text that is not UTF-8": (frame(TEXT, b"\xff"), 1007),
    "text that ends in a character": (frame(TEXT, b"\xe2\x82"), 1007),
    "surrogate in fragments": (
        frame(TEXT, b"\xed", fin=False) + frame(CONTINUATION, b"\xa0\x80"),
        1007,
    ),
    "too long": (frame(BINARY, b"x" * 1001)[:8], 1009),
    "too long in fragments": (
        frame(BINARY, b"x" * 600, fin=False) + frame(CONTINUATION, b"x" * 401)[:8],
        1009,
    ),
}


def send(sock, data: bytes, single: bool) -> None:
    """Send data in one piece or byte by byte."""
    sock.setsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NODELAY, 1)
    for at in range(0, len(data), 1 if single else len(data)):
        sock.sendall(data[at : at + 1] if single else data)
        gevent.sleep(0)


@pytest.mark.parametrize("single", [False, True], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("name", GOOD)
def test_good(served, name, single):
    data, answer = GOOD[name]
    with served.upgraded() as (sock, file):
        send(sock, data + GOODBYE, single)
        assert read_frames(file) == [*answer, (CLOSE, b"\x03\xe8")]


@pytest.mark.parametrize("single", [False, True], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("name", BAD)
def test_bad(served, name, single):
    data, code = BAD[name]
    with served.upgraded() as (sock, file):
        send(sock, frame(TEXT, b"before") + data, single)
        assert read_frame(file) == (TEXT, b"before")
        opcode, payload = read_frame(file)
        assert (opcode, int.from_bytes(payload[:2], "big")) == (CLOSE, code)
        assert payload[2:].decode().isprintable()
        sock.shutdown(stdlib_socket.SHUT_WR)
        assert read_frame(file) is None


def test_frames_that_come_with_the_request(served):
    with served.upgraded(frame(TEXT, b"early") + GOODBYE) as (_, file):
        assert read_frames(file) == [(TEXT, b"early"), (CLOSE, b"\x03\xe8")]


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1011, 3000, 4999])
def test_a_close_is_answered_with_its_code(served, code):
    with served.upgraded(close_frame(code, b"why") + frame(TEXT, b"late")) as (_, file):
        assert read_frames(file) == [(CLOSE, code.to_bytes(2, "big"))]


def test_an_empty_close_is_answered_with_one(served):
    with served.upgraded(frame(CLOSE)) as (_, file):
        assert read_frames(file) == [(CLOSE, b"")]


EXCHANGE = (
    request()
    + frame(TEXT, b"hello")
    + frame(BINARY, b"x" * 200, fin=False)
    + frame(PING, b"p")
    + frame(CONTINUATION, b"y")
    + GOODBYE
)


@pytest.mark.parametrize("reset", [False, True], ids=["end", "reset"])
def test_a_client_that_leaves_at_any_byte(reset):
    served_now = set()

    def counting(environ, start_response):
        served_now.add(gevent.getcurrent())
        try:
            return echo(environ, start_response)
        finally:
            served_now.discard(gevent.getcurrent())

    with serving(counting) as served:
        for end in range(len(EXCHANGE) + 1):
            with served.connection(EXCHANGE[:end]) as (sock, _):
                gevent.sleep(0)
                if reset:
                    linger = struct.pack("ii", 1, 0)
                    sock.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, linger)
        with gevent.Timeout(20):
            while served_now:
                gevent.sleep(0.01)
        with served.upgraded(frame(TEXT, b"well?")) as (sock, file):
            assert read_frame(file) == (TEXT, b"well?")
            sock.sendall(GOODBYE)
            assert read_frames(file) == [(CLOSE, b"\x03\xe8")]
        assert "Traceback" not in served.errors.getvalue()
