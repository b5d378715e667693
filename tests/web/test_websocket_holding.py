"""Answers to messages that came together are sent together, and none is kept back."""

import os
import socket as stdlib_socket

import pytest
from conditions import settle
from websocket_support import echo, frame, read_frame, read_frames, serving

import gevent
from gevent import os as gevent_os
from gevent import pywsgi, socket
from gevent.websocket import PerMessageDeflate
from gevent.websocket.connection import Stream, WebSocket

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
GOODBYE = frame(CLOSE, b"\x03\xe8")


class Counting(Stream):
    """A stream that is more than its socket: it is used by its methods."""

    def __init__(self, sock):
        super().__init__(sock)
        self.calls = []
        self.recv = lambda size: self.calls.append("recv") or sock.recv(size)
        self.write = lambda data: self.calls.append("write") or sock.sendall(data)


def application_of(function):
    def application(environ, start_response):
        function(environ["wsgi.websocket"])
        return []

    return application


def test_messages_that_come_together():
    count = 5000  # more than is held, and more than is received at once
    data = b"".join(frame(TEXT, b"%d" % n) + frame(BINARY, b"%d" % n) for n in range(count))
    with serving(echo) as served, served.upgraded() as (sock, file):
        sender = gevent.spawn(sock.sendall, data + GOODBYE)
        answers = read_frames(file)
        sender.get()
    expected = [(kind, b"%d" % n) for n in range(count) for kind in (TEXT, BINARY)]
    assert answers == [*expected, (CLOSE, b"\x03\xe8")]


@pytest.mark.parametrize("last", [b"", frame(TEXT, b"more")[:3]], ids=["whole", "in part"])
def test_an_answer_goes_out_while_the_application_waits_for_something_else(last):
    go_on = gevent.event.Event()

    def application(ws):
        ws.send(ws.receive())
        assert go_on.wait(20)
        ws.send(ws.receive())

    data = frame(TEXT, b"one") + frame(TEXT, b"two") + last
    with (
        serving(application_of(application), close_timeout=0.02) as served,
        served.upgraded(data) as (_, file),
    ):
        assert read_frame(file) == (TEXT, b"one")
        go_on.set()
        assert read_frame(file) == (TEXT, b"two")


def test_an_answer_goes_out_before_the_application_waits_for_a_message():
    with serving(echo) as served:
        part = frame(TEXT, b"two")
        with served.upgraded(frame(TEXT, b"one") + part[:4]) as (sock, file):
            assert read_frame(file) == (TEXT, b"one")
            sock.sendall(part[4:])
            assert read_frame(file) == (TEXT, b"two")


def test_the_order_of_messages_and_control_frames():
    def application(ws):
        ws.send(ws.receive())
        ws.ping(b"q")
        ws.send(b"bytes")
        ws.send("text")
        ws.close(4000, "why")

    data = frame(TEXT, b"one") + frame(TEXT, b"unread")
    with (
        serving(application_of(application), close_timeout=0.02) as served,
        served.upgraded(data) as (_, file),
    ):
        assert read_frames(file) == [
            (TEXT, b"one"),
            (PING, b"q"),
            (BINARY, b"bytes"),
            (TEXT, b"text"),
            (CLOSE, b"\x0f\xa0why"),
        ]


def test_a_client_that_reads_slowly(monkeypatch):
    """Bytes that the hub cannot send are sent by a greenlet that waits."""
    sizes = [9000] * 2000
    over, left = gevent.event.Event(), []
    flush = WebSocket._flush
    monkeypatch.setattr(WebSocket, "_flush", lambda ws: left.append(ws) or flush(ws))
    # With a small buffer of the kernel, it is full when the hub sends.
    monkeypatch.setattr(pywsgi, "_MOST_UNSENT", 1 << 18)

    def application(ws):
        assert ws.receive() == "go"
        for size in sizes:
            ws.send("x" * size)
            gevent.sleep(0)
        over.set()
        assert ws.receive() == "unread"

    with (
        serving(application_of(application), close_timeout=0.02) as served,
        served.upgraded(frame(TEXT, b"go") + frame(TEXT, b"unread")) as (_, file),
    ):
        settle()  # the buffers fill meanwhile
        assert not over.is_set()
        assert [read_frame(file) for _ in sizes] == [(TEXT, b"x" * size) for size in sizes]
        assert left


