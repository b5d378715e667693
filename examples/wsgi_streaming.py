"""Send a page piece by piece, each at the moment it is made.

Ctrl-C ends the server. Look on with: curl -N http://HOST:PORT/5
"""

import time
from collections.abc import Callable, Iterator

import gevent
from command_line import server_parser
from gevent.pywsgi import WSGIServer

LONGEST = 60


def countdown(seconds: int) -> Iterator[bytes]:
    """What is yielded goes out at once; a greenlet that sleeps holds up nobody else."""
    began = time.monotonic()
    try:
        for left in range(seconds, 0, -1):
            yield f"{left}\n".encode()
            gevent.sleep(1)
        yield b"0\n"
    finally:
        # Also when the client went away: the server closes what it was given, come what may.
        print(f"ended after {time.monotonic() - began:.0f} s", flush=True)


def application(environ: dict, start_response: Callable) -> Iterator[bytes] | list[bytes]:
    wanted = environ["PATH_INFO"].strip("/")
    if not wanted.isdecimal() or int(wanted) > LONGEST:
        start_response("400 Bad Request", [("Content-Type", "text/plain")])
        return [f"Ask for /SECONDS, up to {LONGEST}\n".encode()]
    # Without a Content-Length the pieces are sent as chunks.
    start_response("200 OK", [("Content-Type", "text/plain")])
    return countdown(int(wanted))


def main() -> None:
    options = server_parser(__doc__).parse_args()
    server = WSGIServer(options.listen, application, log=None)
    server.start()
    print(f"http://{server.server_host}:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.stop()


if __name__ == "__main__":
    main()
