"""Answer every UDP message with its length and its words in reverse order.

Ctrl-C ends the server.
"""

from command_line import server_parser
from gevent.server import DatagramServer


class Reverser(DatagramServer):
    """A greenlet of its own handles each message, so that a slow answer holds up no other."""

    def handle(self, data: bytes, address: tuple[str, int]) -> None:
        words = b" ".join(reversed(data.split()))
        self.sendto(b"%d: %b" % (len(data), words), address)


def main() -> None:
    options = server_parser(__doc__, "16010").parse_args()
    server = Reverser(options.listen)
    server.start()
    print(f"messages to {server.server_host}:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.stop()


if __name__ == "__main__":
    main()
