"""Servers: addresses, handlers, pools, errors, and how they stop."""

import errno
import io
import os
import resource
import socket as stdlib
from contextlib import contextmanager

import pytest
from ports import unused_address

import gevent
from gevent import socket
from gevent.baseserver import BaseServer, parse_address
from gevent.pool import Pool
from gevent.server import DatagramServer, StreamServer


def echo(sock, address):
    while data := sock.recv(1000):
        sock.sendall(data)


def connect(server):
    return socket.create_connection(("127.0.0.1", server.server_port), timeout=20)


@contextmanager
def reports():
    """The text that the hub prints meanwhile."""
    hub = gevent.get_hub()
    hub.exception_stream = io.StringIO()
    try:
        yield hub.exception_stream
    finally:
        del hub.exception_stream


# Addresses


@pytest.mark.parametrize(
    ("address", "parsed"),
    [
        (("127.0.0.1", 80), (socket.AF_INET, ("127.0.0.1", 80))),
        (("", 80), (socket.AF_INET6, ("", 80))),
        (("::1", 80), (socket.AF_INET6, ("::1", 80))),
        ("127.0.0.1:80", (socket.AF_INET, ("127.0.0.1", 80))),
        (":80", (socket.AF_INET, ("", 80))),
        ("*:80", (socket.AF_INET, ("", 80))),
        ("[::1]:80", (socket.AF_INET6, ("::1", 80))),
        (80, (socket.AF_INET6, ("", 80))),
        ("80", (socket.AF_INET6, ("", 80))),
    ],
)
def test_parse_address(address, parsed):
    assert parse_address(address) == parsed


def test_parse_address_refuses():
    with pytest.raises(ValueError, match="Failed to parse address 'nothing'"):
        parse_address("nothing")
    for address in (None, 5.5, b"127.0.0.1:80"):
        with pytest.raises(TypeError, match="Expected tuple or string"):
            parse_address(address)


@pytest.mark.parametrize("address", [("127.0.0.1", 0), "127.0.0.1:0", ("localhost", 0), 0, ("", 0)])
def test_listening_at_an_address(address):
    with StreamServer(address, echo) as server:
        server.start()
        assert server.server_port > 0
        with connect(server) as client:
            client.sendall(b"hello")
            assert client.recv(10) == b"hello"


def test_listening_with_a_socket():
    for make in (socket.create_server, stdlib.create_server):
        with StreamServer(make(("127.0.0.1", 0)), echo) as server:
            server.start()
            with connect(server) as client:
                client.sendall(b"hello")
                assert client.recv(10) == b"hello"


def test_listening_at_a_path(socket_folder):
    listener = socket.socket(socket.AF_UNIX)
    path = str(socket_folder / "socket")
    listener.bind(path)
    listener.listen()
    with StreamServer(listener, echo) as server:
        server.start()
        assert (server.address, server.server_host) == (path, None)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(b"hello")
            assert client.recv(10) == b"hello"


def test_an_address_in_use():
    with StreamServer(("127.0.0.1", 0), echo) as server:
        server.start()
        second = StreamServer(server.address, echo)
        with pytest.raises(OSError, match="Address already in use") as caught:
            second.start()
        assert caught.value.errno == errno.EADDRINUSE
        assert not second.started


# The arguments of the constructor


def test_the_constructor_refuses():
    with pytest.raises(TypeError, match="'handle' must be provided"):
        StreamServer(("127.0.0.1", 0))
    with pytest.raises(TypeError, match="backlog must be None"):
        StreamServer(socket.create_server(("127.0.0.1", 0)), echo, backlog=5)
    with pytest.raises(ValueError, match="negative"):
        StreamServer(("127.0.0.1", 0), echo, spawn=-1)

    class NoAccept(StreamServer):
        max_accept = 0

    with pytest.raises(ValueError, match="max_accept must be positive"):
        NoAccept(("127.0.0.1", 0), echo)


def test_a_method_as_handler():
    class Server(StreamServer):
        def handle(self, sock, address):
            sock.sendall(b"method")

    with Server(("127.0.0.1", 0)) as server:
        server.start()
        assert "handle" not in repr(server)
        server.set_handle(server.handle)
        assert "handle=<bound method" in repr(server)
        assert "of self>" in repr(server)
        with connect(server) as client:
            assert client.recv(10) == b"method"
            # The connection ends with the handler.
            assert client.recv(10) == b""


@pytest.mark.parametrize("spawn", ["default", "raw", gevent.spawn, gevent.spawn_raw, 5, Pool(5)])
def test_where_handlers_run(spawn):
    with StreamServer(("127.0.0.1", 0), echo, spawn=spawn) as server:
        server.start()
        with connect(server) as client:
            client.sendall(b"hello")
            assert client.recv(10) == b"hello"


def test_handlers_in_the_hub():
    def answer(sock, address):
        sock.sendall(b"from the hub" if gevent.getcurrent() is gevent.get_hub() else b"?")

    with StreamServer(("127.0.0.1", 0), answer, spawn=None) as server:
        server.start()
        with connect(server) as client:
            assert client.recv(20) == b"from the hub"


def test_a_handler_in_the_hub_must_not_block():
    def sleep(sock, address):
        gevent.sleep(0.01)

    with reports() as printed, StreamServer(("127.0.0.1", 0), sleep, spawn=None) as server:
        server.start()
        with connect(server) as client:
            assert client.recv(20) == b""
    assert "Impossible to call blocking function" in printed.getvalue()


# Pools


