"""Count the instructions of a watched server's requests, and of an open page's questions.

valgrind's callgrind counts them for each thread. The main thread's are those of serving: they show
what stays switched on in it while somebody watches. Python's hashes are the same in each run, as
their collisions would differ by more than what is searched for. Its garbage collector is off, so
the passes that the page's answers cause are left out; the processor time has them.
"""

import argparse
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import environment
import web
from view_client import PAGE, ask

HERE = Path(__file__).parent

#: The server under callgrind: it ends when it is asked to.
COUNTED = """
import gc, os, sys
sys.path.insert(0, {here!r})
import gevent
from gevent import inspect
from gevent.pywsgi import WSGIServer
from web_application import application

def until_told(environ, start_response):
    if environ["PATH_INFO"] == "/end":
        # The interpreter's end is left out, as its instructions are no part of serving.
        os._exit(0)
    return application(environ, start_response)

# The collector would begin at other moments in each run, so its passes are left out.
gc.disable()
# Under valgrind answers to the page take long.
WSGIServer.idle_timeout = 3600.0
server = WSGIServer(("127.0.0.1", {port}), until_told, backlog=4096, log=None)
server.start()
parked = [gevent.spawn(gevent.sleep, 100_000) for _ in range({greenlets})]
view = inspect.open_view({address!r}) if {is_open} else None
gevent.sleep(100_000)
"""

#: The connections by which requests are counted.
CONNECTIONS = 16
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Instructions(NamedTuple):
    """The instructions that a server executed."""

    main: int
    all: int


def instructions(
    chosen: argparse.Namespace, is_open: bool, rounds: int, pages: int
) -> Instructions:
    """Return how many instructions a server executes from its start through *rounds* of requests.

    It answers what a page asks for in ten seconds *pages* times: once before the requests, and the
    other times in the midst of them.
    """
    with tempfile.TemporaryDirectory() as folder:
        path, port = f"{folder}/view", web.free_port()
        source = COUNTED.format(
            here=str(HERE),
            port=port,
            greenlets=chosen.greenlets,
            is_open=is_open,
            address=f"unix:{path}",
        )
        tool = ["valgrind", "--tool=callgrind", "--separate-threads=yes"]
        server = subprocess.Popen(
            [*tool, f"--callgrind-out-file={folder}/out", chosen.our_python, "-c", source],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**environment.clean_environment(), "PYTHONHASHSEED": "0"},
        )
        try:
            clients = [connected(port, server) for _ in range(CONNECTIONS)]
            # The view opens after the server listens.
            receive(clients)
            asked = range(0, rounds, -(-rounds // pages)) if pages else ()
            for number in range(rounds):
                if number in asked:
                    for target in PAGE:
                        ask(path, target)
                receive(clients)
            clients[0].sendall(REQUEST.replace(b"/ ", b"/end ", 1))
            server.wait(timeout=120)
            for client in clients:
                client.close()
        finally:
            server.kill()
            server.wait()
        return sums(Path(folder))


def sums(folder: Path) -> Instructions:
    """Return the instructions that callgrind's files, one for each thread, have."""
    totals = {}
    for file in folder.glob("out-*"):
        found = re.search(r"^(?:totals|summary): (\d+)", file.read_text(), re.MULTILINE)
        totals[file.name] = int(found[1]) if found else 0
    return Instructions(totals["out-01"], sum(totals.values()))


def connected(port: int, server: subprocess.Popen) -> socket.socket:
    """Return a connection to the server once it listens."""
    end = time.monotonic() + 60
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=60)
        except ConnectionRefusedError:
            if server.poll() is not None or time.monotonic() > end:
                sys.exit("the server under valgrind does not begin")
            time.sleep(0.1)


def receive(clients: list[socket.socket]) -> None:
    """Send a request on each connection, and receive the answers."""
    for client in clients:
        client.sendall(REQUEST)
    for client in clients:
        receive_answer(client)


def receive_answer(client: socket.socket) -> None:
    """Receive one answer with the body of `web_application`'s greeting."""
    answer = b""
    while not answer.endswith(b"\r\n\r\nhello world"):
        data = client.recv(65536)
        if not data:
            sys.exit("the server under valgrind closed a connection")
        answer += data


def count_instructions(chosen: argparse.Namespace, cpus: tuple[int, int]) -> list[str]:
    """Return lines about the instructions of requests and of a page's questions."""
    few, many, pages = 10, 110, 4
    requests = (many - few) * CONNECTIONS
    costs, whole = {}, {}
    for state, is_open, asked in (("nobody", False, 0), ("view", True, 0), ("page", True, pages)):
        first, last = (instructions(chosen, is_open, rounds, asked) for rounds in (few, many))
        costs[state] = (last.main - first.main) / requests
        whole[state] = first.all
    page = (whole["page"] - whole["view"]) / pages
    nobody = costs.pop("nobody")
    more = (
        f"{cost:,.0f} with {'the view' if state == 'view' else 'its page'} open "
        f"({100 * (cost / nobody - 1):+.2f} %)"
        for state, cost in costs.items()
    )
    with web.running("ours", chosen.our_python, chosen.our_python, cpus[0]) as (pid, port):
        rate = 1 / web.load(web.SCENARIOS["hello"], pid, port, cpus[1], 3).cpu
    return [
        f"main thread, instructions of a request: {nobody:,.0f} while nobody watches, "
        + ", ".join(more),
        f"view's threads, instructions of a page in ten seconds: {page:,.0f}, "
        f"{100 * page / 10 / (rate * nobody):.2f} % of those of a server that answers "
        f"{rate:,.0f} requests in a second of its processor",
    ]
