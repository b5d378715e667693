"""Sockets: how they connect, how they end, what else the object offers, and what is left over."""

import errno
import gc
import os
import pickle
import socket as stdlib
import struct
import sys
import warnings
import weakref
from contextlib import closing

import pytest
from descriptors import open_descriptors
from ports import unused_address

import gevent
from gevent import select, socket

BAD = "Bad file descriptor"


# Connecting and accepting


def test_connect_and_accept_wait_for_each_other(waiting):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        acceptor = waiting(listener.accept)
        with socket.create_connection(("localhost", listener.getsockname()[1])) as client:
            accepted, address = acceptor.get(timeout=20)
            with accepted:
                assert type(accepted) is socket.socket
                assert address == client.getsockname()
                assert accepted.getpeername() == address
                assert (accepted.family, accepted.type) == (socket.AF_INET, socket.SOCK_STREAM)
                assert not accepted.get_inheritable()


def test_connect_ex_without_waiting():
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        client.setblocking(False)
        assert client.connect_ex(listener.getsockname()) == errno.EINPROGRESS
        socket.wait_write(client.fileno(), timeout=20)
        assert client.connect_ex(listener.getsockname()) == 0
        assert client.connect_ex(listener.getsockname()) == errno.EISCONN
        client.setblocking(True)
        assert client.connect_ex(listener.getsockname()) == 0


def test_a_refused_connection():
    address = unused_address()
    with socket.socket() as sock, pytest.raises(ConnectionRefusedError):
        sock.connect(address)
    with socket.socket() as sock:
        assert sock.connect_ex(address) == errno.ECONNREFUSED
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)
    with pytest.raises(ExceptionGroup) as caught:
        socket.create_connection(address, all_errors=True)
    assert [type(error) for error in caught.value.exceptions] == [ConnectionRefusedError]


def test_a_socket_may_connect_after_a_refusal(waiting):
    with socket.socket() as sock, socket.create_server(("127.0.0.1", 0)) as listener:
        assert sock.connect_ex(unused_address()) == errno.ECONNREFUSED
        sock.settimeout(20)
        # Linux lets the first try after a refusal fail.
        while sock.connect_ex(listener.getsockname()):
            pass
        accepted, _ = listener.accept()
        with accepted:
            reader = waiting(sock.recv, 5)
            accepted.send(b"hi")
            assert reader.get(timeout=20) == b"hi"


def test_connect_without_waiting():
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as sock:
        sock.setblocking(False)
        assert sock.connect_ex(listener.getsockname()) in (0, errno.EINPROGRESS)
        with pytest.raises(BlockingIOError):
            sock.recv(1)


def test_connect_refuses_wrong_addresses():
    with socket.socket() as sock:
        with pytest.raises(TypeError):
            sock.connect(1)
        with pytest.raises(OverflowError):
            sock.connect_ex(("127.0.0.1", 65536))
        with pytest.raises(socket.gaierror):
            sock.connect_ex(("no-such-host.invalid", 1))


def test_source_address():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        source = unused_address()
        with socket.create_connection(listener.getsockname(), 5, source) as client:
            assert client.getsockname() == source
            assert client.gettimeout() == 5


# The end


@pytest.mark.parametrize("end", ["close", "detach", "_real_close"])
def test_closing_wakes_those_who_wait(pair, end, waiting, failure_of):
    one, _ = pair
    reader = waiting(one.recv, 5)
    writer = waiting(one.sendall, b"x" * 10_000_000)
    number = getattr(one, end)()
    for greenlet in (reader, writer):
        error = failure_of(greenlet)
        assert isinstance(error, OSError)
        assert error.args == (errno.EBADF, "File descriptor was closed in another greenlet")
    if end == "detach":
        os.close(number)


def test_a_closed_socket(pair):
    one, _ = pair
    number = one.fileno()
    one.close()
    one.close()
    assert (one.fileno(), one.closed, one.detach(), bool(one._sock)) == (-1, True, -1, False)
    assert "[closed]" in repr(one)
    assert f"fd={number} closed" in repr(one)
    for operation in (
        lambda: one.recv(1),
        lambda: one.recv_into(bytearray(1)),
        lambda: one.recvfrom(1),
        lambda: one.send(b"x"),
        lambda: one.sendall(b"x"),
        lambda: one.sendto(b"x", ("127.0.0.1", 9)),
        one.accept,
        one.getsockname,
        one.dup,
        lambda: one.shutdown(socket.SHUT_RDWR),
        lambda: one.setsockopt(1, 1, 1),
    ):
        with pytest.raises(OSError, match=BAD) as caught:
            operation()
        assert caught.value.errno == errno.EBADF
    assert one.connect_ex(("127.0.0.1", 1)) == errno.EBADF


