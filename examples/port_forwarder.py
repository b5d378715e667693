"""Forward TCP connections to another address, as long as either side has something to say.

Ctrl-C ends the forwarder. Each direction has a greenlet of its own, so a
slow reader holds back only whoever writes to it, and one side may end while the other goes on.
"""

import sys

import gevent
from command_line import address, server_parser
from gevent import socket
from gevent.server import StreamServer

BLOCK = 65536


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Pass on what *source* sends until it ends, then let *sink* know of the end."""
    try:
        while data := source.recv(BLOCK):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        # One side is gone: the other direction has nobody to talk to either.
        for sock in (source, sink):
            sock.close()


class Forwarder(StreamServer):
    """Connects every client with *target*."""

    def __init__(self, listener: tuple[str, int], target: tuple[str, int]) -> None:
        super().__init__(listener)
        self.target = target

    def handle(self, client: socket.socket, _address: tuple) -> None:
        try:
            server = socket.create_connection(self.target, timeout=10)
        except OSError as failure:
            print(f"{self.target[0]}:{self.target[1]}: {failure}", file=sys.stderr, flush=True)
            return
        with server:
            # The limit was for connecting: a quiet connection is not a broken one.
            server.settimeout(None)
            back = gevent.spawn(pump, server, client)
            pump(client, server)
            back.join()


def main() -> None:
    arguments = server_parser(__doc__)
    arguments.add_argument("target", type=address, metavar="TARGET_HOST:TARGET_PORT")
    options = arguments.parse_args()
    forwarder = Forwarder(options.listen, options.target)
    forwarder.start()
    print(f"forwarding {forwarder.server_host}:{forwarder.server_port}", flush=True)
    try:
        forwarder.serve_forever()
    except KeyboardInterrupt:
        forwarder.stop()


if __name__ == "__main__":
    main()
