"""Early answers reach their clients; waits restart with progress, which a drip is not."""

import contextlib

import pytest
from conditions import settle, until
from paths import CERTIFICATE
from tls_support import connect

import gevent
from gevent import socket

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
SIZE = 4 << 20


def refusing(environ, start_response):
    start_response("401 Unauthorized", [("Content-Length", "2")])
    return [b"no"]


def reading(environ, start_response):
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", "0")])
    return []


def everything(sock):
    answer = b""
    while part := sock.recv(65536):
        answer += part
    return answer


UPLOADS = {
    "length": (b"Content-Length: %d\r\n\r\n" % SIZE, b""),
    "chunks": (b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % SIZE, b"\r\n0\r\n\r\n"),
}


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("framing", UPLOADS)
def test_an_early_answer_to_a_client_that_sends_first(serve, contexts, framing, tls):
    head, end = UPLOADS[framing]
    web = serve(refusing, **({"ssl_context": contexts[0]} if tls else {}))
    for _ in range(3):
        with connect(web, contexts[1]) if tls else web.connect() as sock:
            # It looks for the answer when all is sent, as http.client does.
            sock.sendall(POST + head + b"x" * SIZE + end)
            answer = everything(sock)
        assert answer.startswith(b"HTTP/1.1 401 ")
        assert b"Connection: close\r\n" in answer
        assert answer.endswith(b"no")


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize(
    "head", [b"1.0\r\n", b"1.1\r\nConnection: close\r\n"], ids=["1.0", "close"]
)
def test_bytes_behind_the_last_request_do_not_cost_the_rest_of_the_answer(
    serve, contexts, head, tls
):
    body, over = b"x" * 300_000, []

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", str(len(body)))])
        over.append(environ)
        return [body]

    web = serve(application, **({"ssl_context": contexts[0]} if tls else {}))
    with gevent.Timeout(60), socket.socket() as sock:
        # Most of the answer has to stay on the server's side for now.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(web.server.address[:2])
        sock = contexts[1].wrap_socket(sock, server_hostname="localhost") if tls else sock
        with sock:
            sock.sendall(b"GET / HTTP/" + head + b"Host: x\r\n\r\n")
            until(lambda: over)
            settle()
            sock.sendall(GET)
            settle()
            answer = everything(sock)
    assert answer.endswith(b"\r\n\r\n" + body)
    assert len(over) == 1


def test_a_small_body_costs_no_connection(serve):
    web = serve(refusing)
    with web.connect() as sock:
        for _ in range(2):
            sock.sendall(POST + b"Content-Length: 100\r\n\r\n" + b"x" * 100)
            answer = sock.recv(1000)
            assert answer.startswith(b"HTTP/1.1 401 ")
            assert b"Connection: close" not in answer


def test_lingering_ends(serve):
    web = serve(refusing, linger_time=0.3, linger_timeout=0.1)
    with web.connect() as sock:
        sock.sendall(POST + b"Content-Length: 100000000\r\n\r\n")

        def drip():
            with contextlib.suppress(OSError):
                while True:
                    sock.sendall(b"x")
                    gevent.sleep(0.01)

        gevent.spawn(drip).get(timeout=20)
    until(lambda: web.server._service.busy == 0)


def test_the_application_s_word_does_not_keep_what_ends(serve):
    def keeping(environ, start_response):
        start_response("200 OK", [("Connection", "keep-alive"), ("Content-Length", "0")])
        return []

    answer = serve(keeping).send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"Connection: close\r\n" in answer


@pytest.mark.parametrize("fields", [b"", b"Connection: upgrade\r\n", b"Upgrade: websocket\r\n"])
def test_a_drip_of_a_body_is_no_progress(serve, fields):
    web = serve(reading, body_timeout=0.5)
    with web.connect() as sock:
        sock.sendall(POST + fields + b"Content-Length: 100000\r\n\r\n")

        def drip():
            while True:
                sock.sendall(b"x")
                gevent.sleep(0.05)

        dripping = gevent.spawn(drip)
        assert sock.recv(1000).startswith(b"HTTP/1.1 408 ")
        dripping.kill()
    assert "body_timeout" in web.errors.getvalue()


def test_a_body_that_goes_on_may_take_longer(serve):
    web = serve(reading, body_timeout=1)
    with web.connect() as sock:
        sock.sendall(POST + b"Content-Length: 20000\r\n\r\n")
        for _ in range(20):
            gevent.sleep(0.1)
            sock.sendall(b"x" * 1000)
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_a_response_that_is_taken_may_take_longer(serve, contexts, tls):
    size = 8 << 20

    def large(environ, start_response):
        start_response("200 OK", [("Content-Length", str(size))])
        return [b"x" * size]

    web = serve(large, write_timeout=1.0, **({"ssl_context": contexts[0]} if tls else {}))
    with connect(web, contexts[1]) if tls else web.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        got = 0
        while part := sock.recv(65536):
            got += len(part)
            gevent.sleep(len(part) / 3e6)
        assert got > size
    assert not web.errors.getvalue()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_a_response_that_is_not_taken_ends(serve, contexts, tls):
    def endless(environ, start_response):
        start_response("200 OK", [])
        while True:
            yield b"x" * 100_000

    web = serve(endless, write_timeout=0.2, **({"ssl_context": contexts[0]} if tls else {}))
    with connect(web, contexts[1]) if tls else web.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        with gevent.Timeout(20):
            while "write_timeout" not in web.errors.getvalue():
                gevent.sleep(0.02)


def test_a_handshake_has_a_deadline_as_a_whole(serve, contexts):
    web = serve(refusing, ssl_context=contexts[0], header_timeout=0.3)
    with web.connect() as sock:

        def drip():
            with contextlib.suppress(OSError):
                # The head of a record that announces more than comes.
                for byte in b"\x16\x03\x01\x40\x00" + b"\x01" * 10_000:
                    sock.sendall(bytes([byte]))
                    gevent.sleep(0.02)

        gevent.spawn(drip).get(timeout=20)
    assert "header_timeout" in web.errors.getvalue()


def test_a_context_of_the_standard_library_lets_others_run(output_of):
    code = """
import ssl, gevent
from gevent import socket
from gevent.pywsgi import WSGIServer
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain({certificate!r})
server = WSGIServer(("127.0.0.1", 0), app, log=None, error_log=None, ssl_context=context)
server.start()
silent = socket.create_connection(server.address)
gevent.sleep(0.1)
from gevent import ssl as ours
client = ours.create_default_context(cafile={certificate!r})
made = socket.create_connection(server.address)
with client.wrap_socket(made, server_hostname="localhost") as sock:
    sock.sendall(b"GET / HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n")
    print(sock.recv(1000)[9:12].decode())
class Own(ssl.SSLSocket): pass
context.sslsocket_class = Own
try:
    WSGIServer(("127.0.0.1", 0), app, ssl_context=context)
except TypeError as error:
    print("gevent.ssl" in str(error))
"""
    assert output_of(code.format(certificate=CERTIFICATE)) == "200\nTrue\n"
