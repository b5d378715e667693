"""Give work to a child process over a Unix socket pair, open files included.

The parent opens the files and sends each descriptor along with the file's name; the child, which
might run with fewer rights and could not open them itself, counts their lines and answers. The
pair keeps messages apart, and each side waits for the other without blocking the rest of its
process.
"""

import os
import sys

import gevent
from command_line import parser
from gevent import socket
from gevent.os import fork, waitpid

NAME = 4096  # bytes, the longest path there is


def serve(channel: socket.socket) -> None:
    """Count the lines of every file that comes, until no more do."""
    while True:
        name, descriptors, _, _ = socket.recv_fds(channel, NAME, 1)
        if not name:
            return
        with os.fdopen(descriptors[0], "rb") as file:
            lines = sum(1 for _ in file)
        channel.sendall(b"%6d %b\n" % (lines, name))


def ask(channel: socket.socket, paths: list[str]) -> None:
    """Send the files one by one, and print the answers."""
    for path in paths:
        try:
            with open(path, "rb") as file:
                socket.send_fds(channel, [os.fsencode(path)], [file.fileno()])
        except OSError as failure:
            print(f"{path}: {failure.strerror}", file=sys.stderr)
            continue
        print(channel.recv(2 * NAME).decode(errors="replace"), end="", flush=True)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("files", nargs="+", metavar="FILE")
    options = arguments.parse_args()
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    child = fork()
    if not child:
        ours.close()
        gevent.spawn(serve, theirs).join()
        os._exit(0)
    theirs.close()
    with ours:
        gevent.spawn(ask, ours, options.files).join()
    _, status = waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
