"""The examples of servers and clients, started as a person does and talked to from outside."""

import os
import re
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from interrupting import interrupt
from paths import CERTIFICATE, EXAMPLES
from ports import free_port

PAYLOAD = os.urandom(3_000_000)


def run(name: str, *argv: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, EXAMPLES / name, *argv],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def started(name: str, *argv: str | Path) -> Iterator[tuple[subprocess.Popen, tuple[str, int]]]:
    """Run a server, which says where it listens; it must end well when it is interrupted."""
    with subprocess.Popen(
        [sys.executable, EXAMPLES / name, *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            host, port = re.search(r"(\S+):(\d+)$", process.stdout.readline()).groups()
            yield process, (host, int(port))
            status = interrupt(process)
            assert status == 0, process.stderr.read()
        finally:
            process.kill()


def connect(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, timeout=30)


def read_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(65536), b""))


def read_exactly(sock: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        part = sock.recv(65536)
        assert part, "it ended early"
        received += part
    return bytes(received)


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


# Port forwarder


@pytest.fixture
def forwarded() -> Iterator[tuple[socket.socket, tuple[str, int]]]:
    """The target's listener, and where the forwarder listens."""
    with socket.create_server(("127.0.0.1", 0)) as target:
        target.settimeout(30)
        where = f"127.0.0.1:{target.getsockname()[1]}"
        with started("port_forwarder.py", "127.0.0.1:0", where) as (_, address):
            yield target, address


def test_forwarder_passes_on_both_ways_at_once(forwarded):
    target, address = forwarded
    with connect(address) as client, target.accept()[0] as server, ThreadPoolExecutor(4) as threads:
        ends = (client, server)
        for end in ends:
            threads.submit(end.sendall, PAYLOAD)
        received = [threads.submit(read_exactly, end, len(PAYLOAD)) for end in ends]
        assert [future.result(60) for future in received] == [PAYLOAD, PAYLOAD]


def test_forwarder_passes_on_the_end_of_one_direction(forwarded):
    target, address = forwarded
    with connect(address) as client, target.accept()[0] as server:
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert read_all(server) == b"question"
        server.sendall(b"answer")
        server.close()
        assert read_all(client) == b"answer"


def test_forwarder_outlives_a_reset(forwarded):
    target, address = forwarded
    client = connect(address)
    with target.accept()[0] as server:
        server.settimeout(30)
        reset(client)
        with pytest.raises(ConnectionError) if server.recv(1) else closing(server):
            pass
    with connect(address) as client, target.accept()[0] as server:
        client.sendall(b"next")
        assert server.recv(10) == b"next"


def test_forwarder_without_a_target():
    where = f"127.0.0.1:{free_port()}"
    with started("port_forwarder.py", "0", where) as (process, address):
        with connect(address) as client:
            assert client.recv(1) == b""
        assert process.stderr.readline().startswith(where + ": [Errno ")


# UDP


def test_udp_client_and_server_talk():
    with started("udp_server.py", "0") as (_, address):
        asked = run("udp_client.py", "{}:{}".format(*address), "one", "two", "three")
    assert (asked.returncode, asked.stdout, asked.stderr) == (0, "13: three two one\n", "")


def test_udp_client_asks_again():
    with socket.socket(type=socket.SOCK_DGRAM) as deaf, ThreadPoolExecutor(1) as threads:
        deaf.bind(("127.0.0.1", 0))
        deaf.settimeout(30)
        asking = threads.submit(run, "udp_client.py", f"127.0.0.1:{deaf.getsockname()[1]}", "hello")
        # Lost, for all it knows.
        assert deaf.recv(100) == b"hello"
        message, address = deaf.recvfrom(100)
        assert message == b"hello"
        deaf.sendto(b"at last", address)
        asked = asking.result(30)
    assert (asked.returncode, asked.stdout) == (0, "at last\n")


def test_udp_client_gives_up_where_nobody_listens():
    where = f"127.0.0.1:{free_port()}"
    asked = run("udp_client.py", where, "hello")
    assert asked.returncode == 1
    assert re.match(rf"no answer from {where}: .*refused", asked.stderr)


# Unix socket pair


def test_socket_pair_counts_lines_of_what_the_parent_opens(tmp_path):
    files = [tmp_path / name for name in ("none", "three", "no end", "missing")]
    for path, text in zip(files, ("", "a\nb\nc\n", "a\nb"), strict=False):
        path.write_text(text)
    counted = run("unix_socketpair.py", *files)
    assert counted.returncode == 0
    expected = zip((0, 3, 2), files, strict=False)
    assert counted.stdout == "".join(f"{number:6} {path}\n" for number, path in expected)
    assert counted.stderr == f"{files[3]}: No such file or directory\n"


# TLS echo


def test_tls_echo_serves_beside_those_who_do_not_speak_it():
    context = ssl.create_default_context(cafile=CERTIFICATE)
    with started("tls_echo_server.py", "0", CERTIFICATE) as (process, address):
        with connect(address), connect(address) as rude:
            rude.sendall(b"GET / HTTP/1.0\r\n\r\n")
            with context.wrap_socket(connect(address), server_hostname="localhost") as tls:
                for start in range(0, 200_000, 20_000):
                    part = PAYLOAD[start : start + 20_000]
                    tls.sendall(part)
                    assert read_exactly(tls, len(part)) == part
                tls.unwrap()
            assert "HTTP_REQUEST" in process.stderr.readline()
        assert re.search(r" TLSv1\.[23] \w", process.stdout.readline())


# sendfile


def test_file_server_sends_the_file_to_all_at_once(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(PAYLOAD)
    with started("sendfile_server.py", "0", path) as (process, address):
        with connect(address) as idle, ThreadPoolExecutor(5) as threads:
            clients = [connect(address) for _ in range(5)]
            assert list(threads.map(read_all, clients)) == [PAYLOAD] * 5
            assert read_all(idle) == PAYLOAD
        for client in clients:
            client.close()
        reports = [process.stdout.readline() for _ in range(6)]
        assert all(line.endswith(f": {len(PAYLOAD)} bytes\n") for line in reports)
        reset(connect(address))
        path.unlink()
        with connect(address) as client:
            assert client.recv(1) == b""


# Chat


class Guest:
    """A person at a telnet client."""

    def __init__(self, address: tuple[str, int], name: str) -> None:
        self.sock = connect(address)
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


def test_chat():
    with started("chat_server.py", "0") as (_, address):
        ada = Guest(address, "Ada")
        assert ada.hear() == "* Ada is here"
        bob = Guest(address, "Bob")
        assert [ada.hear(), bob.hear()] == ["* Bob is here"] * 2
        double = Guest(address, "Bob")
        assert double.hear() == "That name is taken."
        assert double.hear() == ""
        ada.say("Good morning, wörld")
        assert bob.hear() == "Ada: Good morning, wörld"
        bob.say("/who")
        assert bob.hear() == "* Ada, Bob"
        # Nobody is told what he said himself, so this is the first that Ada hears.
        bob.say("/quit")
        assert ada.hear() == "* Bob has left"
        assert bob.hear() == ""
        reset(ada.sock)
        eve = Guest(address, "Eve")
        assert eve.hear() in ("* Eve is here", "* Ada has left")
        for guest in (ada, bob, double, eve):
            guest.leave()


def test_chat_is_not_held_up_by_who_does_not_read():
    with started("chat_server.py", "0") as (_, address):
        deaf = Guest(address, "deaf")
        assert deaf.hear() == "* deaf is here"
        loud = Guest(address, "loud")
        assert loud.hear() == "* loud is here"
        reader = Guest(address, "reader")
        assert reader.hear() == "* reader is here"
        text = "x" * 900
        # More than the kernel keeps for someone who does not read it.
        for _ in range(150):
            loud.say("\r\n".join([text] * 50))
            assert [reader.hear() for _ in range(50)] == [f"loud: {text}"] * 50
        for guest in (deaf, loud, reader):
            guest.leave()