def test_a_full_pool_holds_connections_back():
    with StreamServer(("127.0.0.1", 0), echo, spawn=2) as server:
        server.start()
        clients = [connect(server) for _ in range(3)]
        for client in clients:
            client.sendall(b"x")
        assert [client.recv(1) for client in clients[:2]] == [b"x", b"x"]
        clients[2].settimeout(0.02)
        with pytest.raises(TimeoutError):
            clients[2].recv(1)
        assert server.full()
        clients[0].close()
        clients[2].settimeout(20)
        assert clients[2].recv(1) == b"x"
        for client in clients:
            client.close()


def test_stop_waits_for_the_pool_and_then_kills():
    started, ended = [], []

    def handle(sock, address):
        started.append(address)
        try:
            gevent.sleep(60)
        finally:
            ended.append(address)

    server = StreamServer(("127.0.0.1", 0), handle, spawn=5)
    server.start()
    with connect(server):
        while not started:
            gevent.sleep(0.001)
        server.stop(timeout=0.01)
        assert ended == started


# Errors


def test_an_error_in_a_handler_ends_that_connection_alone():
    def handle(sock, address):
        if sock.recv(1) == b"!":
            raise ArithmeticError("on purpose")
        sock.sendall(b"fine")

    with reports() as printed, StreamServer(("127.0.0.1", 0), handle) as server:
        server.start()
        with connect(server) as bad, connect(server) as good:
            bad.sendall(b"!")
            assert bad.recv(1) == b""
            good.sendall(b"x")
            assert good.recv(10) == b"fine"
    assert "ArithmeticError: on purpose" in printed.getvalue()


def test_an_error_in_spawn_holds_back_and_goes_on():
    def refuse(*args):
        raise ArithmeticError("no greenlet")

    with reports() as printed, StreamServer(("127.0.0.1", 0), echo) as server:
        server.start()
        server._spawn = refuse
        with connect(server) as client:
            assert client.recv(1) == b""
        assert server.started
        assert server.delay > server.min_delay
        server._spawn = gevent.spawn
        with connect(server) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        assert server.delay == server.min_delay
    assert "ArithmeticError: no greenlet" in printed.getvalue()


def test_no_more_descriptors():
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with reports() as printed, StreamServer(("127.0.0.1", 0), echo) as server:
        server.start()
        client = socket.socket()
        # The next descriptor is the first that is not allowed.
        unused = os.dup(0)
        os.close(unused)
        resource.setrlimit(resource.RLIMIT_NOFILE, (unused, limits[1]))
        try:
            client.connect(("127.0.0.1", server.server_port))
            while "Too many open files" not in printed.getvalue():
                gevent.sleep(0.001)
            assert server.started
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        with client:
            client.settimeout(20)
            client.sendall(b"x")
            assert client.recv(1) == b"x"


def test_a_listener_closed_behind_its_back(capsys):
    with reports(), StreamServer(("127.0.0.1", 0), echo) as server:
        server.start()
        assert server.is_fatal_error(OSError(errno.EBADF, ""))
        assert not server.is_fatal_error(OSError(errno.EMFILE, ""))

        def do_read():
            raise OSError(errno.EBADF, "Bad file descriptor")

        server.do_read = do_read
        with socket.socket() as client:
            client.setblocking(False)
            client.connect_ex(server.address)
            while server.started:
                gevent.sleep(0.001)
        assert server.closed
    assert "failed with [Errno 9]" in capsys.readouterr().err


# Starting and stopping


def test_start_stop():
    server = StreamServer(unused_address(), echo)
    assert (server.started, server.closed) == (False, True)
    server.start()
    server.start()
    port = server.server_port
    assert (server.started, server.closed) == (True, False)
    server.stop()
    server.stop()
    assert (server.started, server.closed) == (False, True)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_stop_accepting_and_start_accepting():
    with StreamServer(("127.0.0.1", 0), echo) as server:
        server.start()
        server.stop_accepting()
        with connect(server) as client:
            client.sendall(b"x")
            client.settimeout(0.02)
            with pytest.raises(TimeoutError):
                client.recv(1)
            server.start_accepting()
            client.settimeout(20)
            assert client.recv(1) == b"x"


def test_serve_forever():
    server = StreamServer(("127.0.0.1", 0), echo)
    forever = gevent.spawn(server.serve_forever)
    gevent.sleep(0.001)
    with connect(server) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
    server.stop()
    forever.join(20)
    assert forever.successful()


def test_killing_serve_forever_stops_the_server():
    server = StreamServer(("127.0.0.1", 0), echo)
    forever = gevent.spawn(server.serve_forever)
    gevent.sleep(0.001)
    forever.kill()
    assert not server.started


def test_many_connections_at_once():
    count = 300
    with StreamServer(("127.0.0.1", 0), echo, backlog=count) as server:
        server.start()

        def talk(number):
            with connect(server) as client:
                client.sendall(b"%d" % number)
                return int(client.recv(10))

        talks = [gevent.spawn(talk, number) for number in range(count)]
        gevent.joinall(talks, timeout=20, raise_error=True)
        assert [talk.value for talk in talks] == list(range(count))


def test_the_base_alone():
    server = BaseServer(("127.0.0.1", 0), echo)
    with pytest.raises(AttributeError):
        server.start()
    with pytest.raises(NotImplementedError):
        server.do_read()


# Datagrams


def test_a_datagram_server():
    def answer(data, address):
        server.sendto(data.upper(), address)

    with DatagramServer("127.0.0.1:0", answer) as server:
        server.start()
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.settimeout(20)
            for message in (b"one", b"two"):
                client.sendto(message, server.address)
                assert client.recvfrom(10) == (message.upper(), server.address)
