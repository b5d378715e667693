"""gevent.aio: operations of loops on sockets of the program: sock_recv and its like."""

import asyncio
import socket

import pytest
from aio_support import MUCH, received_by, run, socket_pair

from gevent import aio


@pytest.fixture(params=["tcp", "unix"])
def kind(request):
    return request.param


def pair(kind="unix"):
    one, other = socket_pair(kind)
    one.setblocking(False)
    other.setblocking(False)
    return one, other


def test_they_wait_again_and_again(kind):
    async def main():
        loop = asyncio.get_running_loop()
        one, other = pair(kind)
        with one, other:

            async def echo():
                buffer = bytearray(100)
                while count := await loop.sock_recv_into(other, buffer):
                    await loop.sock_sendall(other, memoryview(buffer)[:count])

            echoing = asyncio.create_task(echo())
            for number in range(100):
                await loop.sock_sendall(one, b"%d" % number)
                assert await loop.sock_recv(one, 100) == b"%d" % number
            one.shutdown(socket.SHUT_WR)
            await echoing

    run(main)
    aio.run(main())


def test_much_is_sent_whole(kind):
    async def main():
        loop = asyncio.get_running_loop()
        one, other = pair(kind)
        with one, other:
            sending = asyncio.create_task(loop.sock_sendall(one, MUCH))
            assert await received_by(other, len(MUCH)) == MUCH
            await sending

    run(main)


def test_a_cancelled_one_leaves_the_socket_alone():
    async def main():
        loop = asyncio.get_running_loop()
        one, other = pair()
        with one, other:
            for _ in range(50):
                receiving = asyncio.create_task(loop.sock_recv(one, 100))
                await asyncio.sleep(0)
                receiving.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await receiving
            other.send(b"whole")
            assert await loop.sock_recv(one, 100) == b"whole"
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(loop.sock_recv(one, 100), 0.01)

    run(main)


def test_two_tasks_may_wait_for_one_socket():
    async def main():
        loop = asyncio.get_running_loop()
        one, other = pair()
        with one, other:
            waiting = [asyncio.create_task(loop.sock_recv(one, 1)) for _ in range(3)]
            await asyncio.sleep(0.001)
            await loop.sock_sendall(other, b"abc")
            assert sorted(await asyncio.gather(*waiting)) == [b"a", b"b", b"c"]

    run(main)


def test_datagrams_and_connections():
    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            accepting = asyncio.create_task(loop.sock_accept(listener))
            await asyncio.sleep(0)
            with socket.socket() as client:
                client.setblocking(False)
                await loop.sock_connect(client, listener.getsockname())
                accepted, address = await accepting
                with accepted:
                    assert accepted.gettimeout() == 0
                    assert address == client.getsockname()
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
        ):
            for sock in (one, other):
                sock.bind(("127.0.0.1", 0))
                sock.setblocking(False)
            receiving = asyncio.create_task(loop.sock_recvfrom(other, 100))
            await asyncio.sleep(0)
            assert await loop.sock_sendto(one, b"x", other.getsockname()) == 1
            assert await receiving == (b"x", one.getsockname())
            buffer = bytearray(10)
            receiving = asyncio.create_task(loop.sock_recvfrom_into(other, buffer))
            await asyncio.sleep(0)
            await loop.sock_sendto(one, b"yz", other.getsockname())
            assert await receiving == (2, one.getsockname())
            assert buffer[:2] == b"yz"

    run(main)


def test_a_closed_socket_is_an_error():
    async def main():
        loop = asyncio.get_running_loop()
        one, other = pair()
        one.close()
        with other, pytest.raises(OSError, match="Bad file descriptor"):
            await loop.sock_recv(one, 1)

    run(main)


def test_a_blocking_socket_is_refused_in_debug_mode():
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        one, other = socket_pair("unix")
        with one, other:
            for call in (loop.sock_recv(one, 1), loop.sock_sendall(one, b"x")):
                with pytest.raises(ValueError, match="non-blocking"):
                    await call

    run(main)
