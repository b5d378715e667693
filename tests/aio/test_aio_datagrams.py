"""gevent.aio: transports of datagram sockets."""

import asyncio
import socket
import weakref

import pytest
from descriptors import open_descriptors
from ports import unused_address

from gevent import aio


class Recorder(asyncio.DatagramProtocol):
    """Keeps what it is told."""

    def __init__(self):
        self.got = asyncio.Queue()
        self.errors = asyncio.Queue()
        self.calls = []
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.got.put_nowait((data, addr))

    def error_received(self, error):
        self.errors.put_nowait(error)

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")

    def connection_lost(self, error):
        self.ended.set_result(error)


def run(main, *args):
    with asyncio.Runner(loop_factory=aio.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(main(*args), 20))


async def endpoint(**settings):
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(Recorder, **settings)
    return transport, protocol, transport.get_extra_info("sockname")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_datagrams_arrive_with_their_senders(host):
    async def main():
        one, at_one, address_of_one = await endpoint(local_addr=(host, 0))
        other, at_other, address_of_other = await endpoint(local_addr=(host, 0))
        assert isinstance(one, asyncio.DatagramTransport)
        for size in (1, 100, 9000, 60_000):
            one.sendto(bytes(size), address_of_other)
            assert await at_other.got.get() == (bytes(size), address_of_one)
        for kind in (bytes, bytearray, memoryview):
            other.sendto(kind(b"back"), address_of_one)
            assert await at_one.got.get() == (b"back", address_of_other)
        for transport, protocol in ((one, at_one), (other, at_other)):
            transport.close()
            transport.close()
            assert transport.is_closing()
            assert await protocol.ended is None

    run(main)
    aio.run(main())


def test_a_connected_transport_sends_to_its_peer_alone():
    async def main():
        server, at_server, address = await endpoint(local_addr=("127.0.0.1", 0))
        client, at_client, own = await endpoint(remote_addr=address)
        client.sendto(b"one")
        client.sendto(b"two", address)
        with pytest.raises(ValueError, match="Invalid address"):
            client.sendto(b"three", ("127.0.0.1", 9))
        assert [await at_server.got.get() for _ in "12"] == [(b"one", own), (b"two", own)]
        server.sendto(b"answer", own)
        assert await at_client.got.get() == (b"answer", address)
        server.abort()
        client.abort()
        assert await at_client.ended is None

    run(main)


def test_a_burst_arrives_whole_and_others_get_their_turn():
    async def main():
        turns = 0

        async def counts():
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        counting = asyncio.create_task(counts())
        server, at_server, address = await endpoint(local_addr=("127.0.0.1", 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            for number in range(100):
                client.sendto(b"%d" % number, address)
        got = [(await at_server.got.get())[0] for _ in range(100)]
        assert got == [b"%d" % number for number in range(100)]
        counting.cancel()
        assert turns > 2
        server.close()

    run(main)


def test_a_refused_datagram_is_reported_and_the_transport_goes_on():
    async def main():
        address = unused_address()
        client, at_client, own = await endpoint(remote_addr=address)
        client.sendto(b"x")
        assert isinstance(await at_client.errors.get(), ConnectionRefusedError)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(address)
            client.sendto(b"again")
            server.settimeout(20)
            assert server.recvfrom(100) == (b"again", own)
            server.sendto(b"answer", own)
            assert await at_client.got.get() == (b"answer", address)
        client.close()

    run(main)


def test_reading_can_be_paused():
    async def main():
        server, at_server, address = await endpoint(local_addr=("127.0.0.1", 0))
        server.pause_reading()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"later", address)
            await asyncio.sleep(0.01)
            assert at_server.got.empty()
            server.resume_reading()
            assert (await at_server.got.get())[0] == b"later"
        server.close()

    run(main)


def test_what_a_full_socket_does_not_take_waits_in_its_order(socket_folder):
    async def main():
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
            server.bind(str(socket_folder / "server"))
            server.setblocking(False)
            client, at_client, _ = await endpoint(
                remote_addr=str(socket_folder / "server"), family=socket.AF_UNIX
            )
            client.set_write_buffer_limits(high=100)
            sent = 0
            while "pause" not in at_client.calls:
                client.sendto(b"%d" % sent)
                sent += 1
            assert client.get_write_buffer_size() > 100
            client.close()
            got = []
            while len(got) < sent:
                data = await asyncio.get_running_loop().sock_recv(server, 100)
                got.append(int(data))
            assert got == list(range(sent))
            assert "resume" in at_client.calls
            assert await at_client.ended is None

    run(main)


def test_errors_of_the_protocol_are_reported_and_it_receives_on():
    class Failing(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            raise ZeroDivisionError

    async def main():
        reports = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: reports.append(context["exception"]))
        transport, protocol = await loop.create_datagram_endpoint(
            Failing, local_addr=("127.0.0.1", 0)
        )
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            for _ in range(3):
                client.sendto(b"x", transport.get_extra_info("sockname"))
                await protocol.got.get()
        transport.close()
        await protocol.ended
        assert [type(error) for error in reports] == [ZeroDivisionError] * 3

    run(main)


def test_what_is_not_bytes_is_refused():
    async def main():
        transport, _, address = await endpoint(local_addr=("127.0.0.1", 0))
        for wrong in ("text", 5, [b"x"]):
            with pytest.raises(TypeError):
                transport.sendto(wrong, address)
        transport.close()

    run(main)


def test_nothing_is_left_of_transports():
    async def main():
        transport, protocol, address = await endpoint(local_addr=("127.0.0.1", 0))
        transport.sendto(b"x", address)
        await protocol.got.get()
        transport.close()
        await protocol.ended
        kept.extend((weakref.ref(transport), weakref.ref(protocol)))

    kept = []
    aio.run(main())
    before = open_descriptors()
    for _ in range(5):
        run(main)
        aio.run(main())
    assert open_descriptors() == before
    assert not [reference for reference in kept if reference() is not None]
