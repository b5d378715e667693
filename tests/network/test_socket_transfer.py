"""Sockets: the bytes, descriptors and addresses that go through them."""

import array
import io
import mmap
import os
import struct
from contextlib import suppress

import pytest

import gevent
from gevent import socket

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


@pytest.mark.parametrize("size", [10, 65536])
def test_recv_raises_what_a_reset_left(tcp, size):
    one, other = tcp
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.close()
    with pytest.raises(ConnectionResetError):
        other.recv(size)
    assert other.recv(size) == b""
    for send in (other.send, other.sendall):
        with pytest.raises(BrokenPipeError):
            send(b"late")


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


def test_a_buffer_stays_put_while_it_is_waited_for(pair, waiting):
    one, other = pair
    buffer = bytearray(4)
    reader = waiting(other.recv_into, buffer)
    with pytest.raises(BufferError):
        buffer.extend(b"more")
    one.send(b"done")
    assert reader.get(timeout=20) == 4
    assert buffer == b"done"
    buffer.extend(b"more")


def test_urgent_data_hides_nothing(tcp):
    one, other = tcp
    reader = gevent.spawn(other.recv, 100)
    gevent.sleep(0.001)
    one.send(b"a")
    assert reader.get(timeout=20) == b"a"
    # All of it is there before the first read, which stops before the urgent octet.
    one.send(b"bc")
    one.send(b"!", socket.MSG_OOB)
    one.send(b"de")
    gevent.sleep(0.01)
    other.settimeout(20)
    received = b""
    while not received.endswith(b"de"):
        received += other.recv(100)
    assert received in (b"abcde"[1:], b"bc!de")


def test_descriptors_sent_along_hide_nothing(pair, waiting):
    one, other = pair
    reader = waiting(other.recv, 100)
    one.send(b"a")
    assert reader.get(timeout=20) == b"a"
    one.sendmsg([b"b"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", one.fileno()))])
    one.send(b"c")
    other.settimeout(20)
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
    sender.get(timeout=20)
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
        assert sender.get(timeout=20) == len(data) - 10
        assert file.tell() == len(data)
        assert one.sendfile(file, 0, 5) == 5
    assert received == data[10:]
    assert other.recv(10) == data[:5]
    assert one.sendfile(io.BytesIO(b"memory")) == 6
    assert other.recv(10) == b"memory"


def test_sendfile_of_what_has_no_size(tcp):
    one, other = tcp
    reader, writer = os.pipe()
    os.write(writer, b"through a pipe")
    os.close(writer)
    with os.fdopen(reader, "rb") as file, pytest.raises(io.UnsupportedOperation, match="seek"):
        # Only then its position is to be set.
        one.sendfile(file)
    assert other.recv(100) == b"through a pipe"
    with open("/proc/self/cmdline", "rb") as file:
        assert one.sendfile(file) > 0


def test_sendmsg_that_must_not_wait(pair):
    one, _other = pair
    one.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            one.send(b"x" * 65536)
    one.setblocking(True)
    with pytest.raises(BlockingIOError):
        one.sendmsg([b"x" * 65536], [], socket.MSG_DONTWAIT)


def test_recvmsg_and_sendmsg(pair, waiting):
    one, other = pair
    reader = waiting(other.recvmsg, 10)
    assert one.sendmsg([b"ab", b"cd"]) == 4
    assert reader.get(timeout=20)[0] == b"abcd"
    buffers = [bytearray(1), bytearray(5)]
    one.send(b"xyz")
    assert other.recvmsg_into(buffers)[0] == 3
    assert buffers == [bytearray(b"x"), bytearray(b"yz\0\0\0")]


# Datagrams


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_datagrams(host, waiting):
    with (
        socket.socket(type=socket.SOCK_DGRAM) as one,
        socket.socket(type=socket.SOCK_DGRAM) as other,
    ):
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        reader = waiting(other.recvfrom, 100)
        assert one.sendto(b"hello", (host, other.getsockname()[1])) == 5
        assert reader.get(timeout=20) == (b"hello", one.getsockname())
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
        with pytest.raises(TypeError, match="null character"):
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


@pytest.mark.parametrize("host", ["127.0.0.1", "127.10.99.100", "127.255.255.254"])
def test_who_connects(host):
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname(), 5, (host, 0)) as client,
    ):
        accepted, address = listener.accept()
        with accepted:
            assert address == client.getsockname() == accepted.getpeername()
        assert address[0] == host


def test_unix_addresses(socket_folder):
    path = str(socket_folder / "socket")
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
