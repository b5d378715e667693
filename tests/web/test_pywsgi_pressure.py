"""Room for new connections, and shortages."""

import errno

from conditions import settle, until

import gevent
from gevent import socket
from gevent.pool import Pool
from gevent.pywsgi import WSGIServer

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


def ask(web):
    sock = web.connect()
    sock.sendall(GET)
    assert sock.recv(1000).endswith(b"ok")
    return sock


def ended(sock):
    with gevent.Timeout(20):
        return sock.recv(1000) == b""


def test_the_one_idle_longest_makes_room(serve):
    web = serve(application, spawn=Pool(3))
    first, second, third = ask(web), ask(web), ask(web)
    first.sendall(GET)
    assert first.recv(1000).endswith(b"ok")
    settle()
    with ask(web) as fourth:
        # The second has been idle longest since the first had another request.
        assert ended(second)
        fourth.sendall(GET)
        assert fourth.recv(1000).endswith(b"ok")
    for sock in (first, third):
        sock.sendall(GET)
        assert sock.recv(1000).endswith(b"ok")
        sock.close()
    second.close()


def test_the_first_to_be_idle_makes_room_where_none_is(serve):
    go_on = gevent.event.Event()

    def slow(environ, start_response):
        if environ["PATH_INFO"] == "/slow":
            go_on.wait()
        return application(environ, start_response)

    web = serve(slow, spawn=Pool(1))
    with web.connect() as busy, web.connect() as other:
        busy.sendall(GET.replace(b"/ ", b"/slow ", 1))
        settle()
        other.sendall(GET)
        settle()
        go_on.set()
        assert busy.recv(1000).endswith(b"ok")
        assert other.recv(1000).endswith(b"ok")
        assert ended(busy)


def test_half_a_request_is_not_idle(serve):
    web = serve(application, spawn=Pool(2), header_timeout=60)
    with web.connect() as half, ask(web) as idle:
        half.sendall(GET[:10])
        settle()
        with ask(web):
            assert ended(idle)
        half.sendall(GET[10:])
        assert half.recv(1000).endswith(b"ok")


def test_no_more_descriptors(serve, reported):
    short = [True]
    attempts = []

    class Short(WSGIServer):
        min_delay = 0.001

        def do_read(self):
            attempts.append(short[0])
            if short[0]:
                raise OSError(errno.EMFILE, "Too many open files")
            return super().do_read()

    with Short(("127.0.0.1", 0), application, log=None, error_log=None) as server:
        server.start()
        with socket.create_connection(server.address) as sock:
            sock.settimeout(20)
            sock.sendall(GET)
            until(lambda: len(attempts) > 3)
            assert len(reported) == 1
            short[0] = False
            assert sock.recv(1000).endswith(b"ok")
        assert len(reported) == 1


def test_descriptors_that_come_and_go(serve, reported):
    """Each connection that ends lets one in, and then there is none again."""
    turn = [0]

    class Short(WSGIServer):
        min_delay = 0.001

        def do_read(self):
            turn[0] += 1
            if turn[0] % 2:
                raise OSError(errno.EMFILE, "Too many open files")
            return super().do_read()

    with Short(("127.0.0.1", 0), application, log=None, error_log=None) as server:
        server.start()
        for _ in range(5):
            with socket.create_connection(server.address) as sock:
                sock.settimeout(20)
                sock.sendall(GET)
                assert sock.recv(1000).endswith(b"ok")
        assert len(reported) == 1
        # After a time without any, it is worth a report again.
        server._last_shortage -= 100
        with socket.create_connection(server.address) as sock:
            sock.settimeout(20)
            sock.sendall(GET)
            assert sock.recv(1000).endswith(b"ok")
        assert len(reported) == 2


def test_an_address_has_so_many_connections(serve):
    web = serve(application, max_per_address=2)
    first, second = ask(web), ask(web)
    with web.connect() as third:
        assert ended(third)
    assert "max_per_address" in web.errors.getvalue()
    first.close()
    settle()
    ask(web).close()
    second.close()