def test_a_descriptor_number_that_is_used_again(pair, waiting, failure_of):
    one, _ = pair
    reader = waiting(one.recv, 5)
    number = one.fileno()
    one.close()
    replacement, peer = socket.socketpair()
    with replacement, peer:
        assert number in (replacement.fileno(), peer.fileno())
        assert failure_of(reader).errno == errno.EBADF
        peer.send(b"x")
        assert replacement.recv(1) == b"x"


def test_a_descriptor_closed_behind_our_back(pair):
    one, _ = pair
    os.close(one.fileno())
    with pytest.raises(OSError, match=BAD) as caught:
        one.recv(1)
    assert caught.value.errno == errno.EBADF
    with pytest.raises(OSError, match=BAD):
        one.close()
    assert one.closed


def test_a_peer_that_resets(tcp, waiting, failure_of):
    one, other = tcp
    reader = waiting(one.recv, 5)
    other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    other.close()
    assert isinstance(failure_of(reader), ConnectionResetError)


def test_a_peer_that_ends(tcp, waiting):
    one, other = tcp
    reader = waiting(one.recv, 5)
    other.shutdown(socket.SHUT_WR)
    assert reader.get(timeout=20) == b""
    assert one.recv(5) == b""
    one.send(b"still")
    assert other.recv(5) == b"still"


@pytest.mark.parametrize("how", [socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR])
def test_shutting_down_wakes_who_waits_for_that(tcp, waiting, failure_of, how):
    one, _ = tcp
    reader = waiting(one.recv, 5)
    writer = waiting(one.sendall, bytes(100_000_000))
    one.shutdown(how)
    for greenlet, concerned in ((reader, socket.SHUT_RD), (writer, socket.SHUT_WR)):
        if how in (concerned, socket.SHUT_RDWR):
            assert failure_of(greenlet).errno == errno.EBADF
        else:
            assert not greenlet.ready()
    gevent.killall([reader, writer])
    if how != socket.SHUT_WR:
        assert one.recv(5) == b""


def test_closing_wakes_who_selects_on_it(tcp, waiting):
    one, _ = tcp
    selecting = waiting(select.select, [one], [], [])
    poll = select.poll()
    poll.register(one, select.POLLIN)
    number = one.fileno()
    polling = waiting(poll.poll)
    one.close()
    assert selecting.get(timeout=20) == ([one], [], [])
    assert polling.get(timeout=20) == [(number, select.POLLIN)]


def test_a_forgotten_socket_is_closed():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for make in (
            lambda listener: socket.socketpair()[0],
            lambda listener: socket.create_connection(listener.getsockname()),
            lambda listener: listener.accept()[0],
        ):
            with closing(socket.create_server(("127.0.0.1", 0))) as listener:
                client = socket.create_connection(listener.getsockname())
                forgotten = make(listener)
                number = forgotten.fileno()
                gone = weakref.ref(forgotten)
                del forgotten
                gc.collect()
                assert gone() is None
                with pytest.raises(OSError, match=BAD):
                    os.fstat(number)
                client.close()
    assert [warning.category for warning in caught].count(ResourceWarning) >= 3


# Files over sockets, and the rest of the object


def test_makefile(pair):
    one, other = pair
    with one.makefile("rw", encoding="ascii", newline="\n") as file:
        one.close()
        assert one.closed
        assert one.fileno() >= 0
        other.sendall(b"first\nsecond\n")
        assert file.readline() == "first\n"
        file.write("answer")
        file.flush()
        assert other.recv(10) == b"answer"
    assert one.fileno() == -1
    assert other.recv(10) == b""


def test_dup_and_fromfd(pair, waiting):
    one, other = pair
    one.settimeout(3)
    with one.dup() as copy, socket.fromfd(one.fileno(), one.family, one.type) as second:
        assert copy.gettimeout() == 3
        assert len({one.fileno(), copy.fileno(), second.fileno()}) == 3
        one.close()
        reader = waiting(copy.recv, 5)
        other.send(b"x")
        assert reader.get(timeout=20) == b"x"
        other.send(b"y")
        assert second.recv(5) == b"y"


