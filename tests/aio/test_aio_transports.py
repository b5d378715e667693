"""gevent.aio: transports of stream sockets: what they send, receive and report, their ends."""

import asyncio
import gc
import socket
import ssl
import struct
import warnings
import weakref

import pytest
from aio_support import MUCH, Buffered, Recorder, connected, received_by, run, socket_pair
from descriptors import open_descriptors
from paths import CERTIFICATE

import gevent
from gevent import aio


@pytest.fixture(params=["tcp", "unix"])
def kind(request):
    return request.param


def test_messages_arrive_as_bytes_in_their_order(kind):
    async def main():
        async with connected(kind) as (protocol, peer):
            loop = asyncio.get_running_loop()
            for size in (1, 100, 8191, 8192, 8193, 100_000):
                protocol.data.clear()
                await loop.sock_sendall(peer, MUCH[:size])
                assert await protocol.receive(size) == MUCH[:size]
            protocol.data.clear()
            await loop.sock_sendall(peer, MUCH)
            assert await protocol.receive(len(MUCH)) == MUCH

    run(main)


@pytest.mark.parametrize("kind_of_bytes", [bytes, bytearray, memoryview])
def test_all_that_is_written_is_sent_in_its_order(kind, kind_of_bytes):
    async def main():
        async with connected(kind) as (protocol, peer):
            transport = protocol.transport
            for start in range(0, len(MUCH), 70_001):
                transport.write(kind_of_bytes(MUCH[start : start + 70_001]))
            assert await received_by(peer, len(MUCH)) == MUCH
            assert transport.get_write_buffer_size() == 0

    run(main)


def test_what_is_written_may_change_afterwards():
    async def main():
        async with connected() as (protocol, peer):
            data = bytearray(MUCH)
            protocol.transport.write(data)
            data[:] = bytes(len(data))
            assert await received_by(peer, len(MUCH)) == MUCH

    run(main)


def test_writelines_sends_all_pieces(kind):
    async def main():
        async with connected(kind) as (protocol, peer):
            transport = protocol.transport
            transport.writelines([])
            transport.writelines([b"one", bytearray(b"two"), memoryview(b"three"), b""])
            assert await received_by(peer, 11) == b"onetwothree"
            pieces = [MUCH[start : start + 999] for start in range(0, len(MUCH), 999)]
            transport.writelines(iter(pieces))
            transport.writelines([b"the", b"end"])
            assert await received_by(peer, len(MUCH) + 6) == MUCH + b"theend"

    run(main)


def test_a_protocol_that_writes_too_much_is_paused_until_it_is_sent():
    async def main():
        async with connected() as (protocol, peer):
            transport = protocol.transport
            assert transport.get_write_buffer_limits() == (16384, 65536)
            transport.set_write_buffer_limits(high=1000, low=10)
            assert transport.get_write_buffer_limits() == (10, 1000)
            while "pause" not in protocol.calls:
                transport.write(bytes(100_000))
            assert transport.get_write_buffer_size() > 1000
            assert protocol.calls == ["made", "pause"]
            left = transport.get_write_buffer_size()
            while "resume" not in protocol.calls:
                await received_by(peer, 1)
            assert transport.get_write_buffer_size() <= 10 < left
            assert protocol.calls == ["made", "pause", "resume"]
            with pytest.raises(ValueError, match="high"):
                transport.set_write_buffer_limits(high=1, low=2)

    run(main)


def test_a_protocol_that_pauses_reading_receives_nothing(kind):
    async def main():
        async with connected(kind) as (protocol, peer):
            transport = protocol.transport
            loop = asyncio.get_running_loop()
            transport.pause_reading()
            transport.pause_reading()
            assert not transport.is_reading()
            await loop.sock_sendall(peer, b"later")
            await asyncio.sleep(0.01)
            assert protocol.data == b""
            transport.resume_reading()
            transport.resume_reading()
            assert transport.is_reading()
            assert await protocol.receive(5) == b"later"

    run(main)


