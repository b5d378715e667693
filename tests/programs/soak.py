"""Open and drop connections in every way there is, and tell what is left over.

    python soak.py CONNECTIONS

prints a line of JSON. Servers (one on TCP, one on TCP with a pool, one on a Unix socket) and
clients are greenlets of one process. Each connection lives by the dice: its two sides talk, dawdle,
hang up, reset, run into timeouts or are killed.
"""

import contextlib
import gc
import json
import os
import random
import struct
import sys
import tempfile
import time

import greenlet

import gevent
from gevent import socket
from gevent.hub import get_hub
from gevent.pool import Pool
from gevent.server import StreamServer

#: Clients at a time.
CROWD = 200
#: Each has 28,000 ports towards a server before one that lingers is needed again.
ADDRESSES = [f"127.0.0.{number}" for number in range(1, 21)]
RESET = struct.pack("ii", 1, 0)

dice = random.Random(1)
handlers: set[gevent.Greenlet] = set()
counts: dict[str, int] = {}


class Refused(Exception):
    """The error that a handler raises."""


def count(what):
    counts[what] = counts.get(what, 0) + 1


def handle(sock, _address):
    handlers.add(gevent.getcurrent())
    try:
        manner = dice.random()
        if manner < 0.05:
            return
        if manner < 0.1:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            sock.recv(10)
            return
        if manner < 0.15:
            gevent.sleep(dice.random() * 0.004)
            raise Refused
        sock.settimeout(dice.random() * 0.02 if manner < 0.3 else 5)
        while data := sock.recv(4096):
            if manner > 0.8:
                gevent.sleep(dice.random() * 0.002)
            sock.sendall(data)
        count("echoed")
    except TimeoutError:
        count("handler timed out")
    except OSError:
        count("handler met an error")
    except gevent.GreenletExit:
        count("handler killed")
        raise
    finally:
        handlers.discard(gevent.getcurrent())


def connect(servers):
    server = dice.choice(servers)
    if isinstance(server.address, str):
        sock = socket.socket(socket.AF_UNIX)
        address = server.address
    else:
        sock = socket.socket()
        address = (dice.choice(ADDRESSES), server.server_port)
    sock.settimeout(5)
    try:
        sock.connect(address)
    except BlockingIOError:
        # The backlog of a Unix socket is full, which it does not wait for.
        sock.close()
        gevent.sleep(0.001)
        return connect(servers)
    except BaseException:
        sock.close()
        raise
    if not isinstance(address, str):
        # No port is kept back.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    return sock


def talk(sock, manner):
    message = b"x" * dice.choice((1, 64, 3000))
    for _ in range(dice.randrange(1, 4)):
        sock.sendall(message)
        left = len(message)
        while left:
            data = sock.recv(left)
            if not data:
                return
            left -= len(data)
        if manner > 0.7:
            gevent.sleep(dice.random() * 0.002)
    if manner > 0.5:
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(4096):
            pass


def visit(servers):
    with connect(servers) as sock:
        manner = dice.random()
        if manner < 0.05:
            return
        if manner < 0.1:
            sock.sendall(b"never read")
            return
        if manner < 0.2:
            sock.settimeout(dice.random() * 0.003)
        try:
            if manner < 0.3:
                with gevent.Timeout(dice.random() * 0.003, False):
                    talk(sock, manner)
            else:
                talk(sock, manner)
        except TimeoutError:
            count("client timed out")


def clients(servers, share):
    for _ in range(share):
        try:
            visit(servers)
        except OSError:
            count("client met an error")


def killer(stop):
    while not stop:
        gevent.sleep(0.005)
        if handlers:
            dice.choice(list(handlers)).kill(block=False)


def round_of(connections, directory):
    """Serve and make so many connections; end with everything closed."""
    path = os.path.join(directory, "socket")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(256)
    servers = [
        StreamServer(("0.0.0.0", 0), handle),
        StreamServer(("0.0.0.0", 0), handle, spawn=Pool(50)),
        StreamServer(listener, handle),
    ]
    for server in servers:
        server.start()
    stop = []
    hunter = gevent.spawn(killer, stop)
    crowd = [gevent.spawn(clients, servers, connections // CROWD) for _ in range(CROWD)]
    gevent.joinall(crowd, raise_error=True)
    stop.append(True)
    hunter.get()
    for server in servers:
        server.stop(timeout=5)
    gevent.joinall(list(handlers), timeout=10)
    os.unlink(path)


def state():
    """Return what there is of everything that could be left over."""
    gevent.sleep(0.01)
    for _ in range(3):
        gc.collect()
    objects = gc.get_objects()
    with open("/proc/self/statm") as statm:
        resident = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    loop = get_hub().loop
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "greenlets": sum(isinstance(one, greenlet.greenlet) for one in objects),
        "sockets": sum(isinstance(one, socket.socket) for one in objects),
        "watchers": loop.activecnt + loop.pendingcnt,
        "blocks": sys.getallocatedblocks(),
        "resident": resident,
    }


def main():
    connections = int(sys.argv[1])
    hub = get_hub()
    hub.exception_stream = None
    hub.NOT_ERROR = (*hub.NOT_ERROR, Refused)
    # So many come and go before the first look that pools and caches are as large as they get.
    warm_up = max(connections // 5, 5 * CROWD)
    with tempfile.TemporaryDirectory() as directory, contextlib.suppress(KeyboardInterrupt):
        round_of(warm_up, directory)
        before = state()
        counts.clear()
        start = time.monotonic()
        round_of(connections, directory)
        seconds = time.monotonic() - start
        after = state()
    left = {name: after[name] - before[name] for name in before}
    print(
        json.dumps(
            {
                "connections": connections,
                "seconds": round(seconds, 1),
                "left": left,
                "megabytes": round(after["resident"] / 1e6, 1),
                "counts": counts,
            }
        )
    )


if __name__ == "__main__":
    main()
