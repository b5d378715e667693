"""Download documents and check them: an ordinary blocking program that knows nothing of gevent.

It fetches one document after the other. `examples/demo.py` runs the same functions concurrently.
"""

import hashlib
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO

from command_line import parser


class Progress:
    """A progress bar: redrawn in place on a terminal, a line for every tenth elsewhere."""

    WIDTH = 40

    def __init__(self, total: int, stream: TextIO):
        self.total = total
        self.stream = stream
        self.in_place = stream.isatty()
        self.done = 0

    def advance(self) -> None:
        """Count one more; draw if that shows."""
        steps = self.WIDTH if self.in_place else 10
        before = self.done * steps // self.total
        self.done += 1
        if self.done * steps // self.total != before:
            self.draw()

    def draw(self) -> None:
        filled = self.done * self.WIDTH // self.total
        bar = "#" * filled + "." * (self.WIDTH - filled)
        start, end = ("\r", "") if self.in_place else ("", "\n")
        if self.done == self.total:
            end = "\n"
        share = self.done * 100 // self.total
        print(
            f"{start}[{bar}] {share:3d} %  {self.done}/{self.total}",
            end=end,
            file=self.stream,
            flush=True,
        )


def fetch(url: str) -> bytes:
    """Return the body of a document; blocks until it is there."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read()


def is_right(number: int, body: bytes) -> bool:
    """Whether a body is the document's, found out without the server's code."""
    length = 4096 + number % 97 * 128
    wanted = hashlib.shake_256(f"document {number}".encode()).digest(length // 2)
    return hashlib.sha256(body).digest() == hashlib.sha256(wanted.hex().encode()).digest()


def download(
    address: str,
    numbers: Iterable[int],
    each: Callable[[Callable[[int], bool], Iterable[int]], Iterable[bool]] = map,
) -> Iterator[bool]:
    """Fetch and check documents; yields for each, as it is done, whether its body was right.

    `each` applies a function to many arguments, as the built-in `map` does.
    """
    return iter(each(lambda n: is_right(n, fetch(f"{address}/documents/{n}")), numbers))


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("address", help="URL of the server, as document_server.py prints it")
    arguments.add_argument("count", type=int, help="how many documents to fetch")
    options = arguments.parse_args()
    address, count = options.address, options.count
    progress = Progress(count, sys.stderr)
    began = time.perf_counter()
    wrong = 0
    for right in download(address, range(count)):
        wrong += not right
        progress.advance()
    print(f"{count} documents in {time.perf_counter() - began:.1f} s, {wrong} wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
