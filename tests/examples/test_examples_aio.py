"""The examples of asyncio beside greenlets, started as a person does and talked to from outside."""

import http.client
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

from interrupting import interrupt
from paths import EXAMPLES


@contextmanager
def started(name: str, *argv: str) -> Iterator[tuple[str, int]]:
    """Run a server, which says where it listens; it must end well when it is interrupted."""
    with subprocess.Popen(
        [sys.executable, EXAMPLES / name, "0", *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            host, port = process.stdout.readline().strip().removeprefix("http://").split(":")
            yield host, int(port)
            # An interrupt is raised in what runs, which may be any coroutine or greenlet, and is
            # reported.
            time.sleep(0.1)
            assert interrupt(process) == 0
            assert not re.search("never|failed(?! with KeyboardInterrupt)", process.stderr.read())
        finally:
            process.kill()


def test_a_session_is_shared():
    done = subprocess.run(
        [sys.executable, EXAMPLES / "aio_shared_session.py", "--greenlets", "300"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"300 answers, 1500 bytes, \d+\.\d\d s\n", done.stdout)


def test_flask_streams_to_many_visitors_at_once():
    def visit(number: int) -> tuple[bool, bool]:
        with closing(http.client.HTTPConnection(*address, timeout=60)) as connection:
            connection.request("GET", f"/answer?question=why+{number}")
            response = connection.getresponse()
            first = response.read1()
            rest = response.read()
        whole = f"You asked: why {number} I do not know. \n".encode()
        return first + rest == whole, bool(rest)

    with started("aio_flask_stream.py") as address, ThreadPoolExecutor(10) as visitors:
        # The right answer, in more than one piece.
        assert set(visitors.map(visit, range(10))) == {(True, True)}


def test_flask_lets_a_visitor_go():
    with started("aio_flask_stream.py") as address:
        for _ in range(3):
            with socket.create_connection(address, timeout=60) as visitor:
                visitor.sendall(b"GET /answer?question=a+b+c HTTP/1.1\r\nHost: x\r\n\r\n")
                assert visitor.recv(10)
        time.sleep(0.1)


class Guest:
    """A person at a telnet client."""

    def __init__(self, address: tuple[str, int], name: str) -> None:
        self.sock = socket.create_connection(address, timeout=60)
        self.lines = self.sock.makefile("rw", encoding="utf-8", newline="\r\n")
        assert self.sock.recv(100) == b"Your name? "
        self.say(name)

    def say(self, line: str) -> None:
        self.lines.write(line + "\r\n")
        self.lines.flush()

    def hear(self) -> str:
        return self.lines.readline().removesuffix("\r\n")

    def leave(self) -> None:
        self.lines.close()
        self.sock.close()


def test_chat_remembers(tmp_path):
    database = str(tmp_path / "said.sqlite")
    with started("aio_chat_server.py", "--database", database) as address:
        ada = Guest(address, "Ada")
        assert ada.hear() == "* Ada is here"
        bob = Guest(address, "Bob")
        assert [ada.hear(), bob.hear()] == ["* Bob is here"] * 2
        double = Guest(address, "Bob")
        assert double.hear() == "That name is taken."
        ada.say("Good morning, wörld")
        assert bob.hear() == "Ada: Good morning, wörld"
        bob.leave()
        assert ada.hear() == "* Bob has left"
        double.leave()
        eve = Guest(address, "Eve")
        assert [eve.hear(), eve.hear()] == ["Ada: Good morning, wörld", "* Eve is here"]
        eve.leave()
        ada.leave()
    with started("aio_chat_server.py", "--database", database) as address:
        eve = Guest(address, "Eve")
        assert eve.hear() == "Ada: Good morning, wörld"
        eve.leave()
