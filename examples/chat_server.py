"""A chat room to join with telnet: what one says, all the others read.

Ctrl-C ends the server. The first line that a guest writes is the guest's name; /who lists
everybody, /quit or the end of input leaves. A guest has a greenlet that reads and one that writes,
with a queue between: who does not read what was said misses the rest of it, and holds nobody up.
"""

from contextlib import suppress

import gevent
from command_line import server_parser
from gevent.queue import Full, Queue
from gevent.server import StreamServer

LONGEST_LINE = 1000
UNREAD = 100


class Guest:
    """One connection: its name, and the lines it has yet to be sent."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: Queue = Queue(UNREAD)

    def tell(self, line: str) -> None:
        with suppress(Full):
            self.lines.put_nowait(line)

    def write(self, sock) -> None:
        """Send what the guest is told until it is told ``None``."""
        # Where the guest is gone, its reader finds out too.
        with suppress(OSError):
            for line in iter(self.lines.get, None):
                sock.sendall(f"{line}\r\n".encode())


class Room(StreamServer):
    """Everybody who is connected."""

    def __init__(self, listener: tuple[str, int]) -> None:
        super().__init__(listener)
        self.guests: dict[str, Guest] = {}

    def say(self, line: str, but: str = "") -> None:
        for name, guest in self.guests.items():
            if name != but:
                guest.tell(line)

    def handle(self, sock, _address) -> None:
        # A guest may go without a word.
        with suppress(OSError), sock.makefile("r", encoding="utf-8", errors="replace") as lines:
            sock.sendall(b"Your name? ")
            name = lines.readline(LONGEST_LINE).strip()
            if name in self.guests:
                sock.sendall(b"That name is taken.\r\n")
            elif name:
                self.stay(Guest(name), lines, sock)

    def stay(self, guest: Guest, lines, sock) -> None:
        self.guests[guest.name] = guest
        writing = gevent.spawn(guest.write, sock)
        try:
            self.say(f"* {guest.name} is here")
            while line := lines.readline(LONGEST_LINE):
                line = line.strip()
                if line == "/quit":
                    break
                if line == "/who":
                    guest.tell("* " + ", ".join(sorted(self.guests)))
                elif line:
                    self.say(f"{guest.name}: {line}", but=guest.name)
        finally:
            del self.guests[guest.name]
            self.say(f"* {guest.name} has left")
            writing.kill()


def main() -> None:
    options = server_parser(__doc__, "16020").parse_args()
    room = Room(options.listen)
    room.start()
    print(f"chat on {room.server_host}:{room.server_port}", flush=True)
    try:
        room.serve_forever()
    except KeyboardInterrupt:
        room.stop()


if __name__ == "__main__":
    main()