def test_a_protocol_may_pause_while_it_receives(kind):
    class OneAtATime(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.pause_reading()
            asyncio.get_running_loop().call_later(0.001, self.transport.resume_reading)

    async def main():
        async with connected(kind, OneAtATime) as (protocol, peer):
            await asyncio.get_running_loop().sock_sendall(peer, MUCH[:300_000])
            assert await protocol.receive(300_000) == MUCH[:300_000]

    run(main)


@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20])
def test_a_buffered_protocol_receives_into_its_buffer(kind, size):
    async def main():
        async with connected(kind, lambda: Buffered(size)) as (protocol, peer):
            count = min(len(MUCH), size * 500)
            await asyncio.get_running_loop().sock_sendall(peer, MUCH[:count])
            peer.shutdown(socket.SHUT_WR)
            assert await protocol.ended is None
            assert protocol.data == MUCH[:count]

    run(main)


def test_a_protocol_may_be_replaced_by_a_buffered_one():
    async def main():
        async with connected() as (protocol, peer):
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(peer, b"one")
            await protocol.receive(3)
            other = Buffered(10)
            protocol.transport.set_protocol(other)
            assert protocol.transport.get_protocol() is other
            await loop.sock_sendall(peer, b"two")
            peer.shutdown(socket.SHUT_WR)
            await other.ended
            assert (protocol.data, other.data) == (b"one", b"two")

    run(main)


@pytest.mark.parametrize("given", [bytearray(), 7])
def test_a_buffer_that_is_none_ends_the_connection_with_an_error(given):
    class Wrong(Buffered):
        def get_buffer(self, _hint):
            return given

    async def main():
        reports = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: reports.append(context))
        async with connected("tcp", lambda: Wrong(1)) as (protocol, peer):
            await loop.sock_sendall(peer, b"x")
            error = await protocol.ended
        assert isinstance(error, TypeError if given == 7 else RuntimeError)
        assert [report["exception"] for report in reports] == [error]
        assert "get_buffer" in reports[0]["message"]

    run(main)


def test_the_end_of_the_peers_data_closes_the_transport(kind):
    async def main():
        async with connected(kind) as (protocol, peer):
            await asyncio.get_running_loop().sock_sendall(peer, b"last")
            peer.close()
            assert await protocol.ended is None
            assert protocol.data == b"last"
            assert protocol.calls == ["made", "eof", "lost"]
            assert protocol.transport.is_closing()

    run(main)


def test_a_protocol_may_keep_a_half_closed_connection_open(kind):
    async def main():
        async with connected(kind) as (protocol, peer):
            protocol.keeps_open = True
            peer.shutdown(socket.SHUT_WR)
            await protocol.came.wait()
            assert not protocol.transport.is_closing()
            protocol.transport.write(MUCH)
            assert await received_by(peer, len(MUCH)) == MUCH
            assert protocol.calls.count("eof") == 1
            protocol.transport.close()
            assert await protocol.ended is None

    run(main)


def test_write_eof_closes_the_sending_side_when_all_is_sent(kind):
    async def main():
        async with connected(kind) as (protocol, peer):
            transport = protocol.transport
            assert transport.can_write_eof()
            transport.write(MUCH)
            transport.write_eof()
            transport.write_eof()
            with pytest.raises(RuntimeError, match="write_eof"):
                transport.write(b"more")
            assert await received_by(peer, len(MUCH) + 1) == MUCH
            await asyncio.get_running_loop().sock_sendall(peer, b"answer")
            assert await protocol.receive(6) == b"answer"

    run(main)


def test_close_sends_what_is_buffered_first(kind):
    async def main():
        async with connected(kind) as (protocol, peer):
            protocol.transport.write(MUCH)
            protocol.transport.close()
            protocol.transport.close()
            assert protocol.transport.is_closing()
            assert await received_by(peer, len(MUCH) + 1) == MUCH
            assert await protocol.ended is None
            assert protocol.calls.count("lost") == 1

    run(main)


def test_abort_drops_what_is_buffered(kind):
    async def main():
        async with connected(kind) as (protocol, peer):
            transport = protocol.transport
            transport.write(MUCH * 3)
            transport.abort()
            transport.abort()
            transport.close()
            assert transport.get_write_buffer_size() == 0
            assert protocol.calls[-1] != "lost"
            assert await protocol.ended is None
            assert protocol.calls.count("lost") == 1
            assert len(await received_by(peer, len(MUCH) * 3)) < len(MUCH) * 3

    run(main)


