"""Send a UDP message and print the answer, asking again where none comes.

Messages get lost on their way: one without an answer within a second is sent again, three times in
all. `udp_server.py` is somebody to talk to.
"""

import sys
from contextlib import suppress

from command_line import address, parser
from gevent import socket

TRIES = 3
PATIENCE = 1.0


def ask(address: tuple[str, int], message: bytes) -> bytes:
    """Return the answer to *message*; raise ``TimeoutError`` when there is none."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        # Connected, it takes messages from nobody else, and hears of a port where nobody listens.
        sock.connect(address)
        sock.settimeout(PATIENCE)
        for _ in range(TRIES - 1):
            sock.send(message)
            with suppress(TimeoutError):
                return sock.recv(65536)
        sock.send(message)
        return sock.recv(65536)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("server", type=address, metavar="HOST:PORT")
    arguments.add_argument("words", nargs="+", metavar="WORD")
    options = arguments.parse_args()
    try:
        answer = ask(options.server, " ".join(options.words).encode())
    except OSError as failure:
        sys.exit("no answer from {}:{}: {}".format(*options.server, failure))
    print(answer.decode(errors="replace"))


if __name__ == "__main__":
    main()
