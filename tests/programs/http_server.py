"""An HTTP server of the standard library, without gevent, for HTTP clients to talk to.

usage: http_server.py [CERTIFICATE]    prints its URL; with a certificate it speaks TLS

/echo        sends the body back
/together/N  answers when N requests wait there
/bytes/N     sends N bytes
/chunks/N    sends N chunks
/redirect/N  redirects N times
/never       never answers
"""

import http.server
import ssl
import sys
import threading
from typing import ClassVar


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    barriers: ClassVar[dict[int, threading.Barrier]] = {}
    lock = threading.Lock()

    def do_GET(self):
        what, _, number = self.path[1:].partition("/")
        getattr(self, f"answer_{what}")(int(number or 0))

    do_POST = do_GET

    def answer(self, body, status=200, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def answer_echo(self, _):
        self.answer(self.rfile.read(int(self.headers["Content-Length"])))

    def answer_together(self, count):
        with self.lock:
            barrier = self.barriers.setdefault(count, threading.Barrier(count))
        barrier.wait(30)
        self.answer(b"all there")

    def answer_bytes(self, count):
        self.answer(b"x" * count)

    def answer_chunks(self, count):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(count):
            chunk = b"chunk %d\n" % number
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self.wfile.write(b"0\r\n\r\n")

    def answer_redirect(self, count):
        if count:
            self.answer(b"", 302, Location=f"/redirect/{count - 1}")
        else:
            self.answer(b"arrived")

    def answer_never(self, _):
        self.rfile.read(1)

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 300

    def __init__(self, certificate):
        super().__init__(("127.0.0.1", 0), Handler)
        self.tls = None
        if certificate:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(certificate)

    def finish_request(self, request, client_address):
        # In the connection's thread, so that a slow handshake delays nobody else.
        if self.tls:
            request = self.tls.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def handle_error(self, request, client_address):
        pass  # clients that leave early are part of the tests


if __name__ == "__main__":
    certificate = sys.argv[1] if len(sys.argv) > 1 else None
    server = Server(certificate)
    print(f"http{'s' if certificate else ''}://localhost:{server.server_port}", flush=True)
    server.serve_forever()
