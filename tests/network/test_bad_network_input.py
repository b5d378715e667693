"""Mistakes of other parties: broken TLS, resets, ends in the middle, peers that never read.

Each gives the documented exception, in bounded time and memory, and leaves nothing behind.
"""

import errno
import gc
import os
import ssl as stdlib_ssl
import struct
from collections.abc import Callable, Iterator

import pytest
from conditions import until
from descriptors import open_descriptors
from paths import CERTIFICATE

import gevent
import gevent.os
from gevent import select, socket, ssl
from gevent.server import StreamServer

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
MORE_THAN_BUFFERS_TAKE = bytes(64 << 20)


def running() -> int:
    return sum(isinstance(one, gevent.Greenlet) and not one.dead for one in gc.get_objects())


@pytest.fixture(autouse=True)
def _nothing_is_left_over() -> Iterator[None]:
    # The hub's own descriptors are there from now on.
    gevent.sleep(0)
    before = len(open_descriptors()), running()
    yield
    for _ in range(1000):
        if len(open_descriptors()) <= before[0] and running() <= before[1]:
            return
        gevent.sleep(0.01)
        gc.collect()
    assert (len(open_descriptors()), running()) == before


@pytest.fixture(scope="module")
def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


@pytest.fixture(scope="module")
def client_context() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=CERTIFICATE)


@pytest.fixture
def tls(tcp, server_context, client_context) -> Iterator[tuple[ssl.SSLSocket, ssl.SSLSocket]]:
    """The client's and the server's end of a connection, which expect ends to be said."""
    one, other = tcp
    options = {"suppress_ragged_eofs": False}
    accepting = gevent.spawn(server_context.wrap_socket, other, server_side=True, **options)
    client = client_context.wrap_socket(one, server_hostname="localhost", **options)
    with client, accepting.get(timeout=20) as server:
        yield client, server


def reset(sock: socket.socket) -> None:
    """Close a connection the hard way."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def below(sock: ssl.SSLSocket) -> socket.socket:
    """The connection under the TLS."""
    return socket.socket(fileno=os.dup(sock.fileno()))


def outcome(function: Callable[..., object], *args: object, **options: object) -> object:
    """Return the error that a call raises, or else its result."""
    try:
        return function(*args, **options)
    except Exception as failure:
        return failure


# Handshakes


class Stranger:
    """The other side of a handshake, which says only so many bytes of what it should."""

    def __init__(self, sock: socket.socket, limit: int, version: ssl.TLSVersion, server: bool):
        purpose = stdlib_ssl.PROTOCOL_TLS_SERVER if server else stdlib_ssl.PROTOCOL_TLS_CLIENT
        context = stdlib_ssl.SSLContext(purpose)
        context.maximum_version = version
        if server:
            context.load_cert_chain(CERTIFICATE)
            # They would come after the handshake.
            context.num_tickets = 0
        else:
            context.load_verify_locations(CERTIFICATE)
        self.incoming, self.outgoing = stdlib_ssl.MemoryBIO(), stdlib_ssl.MemoryBIO()
        name = None if server else "localhost"
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server, name)
        self.sock = sock
        self.limit = limit
        self.said = 0

    def speak(self) -> bool:
        """Send what there is to say; return whether more may follow."""
        data = self.outgoing.read()[: self.limit - self.said]
        self.said += len(data)
        self.sock.sendall(data)
        return self.said < self.limit

    def negotiate(self) -> None:
        while True:
            try:
                self.tls.do_handshake()
            except stdlib_ssl.SSLWantReadError:
                if not self.speak():
                    return
                data = self.sock.recv(65536)
                if not data:
                    return
                self.incoming.write(data)
            else:
                self.speak()
                return


def negotiate(
    context: ssl.SSLContext, limit: int, version: ssl.TLSVersion, end: Callable, server: bool
) -> tuple[object, int]:
    """Negotiate with a stranger that `end`s after so many bytes.

    Returns what came of it and how many bytes the stranger said.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        outside = socket.create_connection(listener.getsockname())
        inside, _ = listener.accept()
    name = {} if server else {"server_hostname": "localhost"}
    with inside, outside:
        inside.settimeout(20)
        result = gevent.spawn(outcome, context.wrap_socket, inside, server, **name)
        stranger = Stranger(outside, limit, version, server=not server)
        stranger.negotiate()
        end(outside, inside)
        came = result.get(timeout=10)
    if isinstance(came, ssl.SSLSocket):
        came.close()
    return came, stranger.said


