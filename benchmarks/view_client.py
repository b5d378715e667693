"""The client of a view that does what an open page does."""

import json
import socket
import sys

#: The seconds after which an open page asks again.
INTERVAL = 2
#: The page asks for the first two of these each ten seconds, for the others in between.
PAGE = ("/stats.json?waits=1", "/greenlets.json?stacks=0&most=500", *["/stats.json"] * 4)


def ask(path: str, target: str) -> float:
    """Ask a view for one thing; return the seconds that it cost the server by its own word."""
    answer = bytearray()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(path)
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        while data := connection.recv(65536):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        status = head.partition(b"\r\n")[0].decode()
        sys.exit(f"the view answers {status!r} to {target}")
    return json.loads(body)["cost"]


class Page:
    """An open page of the view at a path, which asks when it is told to."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.asked = 0

    def ask(self) -> None:
        """Ask for what the page asks for at one time."""
        for target in PAGE[:2] if self.asked % 5 == 0 else PAGE[2:3]:
            ask(self.path, target)
        self.asked += 1
