"""TLS: handshakes, reading and writing, time limits, ends, and what is refused."""

import errno
import socket as stdlib
import ssl as stdlib_ssl
from pathlib import Path

import pytest
from paths import CERTIFICATE
from ports import unused_address

import gevent
from gevent import socket, ssl
from gevent.server import StreamServer


@pytest.fixture
def contexts():
    """A server's context, and one of a client that trusts it."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(CERTIFICATE)
    client = ssl.create_default_context(cafile=CERTIFICATE)
    return server, client


@pytest.fixture
def pair(contexts):
    """The client's and the server's end of a connection."""
    one, other = socket.socketpair()
    server = gevent.spawn(contexts[0].wrap_socket, other, server_side=True)
    client = contexts[1].wrap_socket(one, server_hostname="localhost")
    with client, server.get(timeout=20) as accepted:
        yield client, accepted


def test_the_connection(pair):
    client, server = pair
    assert isinstance(client, ssl.SSLSocket)
    assert client.version() == server.version() == "TLSv1.3"
    assert client.cipher() == server.cipher()
    assert client.getpeercert()["subject"] == ((("commonName", "localhost"),),)
    assert server.getpeercert() is None
    assert client.pending() == 0
    assert client.session_reused is False
    assert client.context.verify_mode == ssl.CERT_REQUIRED


def test_data_in_both_directions(pair):
    client, server = pair
    data = bytes(range(256)) * 8000
    reader = gevent.spawn(lambda: b"".join(iter(lambda: server.recv(100_000), b"")))
    client.sendall(data)
    server.sendall(b"answer")
    buffer = bytearray(10)
    assert client.recv_into(buffer) == 6
    client.shutdown(socket.SHUT_WR)
    assert reader.get(timeout=20) == data


def test_makefile(pair):
    client, server = pair
    with server.makefile("rwb") as file:
        client.sendall(b"first\nsecond\n")
        assert file.readline() == b"first\n"
        assert file.readline() == b"second\n"
        file.write(b"answer")
        file.flush()
        assert client.recv(10) == b"answer"


def test_timeouts(pair):
    client, _ = pair
    client.settimeout(0.01)
    with pytest.raises(TimeoutError, match="The read operation timed out"):
        client.recv(1)
    with pytest.raises(TimeoutError, match="The write operation timed out"):
        client.sendall(b"x" * 20_000_000)
    client.settimeout(0)
    with pytest.raises(ssl.SSLWantReadError):
        client.recv(1)


def test_a_handshake_that_nobody_answers(contexts):
    one, other = socket.socketpair()
    with other:
        one.settimeout(0.01)
        with pytest.raises(TimeoutError, match="The handshake operation timed out"):
            contexts[1].wrap_socket(one, server_hostname="localhost")


@pytest.mark.usefixtures("printed")
def test_closing_wakes_a_reader(pair):
    client, _ = pair
    reader = gevent.spawn(client.recv, 10)
    gevent.sleep(0.001)
    client.close()
    reader.join(20)
    assert "closed in another greenlet" in str(reader.exception)


def test_unwrap_goes_on_in_the_clear(pair):
    client, server = pair
    other = gevent.spawn(server.unwrap)
    plain = client.unwrap()
    plain_server = other.get(timeout=20)
    plain.sendall(b"in the clear")
    assert plain_server.recv(20) == b"in the clear"


def test_an_end_without_farewell(contexts):
    for suppress in (True, False):
        # Over a socket pair OpenSSL 3.6 has the standard library, too, raise a broken pipe.
        with socket.create_server(("127.0.0.1", 0)) as listener:
            one = socket.create_connection(listener.getsockname())
            other, _ = listener.accept()
        server = gevent.spawn(contexts[0].wrap_socket, other, server_side=True)
        with contexts[1].wrap_socket(
            one, server_hostname="localhost", suppress_ragged_eofs=suppress
        ) as client:
            server.get(timeout=20).close()
            if suppress:
                assert client.recv(10) == b""
            else:
                with pytest.raises(ssl.SSLEOFError):
                    client.recv(10)


def test_a_peer_that_does_not_speak_tls(contexts):
    one, other = socket.socketpair()
    with other:
        other.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with pytest.raises(ssl.SSLError):
            contexts[1].wrap_socket(one, server_hostname="localhost")
    assert one.fileno() == -1


@pytest.mark.usefixtures("printed")
def test_a_certificate_for_another_name(contexts):
    one, other = socket.socketpair()
    server = gevent.spawn(contexts[0].wrap_socket, other, server_side=True)
    with pytest.raises(ssl.SSLCertVerificationError):
        contexts[1].wrap_socket(one, server_hostname="other.example")
    server.join(20)
    assert isinstance(server.exception, OSError)


def test_what_is_refused(pair, contexts):
    client, _ = pair
    for call in (
        lambda: client.recvfrom(1),
        lambda: client.sendto(b"x", ("localhost", 1)),
        lambda: client.recv(1, socket.MSG_PEEK),
        lambda: client.connect(("localhost", 1)),
    ):
        with pytest.raises(ValueError):  # noqa: PT011
            call()
    for call in (client.dup, client.recvmsg, client.sendmsg):
        with pytest.raises(NotImplementedError):
            call()
    with (
        socket.socket() as sock,
        pytest.raises(ValueError, match="check_hostname requires server_hostname"),
    ):
        contexts[1].wrap_socket(sock)
    with socket.socket(type=socket.SOCK_DGRAM) as sock, pytest.raises(NotImplementedError):
        contexts[0].wrap_socket(sock)


def test_server_and_certificate(contexts):
    def handle(sock, address):
        sock.sendall(sock.recv(10).upper())

    with StreamServer(("127.0.0.1", 0), handle, ssl_context=contexts[0]) as server:
        server.start()
        assert server.ssl_enabled
        address = ("127.0.0.1", server.server_port)
        pem = ssl.get_server_certificate(address)
        assert pem in Path(CERTIFICATE).read_text()
        sock = socket.socket()
        with contexts[1].wrap_socket(sock, server_hostname="localhost") as client:
            client.connect(address)
            client.sendall(b"hello")
            assert client.recv(10) == b"HELLO"


def test_accept_makes_tls_sockets(contexts):
    listener = socket.create_server(("127.0.0.1", 0))
    with contexts[0].wrap_socket(listener, server_side=True) as server:
        acceptor = gevent.spawn(server.accept)
        sock = socket.create_connection(server.getsockname())
        with contexts[1].wrap_socket(sock, server_hostname="localhost") as client:
            accepted, address = acceptor.get(timeout=20)
            with accepted:
                assert isinstance(accepted, ssl.SSLSocket)
                assert address == client.getsockname()
                client.sendall(b"x")
                assert accepted.recv(1) == b"x"


def test_a_handshake_after_connect_ex(contexts):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = gevent.spawn(
            lambda: contexts[0].wrap_socket(listener.accept()[0], server_side=True)
        )
        client = contexts[1].wrap_socket(
            socket.socket(), server_hostname="localhost", do_handshake_on_connect=False
        )
        with client:
            client.setblocking(False)
            assert client.connect_ex(listener.getsockname()) in (0, errno.EINPROGRESS)
            with pytest.raises(ValueError, match="already-connected"):
                client.connect_ex(listener.getsockname())
            client.settimeout(20)
            socket.wait_write(client.fileno(), timeout=20)
            client.do_handshake()
            with server.get(timeout=20) as accepted:
                client.sendall(b"through TLS")
                assert accepted.recv(20) == b"through TLS"


def test_a_connection_that_is_refused_can_be_tried_again(contexts):
    address = unused_address()
    with contexts[1].wrap_socket(socket.socket(), server_hostname="localhost") as client:
        for _ in range(2):
            # The second time Linux says that the connection was aborted.
            with pytest.raises(ConnectionError):
                client.connect(address)


@pytest.mark.skipif(
    not hasattr(stdlib_ssl.SSLSocket, "get_verified_chain"), reason="since CPython 3.13"
)
def test_chains_of_certificates(pair):
    client, server = pair
    _, begin, rest = Path(CERTIFICATE).read_text().partition(stdlib_ssl.PEM_HEADER)
    certificate = ssl.PEM_cert_to_DER_cert(begin + rest)
    assert client.get_unverified_chain() == [certificate]
    assert client.get_verified_chain() == [certificate]
    assert server.get_unverified_chain() == []


@pytest.mark.skipif(not hasattr(stdlib_ssl.SSLSocket, "group"), reason="since CPython 3.15")
def test_algorithms(pair):
    client, server = pair
    assert client.group() == server.group() != ""
    assert isinstance(client.group(), str)
    assert client.server_sigalg() == server.server_sigalg()
    assert isinstance(client.server_sigalg(), str)
    # The client has shown no certificate.
    assert not client.client_sigalg()
    assert not server.client_sigalg()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (ssl.SSLSocket, stdlib_ssl.SSLSocket),
        (ssl.SSLContext, stdlib_ssl.SSLContext),
        (socket.socket, stdlib.socket),
    ],
)
def test_every_public_name_of_the_standard_library_is_there(ours, theirs):
    names = {name for name in dir(theirs) if not name.startswith("_")}
    # The kernel's interface to its ciphers, which gevent's sockets do not have either.
    assert names - set(dir(ours)) <= {"sendmsg_afalg"}


def test_messages_can_be_watched(contexts):
    seen = []

    def watch(connection, direction, version, content_type, message_type, data):
        seen.append((direction, message_type))

    contexts[1]._msg_callback = watch
    assert contexts[1]._msg_callback is watch
    one, other = socket.socketpair()
    server = gevent.spawn(contexts[0].wrap_socket, other, server_side=True)
    with contexts[1].wrap_socket(one, server_hostname="localhost"), server.get(timeout=20):
        names = {getattr(message, "name", None) for _, message in seen}
    assert {"CLIENT_HELLO", "SERVER_HELLO"} <= names


def test_sockets_of_the_standard_library_can_be_wrapped(contexts):
    one, other = stdlib.socketpair()
    server = gevent.spawn(contexts[0].wrap_socket, other, server_side=True)
    client = contexts[1].wrap_socket(one, server_hostname="localhost")
    with client, server.get(timeout=20) as accepted:
        client.sendall(b"x")
        assert accepted.recv(1) == b"x"
    assert one.fileno() == -1


def test_settings_of_a_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.options |= ssl.OP_NO_TICKET
    assert context.options & ssl.OP_NO_TICKET
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.maximum_version is ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    assert context.verify_mode is ssl.CERT_NONE
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    assert context.verify_flags & ssl.VERIFY_X509_STRICT


def test_settings_of_a_context_once_patched(run_python):
    done = run_python("""
        from gevent import monkey
        monkey.patch_all()
        import ssl
        context = ssl.create_default_context()
        context.options |= ssl.OP_NO_TICKET
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        print(type(context).__module__, context.verify_mode)
    """)
    assert done.stdout == "gevent._sslcontext 0\n", done.stderr


def test_names():
    for name in stdlib_ssl.__dict__:
        assert hasattr(ssl, name)
    assert ssl.MemoryBIO is stdlib_ssl.MemoryBIO
    assert ssl._create_default_https_context is ssl.create_default_context
    with pytest.raises(AttributeError):
        ssl.no_such_name  # noqa: B018
