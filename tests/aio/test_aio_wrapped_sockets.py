"""gevent.aio: sockets that move data in a way of their own: objects around a socket, subclasses."""

import asyncio
import socket
import ssl
import threading
from pathlib import Path

import pytest
from aio_support import Recorder, run, socket_pair

from gevent import monkey
from gevent import socket as gevent_socket
from gevent.aio._transports import SocketTransport, is_plain

NATIVE = monkey.get_original("socket", "socket")
CERTIFICATE = Path(__file__).parents[1] / "data" / "localhost.pem"
KEY = 0x55


def changed(data):
    return bytes(byte ^ KEY for byte in data)


class Around:
    """Wraps a socket and changes what passes through."""

    def __init__(self, sock):
        self.sock = sock
        self.sends = 0

    def __getattr__(self, name):
        return getattr(self.sock, name)

    def send(self, data, *flags):
        self.sends += 1
        return self.sock.send(changed(data[:1000]), *flags)

    def sendmsg(self, buffers, *rest):
        return self.send(b"".join(buffers))

    def recv(self, size, *flags):
        return changed(self.sock.recv(size, *flags))


class Derived(NATIVE):
    """Changes what passes through a socket of its own."""

    sends = 0

    def send(self, data, *flags):
        self.sends += 1
        return super().send(changed(data[:1000]), *flags)

    def sendmsg(self, buffers, *rest):
        return self.send(b"".join(buffers))

    def recv(self, size, *flags):
        return changed(super().recv(size, *flags))


def derived(sock):
    return Derived(sock.family, sock.type, sock.proto, fileno=sock.detach())


@pytest.mark.parametrize("wrap", [Around, derived])
def test_transfers_pass_through_the_methods_of_the_socket(wrap):
    data = bytes(range(256)) * 50

    async def main():
        ours, peer = socket_pair("tcp")
        wrapped = wrap(ours)
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_connection(Recorder, sock=wrapped)
        with peer:
            peer.setblocking(False)
            transport.write(data)
            transport.writelines([b"the ", b"end"])
            sent = bytearray()
            while len(sent) < len(data) + 7:
                sent += await loop.sock_recv(peer, 1 << 16)
            assert changed(sent) == data + b"the end"
            assert wrapped.sends >= len(data) // 1000
            await loop.sock_sendall(peer, changed(b"answer"))
            assert await protocol.receive(6) == b"answer"
            transport.close()
            assert await protocol.ended is None
            assert await loop.sock_recv(peer, 1) == b""

    run(main)


def test_datagrams_pass_through_the_methods_of_the_socket():
    class Changing(NATIVE):
        def sendto(self, data, *address):
            return super().sendto(changed(data), *address)

        def send(self, data, *flags):
            return super().send(changed(data), *flags)

        def recvfrom(self, size, *flags):
            data, address = super().recvfrom(size, *flags)
            return changed(data), address

    class Datagrams(asyncio.DatagramProtocol):
        def __init__(self):
            self.came = asyncio.get_running_loop().create_future()

        def datagram_received(self, data, addr):
            self.came.set_result((data, addr))

    async def main():
        loop = asyncio.get_running_loop()
        ours, peer = (kind(socket.AF_INET, socket.SOCK_DGRAM) for kind in (Changing, NATIVE))
        with peer:
            for sock in ours, peer:
                sock.bind(("127.0.0.1", 0))
                sock.setblocking(False)
            there = peer.getsockname()
            transport, protocol = await loop.create_datagram_endpoint(Datagrams, sock=ours)
            transport.sendto(b"question", there)
            assert changed(await loop.sock_recv(peer, 100)) == b"question"
            await loop.sock_sendto(peer, changed(b"answer"), ours.getsockname())
            assert await protocol.came == (b"answer", there)
            transport.close()

    run(main)


def test_tls_over_a_wrapped_socket():
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(CERTIFICATE)
    trusting = ssl.create_default_context(cafile=CERTIFICATE)
    ours, peer = socket_pair("tcp")

    def serve():
        with serving.wrap_socket(peer, server_side=True) as tls:
            tls.sendall(tls.recv(100).upper())

    class Counting(Around):
        def send(self, data, *flags):
            self.sends += 1
            return self.sock.send(data, *flags)

        def recv(self, size, *flags):
            return self.sock.recv(size, *flags)

    async def main():
        wrapped = Counting(ours)
        reader, writer = await asyncio.open_connection(
            sock=wrapped, ssl=trusting, server_hostname="localhost"
        )
        writer.write(b"hello")
        assert await reader.read(100) == b"HELLO"
        assert wrapped.sends
        writer.close()
        await writer.wait_closed()

    server = threading.Thread(target=serve)
    server.start()
    run(main)
    server.join()


def test_which_sockets_are_served_by_the_engine():
    class Named(NATIVE):
        def label(self):
            return "a socket"

    class Reading(NATIVE):
        def recv_into(self, *args):
            return super().recv_into(*args)

    for kind in NATIVE, gevent_socket.socket, Named:
        with kind() as sock:
            assert is_plain(sock)
    with Reading() as sock:
        assert not is_plain(sock)
    assert not is_plain(object())

    async def main():
        ours, peer = socket_pair("unix")
        loop = asyncio.get_running_loop()
        with peer:
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
            assert type(transport) is SocketTransport
            transport.close()

    run(main)
