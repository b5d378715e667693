"""Send a file to everybody who connects, straight from the page cache to the network.

usage: sendfile_server.py [HOST:]PORT FILE

Port 0 takes any free one; Ctrl-C ends the server. The bytes never enter this process: the system
call of that name passes them on, as fast as each client reads. A client that stops reading for half
a minute is let go.
"""

import sys

from gevent.server import StreamServer

PATIENCE = 30


class FileServer(StreamServer):
    """Sends the file at *path*, as it is at the time that a client connects."""

    def __init__(self, listener: tuple[str, int], path: str) -> None:
        super().__init__(listener)
        self.path = path

    def handle(self, client, address):
        client.settimeout(PATIENCE)
        try:
            with open(self.path, "rb") as file:
                sent = client.sendfile(file)
        except OSError as failure:
            print(f"{address[0]}:{address[1]}: {failure}", file=sys.stderr, flush=True)
        else:
            print(f"{address[0]}:{address[1]}: {sent} bytes", flush=True)


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    host, _, port = sys.argv[1].rpartition(":")
    server = FileServer((host or "127.0.0.1", int(port)), sys.argv[2])
    server.start()
    print(f"file server on {server.server_host}:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.stop()


if __name__ == "__main__":
    main()
