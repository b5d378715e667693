"""Send every client back what it sends, encrypted.

Ctrl-C ends the server. CERTIFICATE and KEY are PEM files, and one file
may hold both. To talk to it: openssl s_client -connect HOST:PORT
"""

import sys

from command_line import server_parser
from gevent import ssl
from gevent.server import StreamServer

PATIENCE = 30


class Echo(StreamServer):
    """Negotiates TLS in the client's own greenlet, so that one that does not get to it, or sends
    something else altogether, costs nobody else anything."""

    def wrap_socket_and_handle(self, client_socket, address):
        client_socket.settimeout(PATIENCE)
        try:
            super().wrap_socket_and_handle(client_socket, address)
        except OSError as failure:
            # TLS errors are such too. They are the client's affair, not the server's.
            print(f"{address[0]}:{address[1]}: {failure}", file=sys.stderr, flush=True)

    def handle(self, tls, address):
        print(f"{address[0]}:{address[1]} {tls.version()} {tls.cipher()[0]}", flush=True)
        while data := tls.recv(16384):
            tls.sendall(data)
        # Without a farewell the client cannot know that nothing was cut off.
        tls.unwrap()


def main() -> None:
    arguments = server_parser(__doc__)
    arguments.add_argument("certificate", metavar="CERTIFICATE")
    arguments.add_argument("key", nargs="?", metavar="KEY")
    options = arguments.parse_args()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(options.certificate, options.key)
    server = Echo(options.listen, ssl_context=context)
    server.start()
    print(f"TLS echo server on {server.server_host}:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.stop()


if __name__ == "__main__":
    main()
