"""Sockets, a WSGI server and WebSocket frames, with connections that are cut in the middle."""

import gc
import struct

import gevent
from gevent import pywsgi, socket
from gevent.select import select
from gevent.server import StreamServer
from gevent.threadpool import ThreadPool
from gevent.websocket import WebSocketHandler

ROUNDS = 2
CONNECTIONS = 20
LARGE = bytes(range(256)) * 600
MASK = b"mask"
CUT = struct.pack("ii", 1, 0)
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def masked(opcode: int, payload: bytes) -> bytes:
    """Return a final frame as a client sends it."""
    body = bytes(byte ^ MASK[place % 4] for place, byte in enumerate(payload))
    return bytes([0x80 | opcode, 0xFE]) + len(payload).to_bytes(2, "big") + MASK + body


def cut(connection: socket.socket) -> None:
    """Close the connection with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, CUT)
    connection.close()


def sockets() -> None:
    """Echo what is larger than the buffers, and kill who reads, writes or accepts."""

    def echo(connection: socket.socket, _address: object) -> None:
        while data := connection.recv(5000):
            connection.sendall(data)

    server = StreamServer(("127.0.0.1", 0), echo)
    server.start()

    def talk() -> None:
        with socket.create_connection(server.address) as connection:
            writer = gevent.spawn(connection.sendall, LARGE)
            received = bytearray()
            while len(received) < len(LARGE):
                select([connection], [], [])
                view = memoryview(bytearray(3000))
                received += view[: connection.recv_into(view)]
            writer.get()
            assert received == LARGE

    gevent.joinall([gevent.spawn(talk) for _ in range(5)], raise_error=True)
    one, other = socket.socketpair()
    reader = gevent.spawn(one.recv, 10)
    writer = gevent.spawn(other.sendmsg, [LARGE, LARGE])
    gevent.sleep(0)
    gevent.killall([reader, writer])
    one.settimeout(0.001)
    one.close()
    other.close()
    server.stop()


def requests() -> None:
    """Send requests whole, in pieces, with bodies in chunks, without sense, and cut short."""

    def application(environ, start_response):
        body = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [body, b"end"]

    server = pywsgi.WSGIServer(("127.0.0.1", 0), application, log=None, error_log=None)
    server.start()
    head = b"POST /a%20b?c HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    whole = head + b"Content-Length: 5\r\n\r\nhello"
    chunks = (
        head + b"Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nA: b\r\n\r\n"
    )

    def answered(data: bytes, piece: int) -> bytes:
        with socket.create_connection(server.address) as connection:
            for start in range(0, len(data), piece):
                connection.sendall(data[start : start + piece])
                gevent.sleep(0)
            return b"".join(iter(lambda: connection.recv(1000), b""))

    for data in (whole, chunks):
        for piece in (7, 1000):
            assert b"hello" in answered(data, piece)
    assert b" 400 " in answered(b"\0\xff nonsense\r\n\r\n", 1000)
    for length in range(0, len(chunks), 10):
        connection = socket.create_connection(server.address)
        connection.sendall(chunks[:length])
        gevent.sleep(0)
        cut(connection)
    gevent.sleep(0.01)
    server.stop()


def frames() -> None:
    """Echo WebSocket messages, and end connections in the middle of a frame."""

    def application(environ, _start_response):
        messages = environ["wsgi.websocket"]
        while (message := messages.receive()) is not None:
            messages.send(message)

    server = pywsgi.WSGIServer(
        ("127.0.0.1", 0), application, log=None, error_log=None, handler_class=WebSocketHandler
    )
    server.start()
    for number in range(CONNECTIONS):
        connection = socket.create_connection(server.address)
        connection.sendall(UPGRADE)
        file = connection.makefile("rb")
        while file.readline() != b"\r\n":
            pass
        payload = bytes(range(200)) * (1 + number % 3)
        connection.sendall(masked(2, payload))
        assert file.read(4) == b"\x82\x7e" + len(payload).to_bytes(2, "big")
        assert file.read(len(payload)) == payload
        connection.sendall(masked(1, payload)[: 5 + number])
        file.close()
        cut(connection)
    gevent.sleep(0.01)
    server.stop()


def threads() -> None:
    """Run jobs in native threads, some of which fail."""
    pool = ThreadPool(3)
    jobs = [pool.spawn(divmod, 10, number % 3) for number in range(30)]
    gevent.wait(jobs)
    assert sum(job.successful() for job in jobs) == 20
    pool.kill()


gevent.get_hub().NOT_ERROR += (ZeroDivisionError, ConnectionError)
for _ in range(ROUNDS):
    sockets()
    requests()
    frames()
    threads()
    gc.collect()
print("network: passed")
