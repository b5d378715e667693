"""Answer every UDP message with its length and its words in reverse order.

usage: udp_server.py [HOST:]PORT      port 0 takes any free one; Ctrl-C ends the server
"""

import sys

from gevent.server import DatagramServer


class Reverser(DatagramServer):
    """A greenlet of its own handles each message, so that a slow answer holds up no other."""

    def handle(self, data: bytes, address: tuple[str, int]) -> None:
        words = b" ".join(reversed(data.split()))
        self.sendto(b"%d: %b" % (len(data), words), address)


def main() -> None:
    host, _, port = (sys.argv[1] if len(sys.argv) > 1 else "16010").rpartition(":")
    server = Reverser((host or "127.0.0.1", int(port)))
    server.start()
    print(f"messages to {server.server_host}:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.stop()


if __name__ == "__main__":
    main()
