"""gevent.aio: what protocols raise outside of receiving is reported, and ends no loop."""

import asyncio
import os
import socket
import struct
from contextlib import suppress

import pytest
from aio_support import MUCH, Recorder, connected, received_by, run


@pytest.fixture(params=["tcp", "unix"])
def kind(request):
    return request.param


def reported():
    """Return the list to which the running loop reports errors from now on."""
    reports = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: reports.append(context))
    return reports


def reset(peer):
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def fill(transport):
    """Write until the transport has something to send later; return all that was written."""
    count = 0
    while not transport.get_write_buffer_size():
        transport.write(MUCH)
        count += 1
    return count * MUCH


class Failing(Recorder):
    def connection_lost(self, error):
        super().connection_lost(error)
        raise ZeroDivisionError


def test_connection_lost_that_fails_after_the_last_byte(kind):
    async def main():
        reports = reported()
        async with connected(kind, Failing) as (protocol, peer):
            written = fill(protocol.transport)
            protocol.transport.close()
            assert await received_by(peer, len(written) + 1) == written
            await protocol.ended
            await asyncio.sleep(0)
        assert [type(report["exception"]) for report in reports] == [ZeroDivisionError]

    run(main)


def test_the_end_of_the_sending_side_of_a_connection_that_is_down():
    class Ending(Recorder):
        def resume_writing(self):
            # The peer is gone by the time that all is sent, so the side cannot be closed any more.
            reset(self.peer)
            super().resume_writing()

    async def main():
        reports = reported()
        async with connected("tcp", Ending) as (protocol, peer):
            protocol.peer = peer
            protocol.transport.pause_reading()
            protocol.transport.set_write_buffer_limits(0)
            fill(protocol.transport)
            protocol.transport.write_eof()
            while "resume" not in protocol.calls:
                with suppress(BlockingIOError):
                    peer.recv(1 << 16)
                await asyncio.sleep(0)
            await asyncio.sleep(0.001)
            protocol.transport.abort()
            await protocol.ended
        assert [type(report["exception"]) for report in reports] == [OSError]

    run(main)


def test_a_cancelled_sendfile_ends_neither_the_loop_nor_the_connection(kind, tmp_path):
    (tmp_path / "file").write_bytes(MUCH)

    async def main():
        loop = asyncio.get_running_loop()
        reports = reported()
        async with connected(kind) as (protocol, peer):
            written = fill(protocol.transport)
            with open(tmp_path / "file", "rb") as file:
                task = asyncio.create_task(loop.sendfile(protocol.transport, file))
                await asyncio.sleep(0.001)
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            protocol.transport.close()
            assert await received_by(peer, len(written) + 1) == written
            assert await protocol.ended is None
        assert reports == []

    run(main)


@pytest.mark.parametrize("size", [1, 16])
def test_a_protocol_that_pauses_and_resumes_in_each_call_is_called_once_at_a_time(kind, size):
    class Pausing(asyncio.BufferedProtocol):
        def __init__(self):
            self.buffer = bytearray(size)
            self.received = 0
            self.most = 0
            self.ended = asyncio.get_running_loop().create_future()

        def connection_made(self, transport):
            self.transport = transport

        def get_buffer(self, _hint):
            return self.buffer

        def buffer_updated(self, count):
            self.received += count
            self.transport.pause_reading()
            self.transport.resume_reading()
            turn = turns[0]
            self.calls = self.calls + 1 if turn == getattr(self, "turn", None) else 1
            self.most, self.turn = max(self.most, self.calls), turn

        def connection_lost(self, error):
            self.ended.set_result(error)

    turns = [0]

    async def main():
        async def count():
            while True:
                turns[0] += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        async with connected(kind, Pausing) as (protocol, peer):
            await asyncio.get_running_loop().sock_sendall(peer, bytes(3000))
            peer.shutdown(socket.SHUT_WR)
            await protocol.ended
        counting.cancel()
        return protocol.received, protocol.most

    assert run(main) == (3000, 1)


def test_an_error_for_a_waiting_datagram_leaves_the_others_to_be_sent(socket_folder):
    class Angry(asyncio.DatagramProtocol):
        def __init__(self):
            self.errors = 0

        def error_received(self, _error):
            self.errors += 1
            raise ZeroDivisionError

    async def main():
        loop = asyncio.get_running_loop()
        reports = reported()
        address = str(socket_folder / "receiver")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(address)
            transport, protocol = await loop.create_datagram_endpoint(
                Angry, remote_addr=address, family=socket.AF_UNIX
            )
            while transport.get_write_buffer_size() < 100:
                transport.sendto(b"x" * 30)
        os.unlink(address)
        while transport.get_write_buffer_size():
            await asyncio.sleep(0.001)
        transport.close()
        assert protocol.errors == len(reports) > 1

    run(main)


@pytest.mark.parametrize("address", ["no address", 5, ("127.0.0.1",)])
def test_a_wrong_address_ends_a_datagram_transport_as_in_asyncio(address):
    class Ended(asyncio.DatagramProtocol):
        def __init__(self):
            self.ended = asyncio.get_running_loop().create_future()

        def connection_lost(self, error):
            self.ended.set_result(error)

    async def main():
        reports = reported()
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(
            Ended, local_addr=("127.0.0.1", 0)
        )
        transport.sendto(b"x", address)
        error = await protocol.ended
        assert isinstance(error, TypeError)
        assert [report["exception"] for report in reports] == [error]

    run(main)