def finish(outside: socket.socket, _inside: socket.socket) -> None:
    outside.shutdown(socket.SHUT_WR)


def break_off(outside: socket.socket, _inside: socket.socket) -> None:
    reset(outside)


@pytest.mark.parametrize("end", [finish, break_off])
@pytest.mark.parametrize("server", [True, False], ids=["server", "client"])
@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_handshake_that_ends_anywhere(server, version, end, server_context, client_context):
    context = server_context if server else client_context
    complete, size = negotiate(context, 1 << 20, version, finish, server)
    assert isinstance(complete, ssl.SSLSocket)
    # Signatures differ in length, by a byte or two.
    for cut in {*range(0, size - 10, 101), 1, 4, 5, 6, 9, 10, size - 10}:
        failure, _ = negotiate(context, cut, version, end, server)
        assert isinstance(failure, ssl.SSLError | ConnectionError), cut
        assert not isinstance(failure, ssl.SSLWantReadError), cut


@pytest.mark.parametrize("server", [True, False], ids=["server", "client"])
@pytest.mark.parametrize("cut", [0, 1, 5, 100])
def test_handshake_that_never_goes_on(server, cut, tcp, server_context, client_context):
    context = server_context if server else client_context
    inside, outside = tcp
    inside.settimeout(0.05)
    hello = Stranger(outside, cut, ssl.TLSVersion.TLSv1_3, server=False)
    assert isinstance(outcome(hello.tls.do_handshake), stdlib_ssl.SSLWantReadError)
    hello.speak()
    name = {} if server else {"server_hostname": "localhost"}
    # What a client makes of a hello that is cut off is to wait for the rest, too.
    with pytest.raises(TimeoutError, match="handshake operation timed out"):
        context.wrap_socket(inside, server, **name)
    assert inside.fileno() == -1


GARBAGE = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "zeros": bytes(64),
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n" + bytes(50),
    "a hello of SSL 2": b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + bytes(40),
    "a record that is too long": b"\x16\x03\x01\xff\xff" + bytes(200),
    "a hello that is all zeros": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(600),
    "data before the handshake": b"\x17\x03\x03\x00\x10" + bytes(16),
    "an alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "an unknown record": b"\x63\x03\x01\x00\x02\x02\x28",
    "a message of no length": b"\x16\x03\x01\x00\x00" * 40,
}


@pytest.mark.parametrize("server", [True, False], ids=["server", "client"])
@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_in_place_of_a_handshake(garbage, server, tcp, server_context, client_context):
    context = server_context if server else client_context
    inside, outside = tcp
    inside.settimeout(20)
    outside.sendall(garbage)
    outside.shutdown(socket.SHUT_WR)
    name = {} if server else {"server_hostname": "localhost"}
    with pytest.raises(ssl.SSLError):
        context.wrap_socket(inside, server, **name)
    assert inside.fileno() == -1


def test_a_server_goes_on_beside_those_who_do_not_negotiate(server_context, client_context):
    def echo(sock: ssl.SSLSocket, _address: object) -> None:
        sock.sendall(sock.recv(100))

    errors = []
    gevent.get_hub().handle_error = lambda *error: errors.append(error[1])
    try:
        with StreamServer(("127.0.0.1", 0), echo, ssl_context=server_context) as server:
            server.start()
            silent = socket.create_connection(server.address)
            strangers = [socket.create_connection(server.address) for _ in GARBAGE]
            for stranger, garbage in zip(strangers, GARBAGE.values(), strict=True):
                stranger.sendall(garbage)
                stranger.shutdown(socket.SHUT_WR)
            plain = socket.create_connection(server.address)
            with client_context.wrap_socket(plain, server_hostname="localhost") as client:
                client.sendall(b"hello")
                assert client.recv(100) == b"hello"
            for stranger in strangers:
                # It is told what is wrong, or nothing, but not left waiting.
                stranger.settimeout(20)
                outcome(stranger.recv, 100)
                stranger.close()
            reset(silent)
            until(lambda: len(errors) >= len(GARBAGE))
    finally:
        gevent.sleep(0.01)
        del gevent.get_hub().handle_error
    assert all(issubclass(error, OSError) for error in errors)


# TLS that ends or breaks later on


