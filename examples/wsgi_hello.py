"""Greet over HTTP, or HTTPS where a certificate is given.

Ctrl-C ends the server. CERTIFICATE and KEY are PEM files, and one file
may hold both.
"""

from collections.abc import Callable

from command_line import server_parser
from gevent import ssl
from gevent.pywsgi import WSGIServer


def hello(environ: dict, start_response: Callable) -> list[bytes]:
    if environ["PATH_INFO"] != "/":
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"Nothing here\n"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Hello, world\n"]


def main() -> None:
    arguments = server_parser(__doc__)
    arguments.add_argument("certificate", nargs="?", metavar="CERTIFICATE")
    arguments.add_argument("key", nargs="?", metavar="KEY")
    options = arguments.parse_args()
    scheme, tls = "http", {}
    if options.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certificate, options.key)
        context.set_alpn_protocols(["http/1.1"])
        scheme, tls = "https", {"ssl_context": context}
    server = WSGIServer(options.listen, hello, **tls)
    server.start()
    print(f"{scheme}://{server.server_host}:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.stop()


if __name__ == "__main__":
    main()
