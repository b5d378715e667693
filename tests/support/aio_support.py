"""The tests of gevent.aio share this: coroutines, threads, protocols and connections to talk to."""

import asyncio
import os
import socket
import threading
from contextlib import asynccontextmanager

import gevent
from gevent import aio

MUCH = os.urandom(3_000_000)


class Recorder(asyncio.Protocol):
    """Keeps what it is told, in order, and all that it received."""

    def __init__(self):
        loop = asyncio.get_running_loop()
        self.calls = []
        self.data = bytearray()
        self.made = loop.create_future()
        self.ended = loop.create_future()
        self.came = asyncio.Event()
        self.keeps_open = False

    def connection_made(self, transport):
        self.transport = transport
        self.calls.append("made")
        self.made.set_result(transport)

    def data_received(self, data):
        assert type(data) is bytes
        self.data += data
        self.came.set()

    def eof_received(self):
        self.calls.append("eof")
        self.came.set()
        return self.keeps_open

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")

    def connection_lost(self, error):
        self.calls.append("lost")
        self.ended.set_result(error)

    async def receive(self, count):
        while len(self.data) < count:
            self.came.clear()
            await self.came.wait()
        return bytes(self.data)


class Buffered(asyncio.BufferedProtocol):
    """Receives into a buffer of a given size."""

    def __init__(self, size):
        self.buffer = bytearray(size)
        self.data = bytearray()
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def get_buffer(self, hint):
        assert hint == -1
        return self.buffer

    def buffer_updated(self, count):
        self.data += self.buffer[:count]

    def connection_lost(self, error):
        self.ended.set_result(error)


def run(main, *args):
    with asyncio.Runner(loop_factory=aio.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(main(*args), 20))


def socket_pair(kind):
    if kind == "unix":
        return socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    return one, other


@asynccontextmanager
async def connected(kind="tcp", protocol=Recorder):
    """Yield a protocol with its transport, and the plain socket at the other end."""
    ours, peer = socket_pair(kind)
    peer.setblocking(False)
    loop = asyncio.get_running_loop()
    transport, made = await loop.create_connection(protocol, sock=ours)
    with peer:
        try:
            yield made, peer
        finally:
            transport.abort()
            await asyncio.sleep(0)


async def received_by(peer, count):
    loop = asyncio.get_running_loop()
    got = bytearray()
    while len(got) < count:
        data = await loop.sock_recv(peer, 1 << 16)
        if not data:
            break
        got += data
    return bytes(got)


async def give(value, after=0.001):
    """Return *value* after a moment."""
    await asyncio.sleep(after)
    return value


def in_thread(function):
    """Return what *function* returns in a native thread, while the greenlets here run on."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    while thread.is_alive():
        gevent.sleep(0.001)
    return results[0]