@pytest.mark.parametrize("size", [0, 1, 4, 5, 6, 20])
def test_a_record_that_is_cut_off(size, tls):
    client, server = tls
    with below(client) as raw:
        raw.sendall((b"\x17\x03\x03\x00\x40" + bytes(64))[:size])
        raw.shutdown(socket.SHUT_WR)
    with pytest.raises(ssl.SSLEOFError):
        server.recv(10)


def test_an_end_that_is_not_said_is_an_ordinary_one_by_default(tls):
    client, server = tls
    client.sendall(b"last words")
    with below(client) as raw:
        raw.shutdown(socket.SHUT_WR)
    assert server.suppress_ragged_eofs is False
    assert server.recv(100) == b"last words"
    with pytest.raises(ssl.SSLEOFError):
        server.recv(100)
    server.suppress_ragged_eofs = True
    buffer = bytearray(10)
    assert (server.recv(100), server.recv_into(buffer)) == (b"", 0)
    with server.makefile("rb") as file:
        assert file.read() == b""


def test_an_end_that_is_said_is_an_ordinary_one(tls):
    client, server = tls
    leaving = gevent.spawn(client.unwrap)
    assert server.recv(100) == b""
    server.unwrap()
    assert leaving.get(timeout=20) is client


@pytest.mark.parametrize("garbage", [b"garbage in between", b"\x17\x03\x03\x00\x40" + bytes(64)])
def test_garbage_within_a_connection(garbage, tls):
    client, server = tls
    client.sendall(b"fine")
    with below(client) as raw:
        raw.sendall(garbage)
    assert server.recv(100) == b"fine"
    with pytest.raises(ssl.SSLError) as failure:
        server.recv(100)
    assert not isinstance(failure.value, ssl.SSLEOFError)


# Resets


def test_reset_while_reading(tcp, waiting, failure_of):
    one, other = tcp
    reader = waiting(one.recv, 10)
    reset(other)
    assert isinstance(failure_of(reader), ConnectionResetError)
    assert one.recv(10) == b""
    with pytest.raises(BrokenPipeError):
        one.sendall(b"x")


def test_reset_while_writing(tcp, waiting, failure_of):
    one, other = tcp
    writer = waiting(one.sendall, MORE_THAN_BUFFERS_TAKE)
    other.recv(100)
    reset(other)
    assert isinstance(failure_of(writer), ConnectionResetError)


def test_reset_within_tls(tls, waiting, failure_of):
    client, server = tls
    reader = waiting(server.recv, 10)
    writer = waiting(server.sendall, MORE_THAN_BUFFERS_TAKE)
    reset(client)
    for greenlet in (reader, writer):
        assert isinstance(failure_of(greenlet), ConnectionError | ssl.SSLError)


def test_reset_while_sending_a_file(tcp, waiting, failure_of, tmp_path):
    one, other = tcp
    path = tmp_path / "file"
    path.write_bytes(MORE_THAN_BUFFERS_TAKE)
    with path.open("rb") as file:
        writer = waiting(one.sendfile, file)
        other.recv(100)
        reset(other)
        assert isinstance(failure_of(writer), ConnectionResetError)
        assert 0 < file.tell() < len(MORE_THAN_BUFFERS_TAKE)


# Peers that never read


