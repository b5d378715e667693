"""Greet over HTTP, or HTTPS where a certificate is given.

usage: wsgi_hello.py [HOST:]PORT [CERTIFICATE [KEY]]

Port 0 takes any free one; Ctrl-C ends the server. CERTIFICATE and KEY are PEM files, and one file
may hold both.
"""

import sys
from collections.abc import Callable

from gevent import ssl
from gevent.pywsgi import WSGIServer


def hello(environ: dict, start_response: Callable) -> list[bytes]:
    if environ["PATH_INFO"] != "/":
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"Nothing here\n"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Hello, world\n"]


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    host, _, port = sys.argv[1].rpartition(":")
    scheme, tls = "http", {}
    if len(sys.argv) > 2:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*sys.argv[2:])
        context.set_alpn_protocols(["http/1.1"])
        scheme, tls = "https", {"ssl_context": context}
    server = WSGIServer((host or "127.0.0.1", int(port)), hello, **tls)
    server.start()
    print(f"{scheme}://{server.server_host}:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.stop()


if __name__ == "__main__":
    main()
