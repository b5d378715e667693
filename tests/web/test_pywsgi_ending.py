"""The end of a server: idle connections end immediately, running requests when they are done."""

import io
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from conditions import settle
from paths import CERTIFICATE
from ports import unused_address

import gevent
from gevent import pywsgi, socket, ssl
from gevent.event import Event
from gevent.pool import Pool

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def slow():
    """An application that waits, with the events that say so and let it go on."""

    class Slow:
        def __init__(self):
            self.begun, self.go = Event(), Event()

        def __call__(self, environ, start_response):
            self.begun.set()
            self.go.wait()
            start_response("200 OK", [])
            return [b"done"]

    return Slow()


@pytest.mark.parametrize("spawn", ["default", "raw", 10, Pool(10)])
def test_idle_connections_end_at_once(serve, spawn):
    web = serve(lambda environ, start_response: start_response("204 No", []) and [], spawn=spawn)
    socks = [web.connect() for _ in range(3)]
    socks[0].sendall(GET)
    assert b"204" in socks[0].recv(1000)
    socks[1].sendall(b"GET / HT")
    settle()
    began = time.monotonic()
    web.server.stop(timeout=30)
    assert time.monotonic() < began + 20
    for sock in socks:
        with sock:
            assert sock.recv(1000) == b""


@pytest.mark.parametrize("tls", [False, True])
def test_a_request_that_has_come_is_answered(serve, tls):
    settings = {}
    if tls:
        settings["ssl_context"] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        settings["ssl_context"].load_cert_chain(CERTIFICATE)
    web = serve(lambda environ, start_response: start_response("204 No", []) and [], **settings)
    sock = web.connect()
    if tls:
        client = ssl.create_default_context(cafile=CERTIFICATE)
        sock = client.wrap_socket(sock, server_hostname="localhost")
    with sock:
        sock.sendall(GET)
        assert b"204" in sock.recv(1000)
        settle()
        # It lies in the kernel, and the server's loop has not heard of it.
        sock.sendall(GET)
        web.server.stop(timeout=30)
        assert b"204" in sock.recv(1000)


@pytest.mark.parametrize("spawn", ["default", 10])
def test_a_connection_that_has_just_come_may_bring_its_request(serve, spawn):
    web = serve(lambda environ, start_response: start_response("204 No", []) and [], spawn=spawn)
    with web.connect() as sock:
        settle()
        stopping = gevent.spawn(web.server.stop, timeout=30)
        settle()
        sock.sendall(GET)
        assert b"204" in sock.recv(1000)
        stopping.get(timeout=20)


@pytest.mark.parametrize("spawn", ["default", "raw", 10])
def test_requests_that_run_are_finished(serve, slow, spawn):
    web = serve(slow, unused_address(), spawn=spawn)
    with web.connect() as sock:
        sock.sendall(GET * 2)
        slow.begun.wait()
        stopping = gevent.spawn(web.server.stop, timeout=30)
        gevent.sleep(0.02)
        assert not stopping.ready()
        with pytest.raises(OSError, match="refused"):
            web.connect()
        slow.go.set()
        answer = b"".join(iter(lambda: sock.recv(1000), b""))
        stopping.get(timeout=20)
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert b"Connection: close" in answer
    assert answer.endswith(b"done")


def test_stopping_waits_no_longer_than_told(serve, slow):
    web = serve(slow)
    with web.connect() as sock:
        sock.sendall(GET)
        slow.begun.wait()
        web.server.stop(timeout=0.02)
        assert web.server._service.busy == 1
        slow.go.set()
        assert sock.recv(1000).endswith(b"done")


def test_a_pool_s_requests_are_killed_then(serve, slow):
    web = serve(slow, spawn=10)
    with web.connect() as sock:
        sock.sendall(GET)
        slow.begun.wait()
        web.server.stop(timeout=0.02)
        assert web.server._service.busy == 0
        assert b" 500 " in sock.recv(1000)


def test_starting_again(serve):
    web = serve(lambda environ, start_response: start_response("204 No", []) and [])
    web.server.stop()
    web.server.start()
    assert b"204" in web.send(GET)


def test_stopping_twice_and_before_starting():
    server = pywsgi.WSGIServer(("127.0.0.1", 0), lambda environ, start_response: [])
    server.stop()
    server.start()
    server.stop()
    server.stop()


def test_serve_forever_until_stopped():
    server = pywsgi.WSGIServer(
        ("127.0.0.1", 0), lambda e, s: s("204 No", []) and [], log=io.StringIO()
    )
    serving = gevent.spawn(server.serve_forever)
    gevent.sleep(0.01)
    with socket.create_connection(server.address) as sock:
        sock.sendall(GET)
        assert b"204" in sock.recv(1000)
        server.stop()
        assert sock.recv(1000) == b""
    serving.get(timeout=20)


def test_a_process_that_is_told_to_end():
    program = """
        import signal, gevent
        from gevent.pywsgi import WSGIServer

        def application(environ, start_response):
            print("begun", flush=True)
            gevent.sleep(0.2)
            start_response("200 OK", [])
            return [b"done"]

        server = WSGIServer(("127.0.0.1", 0), application, log=None)
        server.start()
        gevent.signal_handler(signal.SIGTERM, server.stop, 20)
        print(server.server_port, flush=True)
        server.serve_forever()
        print("ended", flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        port = int(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(GET)
            assert process.stdout.readline() == "begun\n"
            process.send_signal(signal.SIGTERM)
            answer = b"".join(iter(lambda: sock.recv(1000), b""))
        assert answer.endswith(b"done")
        assert process.stdout.read() == "ended\n"
        assert process.wait(20) == 0
