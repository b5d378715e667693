"""Look up very many names at the same time, with a pool that bounds how many.

usage: mass_dns.py [--server ADDRESS[:PORT]] [--at-once N] [--timeout SECONDS] [NAME ...]

Names come from the command line, or one in a line from standard input. Each answer is printed as
it arrives; a name that is an address is looked up backwards.
"""

import argparse
import sys
import time
from collections.abc import Iterator

import gevent
from gevent import socket
from gevent.pool import Pool
from gevent.resolver import is_address
from gevent.resolver.ares import Resolver


def where(text: str) -> dict[str, object]:
    """Return what ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT means to a resolver."""
    address, port = text, 53
    if text.startswith("[") or text.count(":") == 1:
        address, _, figures = text.rpartition(":")
        if text.endswith("]"):
            address, figures = text, "53"
        address, port = address.strip("[]"), int(figures)
    if not is_address(address):
        raise ValueError(address)
    return {"servers": [address], "udp_port": port, "tcp_port": port}


def names(given: list[str]) -> Iterator[str]:
    """Yield the names to look up; no more of standard input is read than the pool has room for."""
    yield from given
    if not given:
        yield from filter(None, map(str.strip, sys.stdin))


def look_up(name: str) -> tuple[str, str, bool]:
    """Return a name, what was found or what went wrong, and whether it was found."""
    try:
        if is_address(name):
            host, others, _ = socket.gethostbyaddr(name)
            return name, " ".join([host, *others]), True
        found = socket.getaddrinfo(name, None, 0, socket.SOCK_STREAM)
        return name, " ".join(address[0] for *_, address in found), True
    except (OSError, UnicodeError) as error:
        return name, f"({error})", False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--server", type=where, default={}, help="by default as in resolv.conf")
    parser.add_argument("--at-once", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--timeout", type=float, default=5, help="seconds to wait for a server")
    chosen = parser.parse_args()

    gevent.get_hub().resolver = Resolver(timeout=chosen.timeout, **chosen.server)
    start = time.perf_counter()
    found = failed = 0
    # The pool starts the next look-up when one ends, and reads names as slowly as that.
    for name, answer, well in Pool(chosen.at_once).imap_unordered(look_up, names(chosen.names)):
        print(f"{name}: {answer}")
        found += well
        failed += not well
    seconds = time.perf_counter() - start
    rate = (found + failed) / seconds
    print(
        f"{found} found, {failed} not, in {seconds:.2f} s: {rate:,.0f} names a second",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
