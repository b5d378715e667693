"""Sockets, servers, child processes and files."""

from __future__ import annotations

import socket as stdlib
from collections.abc import Iterable
from subprocess import CompletedProcess
from typing import Any, assert_type

from gevent import select, socket, subprocess
from gevent.pool import Pool
from gevent.pywsgi import WSGIHandler, WSGIServer
from gevent.server import DatagramServer, StreamServer


def use(sock: stdlib.socket) -> None:
    sock.close()


def sockets() -> None:
    sock = socket.create_connection(("127.0.0.1", 80), timeout=1)
    handle(sock, ("127.0.0.1", 80))
    sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
    assert_type(sock.recv(1024), bytes)
    use(sock)
    sock.sendall("GET /")  # E: text is no bytes
    sock.recv("1024")  # E: a size is a number
    socket.create_connection("127.0.0.1:80")  # E: an address is a pair
    socket.socket(socket.AF_INET, socket.SOCK_STREAM).settimeout("1")  # E: seconds are a number
    socket.wait_read(sock.fileno(), timeout=1)
    socket.wait_read(sock.fileno(), timeout="1")  # E: seconds are a number
    assert_type(socket.gethostbyname("localhost"), str)
    socket.gethostbyname(1)  # E: a name is text
    print(socket.no_such_name)  # E: there is no such name
    readable, _, _ = select.select([sock], [], [], 0.5)
    print(readable)
    select.select([sock], [], [], "0.5")  # E: seconds are a number


def handle(sock: socket.socket, address: tuple[str, int]) -> None:
    sock.sendall(address[0].encode())


def servers() -> None:
    server = StreamServer(("127.0.0.1", 0), handle, spawn=Pool(10))
    server.start()
    server.serve_forever(stop_timeout=1)
    server.stop(timeout="1")  # E: seconds are a number
    server.run()  # E: it is called serve_forever()
    StreamServer(("127.0.0.1", 0), "handle")  # E: text cannot be called
    StreamServer(("127.0.0.1", 0), handle, backlog="10")  # E: a number of connections
    with DatagramServer("127.0.0.1:0", handle) as datagrams:
        assert_type(datagrams.sendto(b"x", ("127.0.0.1", 9)), int)


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode()]


class Handler(WSGIHandler):
    """One that logs in another way."""

    def log_request(self) -> None:
        print(self.format_request(), self.environ["REQUEST_METHOD"])
        self.environ.append("x")  # E: it is a dictionary


def web() -> None:
    WSGIServer(("127.0.0.1", 0), application, handler_class=Handler).serve_forever()
    WSGIServer(("127.0.0.1", 0), application=5)  # E: a number is no application


def processes() -> None:
    child = subprocess.Popen(["true"], stdout=subprocess.PIPE, text=True)
    assert_type(child.communicate(), tuple[str, str])
    assert_type(subprocess.Popen("true", shell=True).communicate()[0], bytes)
    assert_type(child.wait(), int)
    assert_type(subprocess.check_output(["true"]), bytes)
    assert_type(subprocess.run(["true"], text=True), CompletedProcess[str])
    subprocess.call(["true"], timeout="1")  # E: seconds are a number
    subprocess.Popen([1])  # E: an argument is text
    subprocess.Popen(["true"], bufsize="1")  # E: a size is a number