def test_a_connection_that_is_lost_with_answers_held():
    outcome = gevent.event.AsyncResult()

    def application(ws):
        assert ws.receive() == "one"
        ready.set()
        assert gone.wait(20)
        ws.send("answer")
        outcome.set([ws.receive(), ws.receive(), ws.close_code])

    ready, gone = gevent.event.Event(), gevent.event.Event()
    with serving(application_of(application)) as served:
        with served.upgraded(frame(TEXT, b"one") + frame(TEXT, b"two")) as (sock, _):
            assert ready.wait(20)
            linger = b"\1\0\0\0\0\0\0\0"
            sock.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, linger)
        gone.set()
        assert outcome.get(timeout=20) == ["two", None, 1006]
        assert "Traceback" not in served.errors.getvalue()


def test_a_timeout_while_sending_what_is_left():
    """A message that was cut off is the last one."""

    def application(ws):
        with gevent.Timeout(0.05, False):
            ws.send("x" * 30_000_000)
        seen.append(ws.closed)

    seen = []
    with serving(application_of(application)) as served, served.upgraded() as (_, file):
        while not seen:
            gevent.sleep(0.01)
        assert seen == [True]
        assert len(file.read()) < 30_000_000


@pytest.mark.parametrize("compression", [None, PerMessageDeflate()])
@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "by methods"])
def test_both_kinds_of_streams_do_the_same(wrapped, compression):
    one, other = socket.socketpair()
    stream = Counting(one) if wrapped else Stream(one)

    class Client(WebSocket):
        _is_client = True

    with one, other, gevent.Timeout(20):
        ws = WebSocket(None, stream, None, compression=compression, max_message_size=10**6)
        client = Client(None, Stream(other), None, compression=compression)
        served = gevent.spawn(lambda: [ws.send(item) for item in iter(ws.receive, None)])
        messages = ["", "té", "x" * 300, bytearray(b"\xff"), bytearray(70_000), "end"] * 3
        sender = gevent.spawn(lambda: [client.send(message) for message in messages])
        assert [client.receive() for _ in messages] == messages
        sender.get()
        client.close(3000, "bye")
        assert client.wait_closed(10)
        served.get()
        assert (ws.close_code, ws.close_reason, ws.closed) == (3000, "bye", True)
        assert not wrapped or {*stream.calls} == {"recv", "write"}


def test_a_fork_leaves_the_answers_to_the_parent():
    one, other = socket.socketpair()
    with one, other, gevent.Timeout(20):
        ws = WebSocket(None, Stream(one), None, received=frame(TEXT, b"one") + frame(TEXT, b"two"))
        ws.send(ws.receive())
        child = gevent_os.fork()
        if not child:
            try:
                gevent.sleep(0.01)
            finally:
                os._exit(0)
        gevent_os.waitpid(child, 0)
        one.close()
        assert other.recv(100) == b"\x81\x03one"
        assert other.recv(100) == b""


def test_a_socket_that_may_not_wait():
    one, other = socket.socketpair()
    with one, other:
        one.settimeout(0)
        ws = WebSocket(None, Stream(one), None)
        other.sendall(frame(TEXT, b"there"))
        assert ws.receive() == "there"
        assert ws.receive() is None
        assert ws.close_code == 1006


def test_what_was_given_to_send_is_free_while_it_is_sent():
    one, other = socket.socketpair()
    with one, other, gevent.Timeout(20):
        ws = WebSocket(None, Stream(one), None)
        content = bytearray(8_000_000)
        sender = gevent.spawn(ws.send, content)
        gevent.sleep(0)
        content.clear()
        assert not sender.ready()
        assert len(Stream(other).read(8_000_010)) == 8_000_010
        sender.get()
