"""Send a file to everybody who connects, straight from the page cache to the network.

Ctrl-C ends the server. The bytes never enter this process: the system
call of that name passes them on, as fast as each client reads. A client that stops reading for half
a minute is let go.
"""

import sys

from command_line import server_parser
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
    arguments = server_parser(__doc__)
    arguments.add_argument("file", metavar="FILE")
    options = arguments.parse_args()
    server = FileServer(options.listen, options.file)
    server.start()
    print(f"file server on {server.server_host}:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.stop()


if __name__ == "__main__":
    main()