def test_nothing_is_received_after_close():
    async def main():
        async with connected() as (protocol, peer):
            await asyncio.get_running_loop().sock_sendall(peer, b"too late")
            protocol.transport.close()
            await protocol.ended
            assert protocol.data == b""

    run(main)


def test_writes_to_a_lost_connection_are_ignored_and_logged(caplog):
    async def main():
        async with connected() as (protocol, _peer):
            protocol.transport.close()
            await protocol.ended
            for _ in range(10):
                protocol.transport.write(b"x")
                protocol.transport.writelines([b"x", b"y"])

    run(main)
    assert "socket.send() raised exception." in caplog.text


def test_a_reset_is_reported_once_to_one_that_reads_and_one_that_writes():
    async def main(writes):
        async with connected() as (protocol, peer):
            if writes:
                protocol.transport.write(MUCH * 3)
                assert protocol.transport.get_write_buffer_size()
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
            assert isinstance(await protocol.ended, ConnectionError)
            assert protocol.calls.count("lost") == 1
            protocol.transport.write(b"x")

    run(main, False)
    run(main, True)


@pytest.mark.parametrize("method", ["data_received", "eof_received"])
def test_an_error_of_the_protocol_ends_the_connection(method):
    class Failing(Recorder):
        pass

    def fail(*_args):
        raise ZeroDivisionError

    setattr(Failing, method, fail)

    async def main():
        reports = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: reports.append(context))
        async with connected("tcp", Failing) as (protocol, peer):
            await loop.sock_sendall(peer, b"x" if method == "data_received" else b"")
            peer.shutdown(socket.SHUT_WR)
            assert isinstance(await protocol.ended, ZeroDivisionError)
        (report,) = reports
        assert method in report["message"]
        assert report["transport"] is protocol.transport
        assert report["protocol"] is protocol

    run(main)


def test_an_error_of_pause_writing_is_reported():
    class Failing(Recorder):
        def pause_writing(self):
            raise ZeroDivisionError

    async def main():
        reports = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: reports.append(context))
        async with connected("tcp", Failing) as (protocol, _peer):
            while not protocol.transport.get_write_buffer_size():
                protocol.transport.write(MUCH)
        assert [type(report["exception"]) for report in reports] == [ZeroDivisionError]

    run(main)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_a_program_goes_through_the_loop(error):
    class Ending(Recorder):
        def data_received(self, _data):
            raise error

    async def main():
        ours, peer = socket_pair("tcp")
        await asyncio.get_running_loop().create_connection(Ending, sock=ours)
        peer.sendall(b"x")
        peers.append(peer)
        await asyncio.sleep(10)

    peers = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        with pytest.raises(error):
            run(main)
        gc.collect()
    peers[0].close()


def test_what_is_not_bytes_is_refused():
    async def main():
        async with connected() as (protocol, _peer):
            for wrong in ("text", None, 5, [b"x"]):
                with pytest.raises(TypeError):
                    protocol.transport.write(wrong)
            with pytest.raises(TypeError):
                protocol.transport.writelines([b"x", "text"])

    run(main)


def test_what_is_known_of_a_connection():
    async def main():
        async with connected() as (protocol, peer):
            transport = protocol.transport
            assert isinstance(transport, asyncio.Transport)
            assert transport.get_extra_info("peername") == peer.getsockname()
            assert transport.get_extra_info("sockname") == peer.getpeername()
            assert transport.get_extra_info("socket").fileno() > 0
            assert transport.get_extra_info("socket").getsockopt(
                socket.IPPROTO_TCP, socket.TCP_NODELAY
            )
            assert transport.get_extra_info("no such", 5) == 5
            assert "read=polling" in repr(transport)
            transport.close()
            await protocol.ended
            assert "closed" in repr(transport)

    run(main)


