"""The WSGI server over TLS."""

import os

import pytest
from conditions import settle
from paths import CERTIFICATE
from tls_support import connect

import gevent
from gevent import pywsgi

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def scheme(environ, start_response):
    start_response("200 OK", [])
    return [environ["wsgi.url_scheme"].encode(), environ["wsgi.input"].read()]


def test_requests_over_tls(serve, contexts):
    web = serve(scheme, ssl_context=contexts[0])
    with connect(web, contexts[1]) as sock:
        for _ in range(3):
            sock.sendall(GET)
            assert sock.recv(1000).endswith(b"https")
        sock.sendall(GET * 2)
        answers = b""
        while answers.count(b"https") < 2:
            answers += sock.recv(1000)


@pytest.mark.filterwarnings("ignore:ssl.PROTOCOL_TLS")
def test_certificate_files(serve, contexts):
    web = serve(scheme, certfile=CERTIFICATE, keyfile=CERTIFICATE)
    with connect(web, contexts[1]) as sock:
        sock.sendall(GET)
        assert sock.recv(1000).endswith(b"https")


def test_the_name_and_the_protocol_that_the_client_asks_for(serve, contexts):
    names = []
    server, client = contexts
    server.sni_callback = lambda sock, name, context: names.append(name)
    server.set_alpn_protocols(["http/1.1"])
    client.set_alpn_protocols(["h2", "http/1.1"])
    web = serve(scheme, ssl_context=server)
    with connect(web, client) as sock:
        assert sock.selected_alpn_protocol() == "http/1.1"
        sock.sendall(GET)
        assert sock.recv(1000).endswith(b"https")
    assert names == ["localhost"]


def test_large_bodies_both_ways(serve, contexts):
    data = os.urandom(1_000_000)

    def echo(environ, start_response):
        body = environ["wsgi.input"].read()
        start_response("200 OK", [])
        return (body[at : at + 100_000] for at in range(0, len(body), 100_000))

    web = serve(echo, ssl_context=contexts[0])
    with connect(web, contexts[1]) as sock:
        head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
        sending = gevent.spawn(sock.sendall, head + data)
        answer = b""
        while not answer.endswith(b"\r\n0\r\n\r\n"):
            answer += sock.recv(100_000)
        sending.get(timeout=20)
    parts = answer.partition(b"\r\n\r\n")[2].split(b"186a0\r\n")
    assert b"".join(part[:100_000] for part in parts) == data


def test_plain_http_to_a_tls_port(serve, contexts, reported):
    web = serve(scheme, ssl_context=contexts[0])
    with web.connect() as sock:
        sock.sendall(GET)
        answer = b"".join(iter(lambda: sock.recv(1000), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"HTTPS" in answer
    assert not reported
    [line] = web.errors.getvalue().splitlines()
    assert "TLS handshake failed" in line
    with connect(web, contexts[1]) as sock:
        sock.sendall(GET)
        assert sock.recv(1000).endswith(b"https")


@pytest.mark.parametrize("limit", ["idle_timeout", "header_timeout"])
def test_time_limits_over_tls(serve, contexts, limit):
    web = serve(scheme, ssl_context=contexts[0], **{limit: 0.1})
    with connect(web, contexts[1]) as sock:
        if limit == "header_timeout":
            sock.sendall(b"GET / HT")
            assert sock.recv(1000).startswith(b"HTTP/1.1 408 ")
        assert sock.recv(1000) == b""


def test_stopping_ends_idle_connections(serve, contexts):
    web = serve(scheme, ssl_context=contexts[0])
    with connect(web, contexts[1]) as sock:
        sock.sendall(GET)
        assert sock.recv(1000).endswith(b"https")
        settle()
        web.server.stop(timeout=30)
        assert sock.recv(1000) == b""


def test_it_is_a_server_of_tls(contexts):
    made = pywsgi.WSGIServer(("127.0.0.1", 0), scheme, ssl_context=contexts[0])
    assert made.ssl_enabled
    assert made.environ["wsgi.url_scheme"] == "https"


def test_a_client_that_does_not_negotiate_is_left(serve, contexts):
    web = serve(scheme, ssl_context=contexts[0], header_timeout=0.05)
    with web.connect() as sock:
        assert sock.recv(1000) == b""
