"""A slow document server: standard library alone, a process of its own.

It answers `GET /documents/N` for N from 0 after a fixed delay, however many clients wait at the
same time, and prints its address on its first line. It ends when its standard input does, so that
it never outlives the program that started it.
"""

import argparse
import asyncio
import contextlib
import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator

REQUEST = re.compile(rb"GET /documents/([0-9]{1,9}) HTTP/1\.[01]\r\n")
BACKLOG = 1024


def document(number: int) -> bytes:
    """The text of a document: hexadecimal digits that only its number decides."""
    size = 2048 + number % 97 * 64
    return hashlib.shake_256(b"document %d" % number).hexdigest(size).encode()


def response(request: bytes) -> bytes:
    if found := REQUEST.match(request):
        status, body = b"200 OK", document(int(found[1]))
    else:
        status, body = b"404 Not Found", b"no such document\n"
    head = b"HTTP/1.1 %b\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n" % (
        status,
        len(body),
    )
    return head + b"Connection: close\r\n\r\n" + body


async def serve(host: str, port: int, delay: float) -> None:
    """Serve until standard input ends; `delay` is in seconds."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A client that goes away early is its own affair.
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            request = await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(delay)
            writer.write(response(request))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, host, port, backlog=BACKLOG)
    print("http://{}:{}".format(*server.sockets[0].getsockname()), flush=True)
    await asyncio.to_thread(sys.stdin.buffer.read)
    server.close()


@contextlib.contextmanager
def running(delay: float = 0.05) -> Iterator[str]:
    """A `with` block during which the server runs, a process of its own; gives its address."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--delay", str(delay)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    # Leaving the block closes the server's standard input, which ends it.
    with process:
        yield process.stdout.readline().strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--delay", type=float, default=0.05, help="seconds before each answer")
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(options.host, options.port, options.delay))


if __name__ == "__main__":
    main()
