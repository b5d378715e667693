"""Send every client back what it sends, with a greenlet for each.

Ctrl-C ends the server.
"""

from command_line import server_parser
from gevent.server import StreamServer


def echo(socket, address):
    """Serve one client until it stops sending."""
    host, port = address[:2]
    print(f"{host}:{port} connected", flush=True)
    while data := socket.recv(65536):
        socket.sendall(data)
    print(f"{host}:{port} left", flush=True)


def main() -> None:
    options = server_parser(__doc__, "16000").parse_args()
    server = StreamServer(options.listen, echo)
    server.start()
    print(f"echo server on {server.server_host}:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.stop()


if __name__ == "__main__":
    main()