def test_socket_from_a_descriptor():
    native = stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM)
    with socket.socket(fileno=native.detach()) as sock:
        assert (sock.family, sock.type) == (socket.AF_INET, socket.SOCK_DGRAM)
        assert not os.get_blocking(sock.fileno())
    with pytest.raises(OSError, match=BAD):
        socket.socket(fileno=999_999)
    with pytest.raises(ValueError, match="negative"):
        socket.socket(fileno=-1)
    with pytest.raises(TypeError):
        socket.socket(fileno="3")
    with pytest.raises(OSError, match="not supported"):
        socket.socket(99_999)


def test_the_object(pair):
    one, _ = pair
    assert repr(one).startswith("<gevent._socket3.socket at 0x")
    assert repr(one).endswith(
        f" object, fd={one.fileno()}, family=1, type=1, proto=0>",
    )
    assert isinstance(one._sock, stdlib.SocketType.__base__)
    assert one._sock.fileno() == one.fileno()
    assert one.hub is gevent.get_hub()
    assert weakref.ref(one)() is one
    with pytest.raises(AttributeError):
        one.attribute = 1
    with pytest.raises(TypeError, match="Cannot serialize socket object"):
        pickle.dumps(one)

    class Sub(socket.socket):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.attribute = 1

    with Sub(socket.AF_UNIX) as sub:
        assert sub.attribute == 1


def test_names():
    assert set(socket.__all__) == {
        *socket.__implements__,
        *socket.__extensions__,
        *socket.__imports__,
    }
    for name in socket.__all__:
        assert hasattr(socket, name)
    missing = set(stdlib.__all__) - set(socket.__all__) - {"CAPI"}
    assert not missing


# Nothing is left over


def test_ten_thousand_messages_and_nothing_left_over():
    def echo(sock):
        with sock:
            while data := sock.recv(1000):
                sock.sendall(data)

    # It has descriptors of its own.
    gevent.get_hub()
    before = open_descriptors()
    greenlets = []
    clients = []
    with socket.create_server(("127.0.0.1", 0), backlog=200) as listener:
        for _ in range(50):
            clients.append(socket.create_connection(listener.getsockname()))
            greenlets.append(gevent.spawn(echo, listener.accept()[0]))

    def talk(client, number):
        with client:
            for turn in range(200):
                message = b"%d-%d" % (number, turn)
                client.sendall(message)
                received = b""
                while len(received) < len(message):
                    received += client.recv(1000)
                assert received == message

    talks = [gevent.spawn(talk, client, number) for number, client in enumerate(clients)]
    gevent.joinall(talks + greenlets, timeout=30, raise_error=True)
    assert all(greenlet.successful() for greenlet in talks + greenlets)
    assert open_descriptors() == before


@pytest.mark.parametrize("number", [-1, -2, -(2**31)])
def test_numbers_that_are_no_descriptors(number):
    """They are refused as the standard library refuses them, and close nothing."""
    calls = {
        "fileno": lambda module: module.socket(fileno=number),
        "all of it": lambda module: module.socket(stdlib.AF_INET, stdlib.SOCK_STREAM, 0, number),
        "fromfd": lambda module: module.fromfd(number, stdlib.AF_INET, stdlib.SOCK_STREAM),
    }
    for call in calls.values():
        with pytest.raises((ValueError, OSError)) as plain:
            call(stdlib)
        with pytest.raises(plain.type) as ours:
            call(socket)
        assert ours.value.args == plain.value.args


def test_references_do_not_leak(pair):
    one, other = pair
    buffer = bytearray(10)

    def turn():
        one.send(b"x")
        other.recv_into(buffer)
        other.settimeout(0)
        with pytest.raises(BlockingIOError):
            other.recv(5)
        other.settimeout(None)
        gevent.with_timeout(0.0001, other.recv, 5, timeout_value=None)

    for _ in range(20):
        turn()
    counts = [sys.getrefcount(thing) for thing in (one, other, buffer)]
    for _ in range(200):
        turn()
    assert [sys.getrefcount(thing) for thing in (one, other, buffer)] == counts