def resident() -> int:
    """Return the number of bytes of this process that are in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("kind", ["tcp", "tls", "pair"])
def test_a_peer_that_never_reads(kind, request):
    one, _ = request.getfixturevalue(kind)
    one.settimeout(0.05)
    # Have its pages be there.
    data = bytearray(os.urandom(1 << 20) * 64)
    before = resident()
    with pytest.raises(TimeoutError, match="timed out"):
        one.sendall(data)
    assert resident() - before < 16 << 20
    with pytest.raises(TimeoutError, match="timed out"):
        # What sendall left free, a first try may fill.
        list(map(one.send, [data] * 100))


def test_unwrap_of_a_peer_that_never_answers(tls):
    client, _ = tls
    client.settimeout(0.05)
    with pytest.raises(TimeoutError, match="unwrap operation timed out"):
        client.unwrap()


def test_the_timeout_is_for_all_of_sendall(tcp):
    """Not for each of its parts: a peer that reads a little now and then cannot stretch it."""
    one, other = tcp
    one.settimeout(0.2)

    def sip() -> None:
        while other.recv(1 << 16):
            gevent.sleep(0.01)

    sipping = gevent.spawn(sip)
    with pytest.raises(TimeoutError), gevent.Timeout(10):
        one.sendall(MORE_THAN_BUFFERS_TAKE)
    sipping.kill()


# Descriptors that are closed behind our back


@pytest.mark.parametrize("close", [os.close, gevent.os.close], ids=["os", "gevent.os"])
@pytest.mark.parametrize("operation", ["recv", "accept", "sendall"])
def test_a_descriptor_closed_behind_our_back(operation, close, request, failure_of):
    if operation == "accept":
        one = socket.create_server(("127.0.0.1", 0))
    else:
        one, _ = request.getfixturevalue("tcp")
    arguments = {"recv": (1,), "accept": (), "sendall": (MORE_THAN_BUFFERS_TAKE,)}[operation]
    one.settimeout(0.1 if close is os.close else 20)
    waiter = gevent.spawn(getattr(one, operation), *arguments)
    gevent.sleep(0.01)
    close(one.fileno())
    failure = failure_of(waiter)
    if close is os.close:
        # As in gevent, nobody can know, but the limit holds.
        assert isinstance(failure, TimeoutError)
    else:
        assert failure.errno == errno.EBADF
        assert outcome(getattr(one, operation), *arguments).errno == errno.EBADF
    one.detach()


def test_select_on_a_descriptor_closed_behind_our_back():
    reader, writer = os.pipe()
    waiter = gevent.spawn(select.select, [reader], [], [], 0.05)
    gevent.sleep(0.001)
    os.close(reader)
    # A closed descriptor counts as ready where it is seen, as when the time has passed.
    assert waiter.get(timeout=20) in (([], [], []), ([reader], [], []))
    with pytest.raises(OSError, match="Bad file descriptor"):
        select.select([reader], [], [], 0)
    os.close(writer)


def test_a_number_that_is_used_again_wakes_nobody_else(waiting):
    one, other = socket.socketpair()
    waiter = waiting(one.recv, 1)
    os.close(one.fileno())
    fresh, peer = socket.socketpair()
    with fresh, peer, other:
        assert one.fileno() in (fresh.fileno(), peer.fileno())
        fresh.send(b"x")
        peer.send(b"y")
        gevent.sleep(0.01)
        assert not waiter.ready()
        assert (fresh.recv(10), peer.recv(10)) == (b"y", b"x")
        waiter.kill()
        one.detach()


# Too many descriptors


def test_a_server_goes_on_when_descriptors_run_out(output_of):
    assert (
        output_of(
            """
        import os, resource
        import gevent
        from gevent import socket
        from gevent.server import StreamServer

        gevent.get_hub().exception_stream = None
        served = []

        def serve(sock, address):
            served.append(sock.recv(10))
            sock.sendall(b"welcome")

        server = StreamServer(("127.0.0.1", 0), serve)
        server.start()
        clients = [socket.socket() for _ in range(20)]
        errors = []
        handle_error = server.loop.handle_error
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = max(map(int, os.listdir("/proc/self/fd")))
        # Not even one connection more.
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
        spare = []
        try:
            while True:
                spare.append(os.dup(0))
        except OSError:
            pass
        for client in clients:
            client.connect(server.address)
            client.sendall(b"hello")
        while server.delay <= server.min_delay:
            gevent.sleep(0.01)
        print(len(served), server.started)
        for number in spare:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 50, hard))
        for client in clients:
            client.settimeout(20)
            assert client.recv(10) == b"welcome"
        print(len(served), server.started, server.delay == server.min_delay)
        """
        )
        == "0 True\n20 True True\n"
    )


def test_sockets_when_descriptors_run_out(output_of):
    assert (
        output_of(
            """
        import errno, os, resource
        import gevent
        from gevent import socket

        gevent.sleep(0.001)
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        listener = socket.create_server(("127.0.0.1", 0))
        clients = []
        for make in (
            socket.socket,
            socket.socketpair,
            lambda: socket.create_connection(listener.getsockname()),
            listener.dup,
            lambda: socket.create_server(("127.0.0.1", 0)),
            lambda: socket.fromfd(listener.fileno(), socket.AF_INET, socket.SOCK_STREAM),
        ):
            made = []
            try:
                while True:
                    made.append(make())
            except OSError as failure:
                print(errno.errorcode[failure.errno], len(made) > 10)
            del made
        print(len(os.listdir("/proc/self/fd")) < 20)
        """,
            PYTHONWARNINGS="ignore",
        )
        == "EMFILE True\n" * 6 + "True\n"
    )