def test_the_protocol_is_called_in_the_context_of_the_connection():
    import contextvars

    variable = contextvars.ContextVar("variable", default="none")

    class Looking(Recorder):
        def data_received(self, data):
            self.seen = variable.get()
            variable.set("of the protocol")
            super().data_received(data)

    async def main():
        variable.set("of the task")
        async with connected("tcp", Looking) as (protocol, peer):
            variable.set("later")
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(peer, b"x")
            await protocol.receive(1)
            assert protocol.seen == "of the task"
            await loop.sock_sendall(peer, b"y")
            await protocol.receive(2)
            assert protocol.seen == "of the protocol"
            assert variable.get() == "later"

    run(main)


def test_a_file_is_sent_by_the_kernel(tmp_path, kind):
    path = tmp_path / "file"
    path.write_bytes(MUCH)

    async def main():
        async with connected(kind) as (protocol, peer):
            loop = asyncio.get_running_loop()
            protocol.transport.write(b"head")
            with path.open("rb") as file:
                sending = asyncio.create_task(loop.sendfile(protocol.transport, file))
                await asyncio.sleep(0)
                assert await received_by(peer, 4 + len(MUCH)) == b"head" + MUCH
                assert await sending == len(MUCH)
            protocol.transport.write(b"tail")
            assert await received_by(peer, 4) == b"tail"

    run(main)


def test_streams_echo_over_tls_and_upgraded_connections():
    def context_of(purpose):
        context = ssl.SSLContext(purpose)
        if purpose == ssl.PROTOCOL_TLS_SERVER:
            context.load_cert_chain(CERTIFICATE)
        else:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    async def echo(reader, writer):
        while data := await reader.read(100_000):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def main():
        server = await asyncio.start_server(
            echo, "127.0.0.1", 0, ssl=context_of(ssl.PROTOCOL_TLS_SERVER)
        )
        async with server:
            address = server.sockets[0].getsockname()
            client = context_of(ssl.PROTOCOL_TLS_CLIENT)
            reader, writer = await asyncio.open_connection(*address, ssl=client)
            other_reader, other = await asyncio.open_connection(*address)
            if hasattr(other, "start_tls"):
                await other.start_tls(client)
            for read, write in [(reader, writer), (other_reader, other)]:
                if not write.get_extra_info("cipher"):
                    write.close()
                    continue
                write.write(MUCH)
                assert await read.readexactly(len(MUCH)) == MUCH
                write.close()
                await write.wait_closed()

    run(main)


def test_a_transport_that_nobody_closed_is_closed_with_a_warning():
    async def main():
        ours, peer = socket_pair("tcp")
        transport, _ = await asyncio.get_running_loop().create_connection(Recorder, sock=ours)
        await asyncio.sleep(0)
        return peer, weakref.ref(transport)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        peer, transport = run(main)
        gc.collect()
    assert any("unclosed transport" in str(warning.message) for warning in caught)
    # A warning that is recorded keeps what it is about.
    caught.clear()
    gc.collect()
    assert transport() is None
    with peer:
        assert peer.recv(1) == b""


def test_greenlets_and_transports_share_the_thread():
    async def main():
        async with connected() as (protocol, peer):
            loop = asyncio.get_running_loop()
            turns = []
            counting = gevent.spawn(lambda: [turns.append(gevent.sleep(0)) for _ in range(50)])
            for _ in range(50):
                protocol.data.clear()
                await loop.sock_sendall(peer, b"x")
                await protocol.receive(1)
            await counting
            assert len(turns) == 50

    run(main)
    aio.run(main())


def test_no_descriptor_and_no_object_is_left():
    async def main():
        for kind in ("tcp", "unix"):
            async with connected(kind) as (protocol, peer):
                protocol.transport.write(MUCH)
                await asyncio.get_running_loop().sock_sendall(peer, b"x")
                await protocol.receive(1)
                kept.append(weakref.ref(protocol.transport))
                kept.append(weakref.ref(protocol))

    kept = []
    run(main)
    before = len(open_descriptors())
    for _ in range(5):
        run(main)
        aio.run(main())
    assert len(open_descriptors()) <= before + 4
    assert not [reference for reference in kept if reference() is not None]
