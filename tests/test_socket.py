"""Sockets: what goes through them, who waits for them, and how they end."""

import array
import errno
import gc
import io
import mmap
import os
import pickle
import socket as stdlib
import struct
import sys
import threading
import warnings
import weakref
from contextlib import closing

import pytest

import gevent
from gevent import socket
from gevent.exceptions import BlockingSwitchOutError, ConcurrentObjectUseError


@pytest.fixture
def pair():
    one, other = socket.socketpair()
    with one, other:
        yield one, other


@pytest.fixture
def tcp():
    """Two ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    with one, other:
        yield one, other


BAD = "Bad file descriptor"


def waiting(function, *args):
    """A greenlet that waits in `function`."""
    greenlet = gevent.spawn(function, *args)
    gevent.sleep(0.001)
    assert not greenlet.ready()
    return greenlet


def failure_of(greenlet):
    """The exception that `greenlet` ends with, not reported."""
    gevent.get_hub().exception_stream = None
    try:
        greenlet.join(5)
    finally:
        del gevent.get_hub().exception_stream
    return greenlet.exception


# Receiving


@pytest.mark.parametrize("size", [1, 100, 8191, 8192, 8193, 65536, 300_000])
@pytest.mark.parametrize("asked", [1, 8192, 8193, 65536, 1 << 20])
def test_recv_returns_everything_in_order(tcp, size, asked):
    one, other = tcp
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    sender = gevent.spawn(one.sendall, data)
    sender.link(lambda _: one.shutdown(socket.SHUT_WR))
    received = []
    while part := other.recv(asked):
        assert len(part) <= asked
        received.append(part)
    assert b"".join(received) == data


def test_recv_takes_all_that_is_there(pair):
    one, other = pair
    one.sendall(b"x" * 20_000)
    assert len(other.recv(1 << 16)) == 20_000


def test_recv_of_nothing(pair):
    assert pair[0].recv(0) == b""


def test_recv_refuses_wrong_arguments(pair):
    with pytest.raises(ValueError, match="negative buffersize in recv"):
        pair[0].recv(-1)
    with pytest.raises(TypeError):
        pair[0].recv("1")
    with pytest.raises(TypeError):
        pair[0].recv()
    with pytest.raises(OverflowError):
        pair[0].recv(1 << 70)


def test_flags(pair):
    one, other = pair
    one.send(b"abc")
    assert other.recv(10, socket.MSG_PEEK) == b"abc"
    assert other.recv(2) == b"ab"
    assert other.recv(10) == b"c"


@pytest.mark.parametrize(
    "make",
    [
        lambda: bytearray(6),
        lambda: memoryview(bytearray(6)),
        lambda: array.array("H", [0] * 3),
        lambda: mmap.mmap(-1, 6),
    ],
)
def test_recv_into(pair, make):
    one, other = pair
    buffer = make()
    one.send(b"abcdefg")
    assert other.recv_into(buffer, 2) == 2
    assert bytes(memoryview(buffer))[:3] == b"ab\0"
    assert other.recv_into(buffer) == 5
    assert bytes(memoryview(buffer))[:5] == b"cdefg"


def test_recv_into_refuses_wrong_buffers(pair):
    one, _ = pair
    with pytest.raises(TypeError, match="read-write bytes-like object, not bytes"):
        one.recv_into(b"abc")
    with pytest.raises(TypeError):
        one.recv_into("abc")
    with pytest.raises(ValueError, match="buffer too small"):
        one.recv_into(bytearray(3), 4)
    with pytest.raises(ValueError, match="negative buffersize"):
        one.recv_into(bytearray(3), -1)
    assert one.recv_into(bytearray()) == 0


def test_a_buffer_stays_put_while_it_is_waited_for(pair):
    one, other = pair
    buffer = bytearray(4)
    reader = waiting(other.recv_into, buffer)
    with pytest.raises(BufferError):
        buffer.extend(b"more")
    one.send(b"done")
    assert reader.get(timeout=5) == 4
    assert buffer == b"done"
    buffer.extend(b"more")


def test_urgent_data_hides_nothing(tcp):
    one, other = tcp
    reader = gevent.spawn(other.recv, 100)
    gevent.sleep(0.001)
    one.send(b"a")
    assert reader.get(timeout=5) == b"a"
    # All of it is there before the first read, which stops before the urgent octet.
    one.send(b"bc")
    one.send(b"!", socket.MSG_OOB)
    one.send(b"de")
    gevent.sleep(0.01)
    other.settimeout(5)
    received = b""
    while not received.endswith(b"de"):
        received += other.recv(100)
    assert received in (b"abcde"[1:], b"bc!de")


def test_descriptors_sent_along_hide_nothing(pair):
    one, other = pair
    reader = waiting(other.recv, 100)
    one.send(b"a")
    assert reader.get(timeout=5) == b"a"
    one.sendmsg([b"b"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", one.fileno()))])
    one.send(b"c")
    other.settimeout(5)
    received = b""
    while len(received) < 2:
        received += other.recv(100)
    assert received == b"bc"


# Sending


@pytest.mark.parametrize(
    "data",
    [
        b"abcdef",
        bytearray(b"abcdef"),
        memoryview(b"abcdef"),
        array.array("H", b"abcdef"),
        memoryview(array.array("H", b"abcdef")),
    ],
)
def test_send_takes_every_buffer(pair, data):
    one, other = pair
    assert one.send(data) == 6
    one.sendall(data)
    assert other.recv(20) == b"abcdefabcdef"


@pytest.mark.parametrize("data", ["abc", None, 5])
def test_send_refuses_what_is_not_bytes(pair, data):
    for send in (pair[0].send, pair[0].sendall):
        with pytest.raises(TypeError, match="bytes-like object is required"):
            send(data)


def test_send_refuses_memory_in_pieces(pair):
    with pytest.raises(BufferError):
        pair[0].send(memoryview(b"abcdef")[::2])


def test_sendall_of_more_than_fits(pair):
    one, other = pair
    data = os.urandom(5_000_000)
    sender = gevent.spawn(one.sendall, data)
    received = bytearray()
    while len(received) < len(data):
        received += other.recv(100_000)
    sender.get(timeout=5)
    assert received == data


def test_sendfile(tcp, tmp_path):
    one, other = tcp
    path = tmp_path / "file"
    data = os.urandom(3_000_000)
    path.write_bytes(data)
    with path.open("rb") as file:
        sender = gevent.spawn(one.sendfile, file, 10)
        received = bytearray()
        while len(received) < len(data) - 10:
            received += other.recv(1 << 16)
        assert sender.get(timeout=5) == len(data) - 10
        assert file.tell() == len(data)
        assert one.sendfile(file, 0, 5) == 5
    assert received == data[10:]
    assert other.recv(10) == data[:5]
    assert one.sendfile(io.BytesIO(b"memory")) == 6
    assert other.recv(10) == b"memory"


def test_recvmsg_and_sendmsg(pair):
    one, other = pair
    reader = waiting(other.recvmsg, 10)
    assert one.sendmsg([b"ab", b"cd"]) == 4
    assert reader.get(timeout=5)[0] == b"abcd"
    buffers = [bytearray(1), bytearray(5)]
    one.send(b"xyz")
    assert other.recvmsg_into(buffers)[0] == 3
    assert buffers == [bytearray(b"x"), bytearray(b"yz\0\0\0")]


# Datagrams


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_datagrams(host):
    with (
        socket.socket(type=socket.SOCK_DGRAM) as one,
        socket.socket(type=socket.SOCK_DGRAM) as other,
    ):
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        reader = waiting(other.recvfrom, 100)
        assert one.sendto(b"hello", (host, other.getsockname()[1])) == 5
        assert reader.get(timeout=5) == (b"hello", one.getsockname())
        one.sendto(b"again", 0, other.getsockname())
        buffer = bytearray(10)
        assert other.recvfrom_into(buffer) == (5, one.getsockname())
        assert buffer.startswith(b"again")
        one.sendto(b"x" * 60_000, other.getsockname())
        assert other.recv(65536) == b"x" * 60_000
        one.sendto(b"cut off", other.getsockname())
        assert other.recv(3) == b"cut"
        with pytest.raises(TypeError, match="2 or 3 arguments"):
            one.sendto(b"x")
        with pytest.raises(OverflowError):
            one.sendto(b"x", ("127.0.0.1", 1 << 17))
        with pytest.raises(socket.gaierror):
            one.sendto(b"x", ("name\0with.nul", 9))


def test_ipv6_addresses():
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as one:
        try:
            one.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6")
        one.sendto(b"x", one.getsockname())
        assert one.recvfrom(10) == (b"x", one.getsockname())


def test_unix_addresses(tmp_path):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            accepted, address = listener.accept()
            with accepted:
                assert address == ""
                assert client.getpeername() == path
                client.send(b"hi")
                assert accepted.recvfrom(5)[0] == b"hi"
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other,
    ):
        one.bind(b"\0gevent-test-%d" % os.getpid())
        other.bind(path + "2")
        one.sendto(b"x", path + "2")
        assert other.recvfrom(5) == (b"x", one.getsockname())
        other.sendto(b"y", one.getsockname())
        assert one.recvfrom(5) == (b"y", path + "2")


# Connecting and accepting


def test_connect_and_accept_wait_for_each_other():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        acceptor = waiting(listener.accept)
        with socket.create_connection(("localhost", listener.getsockname()[1])) as client:
            accepted, address = acceptor.get(timeout=5)
            with accepted:
                assert type(accepted) is socket.socket
                assert address == client.getsockname()
                assert accepted.getpeername() == address
                assert (accepted.family, accepted.type) == (socket.AF_INET, socket.SOCK_STREAM)
                assert not accepted.get_inheritable()


def unused_address():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()


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


def test_a_socket_may_connect_after_a_refusal():
    with socket.socket() as sock, socket.create_server(("127.0.0.1", 0)) as listener:
        assert sock.connect_ex(unused_address()) == errno.ECONNREFUSED
        sock.settimeout(5)
        # Linux lets the first try after a refusal fail.
        while sock.connect_ex(listener.getsockname()):
            pass
        accepted, _ = listener.accept()
        with accepted:
            reader = waiting(sock.recv, 5)
            accepted.send(b"hi")
            assert reader.get(timeout=5) == b"hi"


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


# Time limits


def test_timeouts(pair):
    one, other = pair
    one.settimeout(0.01)
    for operation in (
        lambda: one.recv(1),
        lambda: one.recv_into(bytearray(1)),
        lambda: one.recvfrom(1),
        lambda: one.recvmsg(1),
        lambda: one.sendall(b"x" * 10_000_000),
    ):
        with pytest.raises(TimeoutError) as caught:
            operation()
        assert caught.value.args == ("timed out",)
    assert other.recv(1) == b"x"


def test_send_may_have_a_timeout_of_its_own(pair):
    one, _ = pair
    one.setblocking(False)
    with pytest.raises(TimeoutError):
        one.sendall(b"x" * 10_000_000)
    one.setblocking(True)
    with pytest.raises(TimeoutError):
        one.send(b"x" * 10_000_000, 0, 0.01)
    with pytest.raises(BlockingIOError):
        one.send(b"x" * 10_000_000, timeout=0)


def test_without_waiting(pair):
    one, other = pair
    one.setblocking(False)
    assert (one.gettimeout(), one.getblocking(), one.timeout) == (0.0, False, 0.0)
    with pytest.raises(BlockingIOError) as caught:
        one.recv(1)
    assert caught.value.errno == errno.EAGAIN
    other.send(b"x")
    assert one.recv(1) == b"x"
    with pytest.raises(TimeoutError):
        one.sendall(b"x" * 10_000_000)


def test_what_a_timeout_may_be(pair):
    one, _ = pair
    one.settimeout(3)
    assert one.timeout == 3.0
    one.timeout = None
    assert one.gettimeout() is None
    with pytest.raises(ValueError, match="Timeout value out of range"):
        one.settimeout(-1)
    with pytest.raises(TypeError, match="a float is required"):
        one.settimeout("1")


def test_default_timeout():
    socket.setdefaulttimeout(7)
    try:
        with socket.socket() as sock:
            assert sock.gettimeout() == 7
    finally:
        socket.setdefaulttimeout(None)


def test_gevent_timeouts_leave_a_usable_socket(pair):
    one, other = pair
    with pytest.raises(gevent.Timeout):
        gevent.with_timeout(0.01, one.recv, 1)
    other.send(b"x")
    assert one.recv(5) == b"x"


# Several greenlets, several threads


def test_reading_and_writing_at_once(tcp):
    one, other = tcp
    reader = waiting(one.recv, 5)
    writer = waiting(one.sendall, b"x" * 20_000_000)
    other.send(b"hello")
    assert reader.get(timeout=5) == b"hello"
    got = 0
    while got < 20_000_000:
        got += len(other.recv(1 << 20))
    writer.get(timeout=5)


def test_two_readers_at_once(pair):
    one, other = pair
    reader = waiting(one.recv, 5)
    for operation in (lambda: one.recv(1), lambda: one.recvmsg(1)):
        with pytest.raises(ConcurrentObjectUseError, match="already used by another greenlet"):
            operation()
    other.send(b"x")
    assert reader.get(timeout=5) == b"x"


def test_a_killed_reader_leaves_its_place(pair):
    one, other = pair
    reader = waiting(one.recv, 5)
    reader.kill()
    next_reader = waiting(one.recv, 5)
    other.send(b"x")
    assert next_reader.get(timeout=5) == b"x"


def test_not_in_the_hub(pair):
    one, other = pair
    result = []

    def call():
        for _ in range(2):
            try:
                result.append(one.recv(1))
            except BlockingSwitchOutError as error:
                result.append(type(error))

    other.send(b"x")
    gevent.get_hub().loop.run_callback(call)
    gevent.sleep(0.001)
    assert result == [b"x", BlockingSwitchOutError]


def test_a_socket_of_another_thread(pair):
    one, other = pair
    # Here it waits in this thread's loop first.
    reader = waiting(one.recv, 1)
    other.send(b"a")
    assert reader.get(timeout=5) == b"a"
    result = []
    thread = threading.Thread(target=lambda: result.append(one.recv(1)))
    thread.start()
    gevent.sleep(0.05)
    other.send(b"b")
    while thread.is_alive():
        gevent.sleep(0.01)
    assert result == [b"b"]


def test_waiting_that_does_not_count(run_python):
    done = run_python("""
        import gevent
        from gevent import socket

        one, other = socket.socketpair()
        one.ref = False
        gevent.spawn(one.recv, 1)
        print(gevent.get_hub().join(timeout=5), one.ref, one._read_event.ref)
    """)
    assert done.stdout.split() == ["True", "False", "False"], done.stderr


def test_parent_and_child_share_a_pair(run_python):
    done = run_python("""
        import os
        import gevent
        from gevent import socket

        one, other = socket.socketpair()
        reader = gevent.spawn(one.recv, 10)
        gevent.sleep(0.01)
        if gevent.fork() == 0:
            # The child's copy of the reader waits as well.
            reader.kill()
            assert other.recv(10) == b"ping"
            other.send(b"pong")
            os._exit(0)
        reader.kill()
        one.send(b"ping")
        print(one.recv(10))
    """)
    assert done.stdout == "b'pong'\n", done.stderr


# The end


@pytest.mark.parametrize("end", ["close", "detach", "_real_close"])
def test_closing_wakes_those_who_wait(pair, end):
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


def test_a_descriptor_number_that_is_used_again(pair):
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


def test_a_peer_that_resets(tcp):
    one, other = tcp
    reader = waiting(one.recv, 5)
    other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    other.close()
    assert isinstance(failure_of(reader), ConnectionResetError)


def test_a_peer_that_ends(tcp):
    one, other = tcp
    reader = waiting(one.recv, 5)
    other.shutdown(socket.SHUT_WR)
    assert reader.get(timeout=5) == b""
    assert one.recv(5) == b""
    one.send(b"still")
    assert other.recv(5) == b"still"


def test_shutting_down_wakes_the_own_reader(tcp):
    one, _ = tcp
    reader = waiting(one.recv, 5)
    one.shutdown(socket.SHUT_RDWR)
    assert reader.get(timeout=5) == b""


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
        assert not one.closed
        other.sendall(b"first\nsecond\n")
        assert file.readline() == "first\n"
        file.write("answer")
        file.flush()
        assert other.recv(10) == b"answer"
    assert one.closed
    assert other.recv(10) == b""


def test_dup_and_fromfd(pair):
    one, other = pair
    one.settimeout(3)
    with one.dup() as copy, socket.fromfd(one.fileno(), one.family, one.type) as second:
        assert copy.gettimeout() == 3
        assert len({one.fileno(), copy.fileno(), second.fileno()}) == 3
        one.close()
        reader = waiting(copy.recv, 5)
        other.send(b"x")
        assert reader.get(timeout=5) == b"x"
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


# Waiting by number


def test_wait_read(pair):
    one, other = pair
    with pytest.raises(TimeoutError):
        socket.wait_read(one.fileno(), timeout=0.01)
    with pytest.raises(KeyError):
        socket.wait_read(one.fileno(), timeout=0.01, timeout_exc=KeyError("late"))
    waiter = waiting(socket.wait_read, one.fileno())
    other.send(b"x")
    waiter.join(5)
    assert waiter.successful()
    socket.wait_write(one.fileno(), timeout=5)
    socket.wait_readwrite(one.fileno(), timeout=5)
    with pytest.raises(OSError, match=BAD):
        socket.wait_read(999_999)
    with pytest.raises(ValueError, match="non-negative"):
        socket.wait_read(-1)


def test_wait_and_cancel_wait(pair):
    one, other = pair
    watcher = one._read_event
    with pytest.raises(TimeoutError):
        socket.wait(watcher, timeout=0.01)
    waiter = waiting(socket.wait, watcher)
    with pytest.raises(ConcurrentObjectUseError):
        socket.wait(watcher)
    socket.cancel_wait(watcher)
    assert failure_of(waiter).errno == errno.EBADF
    waiter = waiting(socket.wait, watcher)
    other.send(b"x")
    waiter.join(5)
    assert waiter.successful()
    one.close()


def test_ten_thousand_messages_and_nothing_left_over():
    def echo(sock):
        with sock:
            while data := sock.recv(1000):
                sock.sendall(data)

    before = len(os.listdir("/proc/self/fd"))
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
    assert len(os.listdir("/proc/self/fd")) == before


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
