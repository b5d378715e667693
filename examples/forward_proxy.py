"""A forward proxy: fetches pages for its clients, and connects them through for HTTPS.

Ctrl-C ends the proxy. Use it with: curl --proxy http://HOST:PORT URL
"""

import http.client
import sys
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import gevent
from command_line import server_parser
from gevent import monkey, socket
from gevent.pywsgi import WSGIHandler, WSGIServer

monkey.patch_all()

BLOCK = 65536
PATIENCE = 30
#: Where the application finds the URL as it was asked for; PATH_INFO has it decoded.
URL = "forward_proxy.url"
#: What concerns one connection only, and is not passed on (RFC 9110 section 7.6.1).
HOP_BY_HOP = {
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization"),
    *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
}


def fetch(environ: dict, start_response: Callable) -> Iterator[bytes]:
    """Answer with what the server named in the request's URL answers."""
    url = urlsplit(environ[URL])
    target = url._replace(scheme="", netloc="").geturl() or "/"
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").title(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    headers = {name: value for name, value in headers.items() if name.lower() not in HOP_BY_HOP}
    if environ.get("CONTENT_TYPE"):
        headers["Content-Type"] = environ["CONTENT_TYPE"]
    body = environ["wsgi.input"].read() or None
    server = http.client.HTTPConnection(url.hostname, url.port or 80, timeout=PATIENCE)
    try:
        server.request(environ["REQUEST_METHOD"], target, body, headers)
        answer = server.getresponse()
        kept = [pair for pair in answer.getheaders() if pair[0].lower() not in HOP_BY_HOP]
        start_response(f"{answer.status} {answer.reason}", kept)
        while block := answer.read(BLOCK):
            yield block
    finally:
        server.close()


def application(environ: dict, start_response: Callable) -> Iterator[bytes] | list[bytes]:
    url = environ[URL]
    if urlsplit(url).scheme != "http" or not urlsplit(url).hostname:
        start_response("400 Bad Request", [("Content-Type", "text/plain")])
        return [b"This is a proxy: ask it for a whole URL\n"]
    pieces = fetch(environ, start_response)
    try:
        # The first piece comes with status and headers, or not at all.
        first = next(pieces, b"")
    except (OSError, http.client.HTTPException) as failure:
        start_response("502 Bad Gateway", [("Content-Type", "text/plain")])
        return [f"{url}: {failure}\n".encode()]
    return joined(first, pieces)


def joined(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Pass on what *source* sends until it ends."""
    try:
        while data := source.recv(BLOCK):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for sock in (source, sink):
            sock.close()


class ProxyHandler(WSGIHandler):
    """Handles CONNECT itself: what follows it is no HTTP that a WSGI application could see."""

    def get_environ(self) -> dict:
        return super().get_environ() | {URL: self.path}

    def handle_one_response(self) -> None:
        if self.command == "CONNECT":
            self.connect_through()
        else:
            super().handle_one_response()

    def connect_through(self) -> None:
        self.close_connection = True
        host, _, port = self.path.rpartition(":")
        try:
            server = socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE)
        except (OSError, ValueError) as failure:
            print(f"{self.path}: {failure}", file=sys.stderr, flush=True)
            self.socket.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        with server:
            server.settimeout(None)
            self.socket.settimeout(None)
            self.socket.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = gevent.spawn(pump, server, self.socket)
            pump(self.socket, server)
            back.join()


def main() -> None:
    options = server_parser(__doc__).parse_args()
    server = WSGIServer(options.listen, application, log=None, handler_class=ProxyHandler)
    server.start()
    print(f"http://{server.server_host}:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.stop()


if __name__ == "__main__":
    main()
