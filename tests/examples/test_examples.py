"""The examples, started as a person starts them and talked to from outside."""

import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from paths import EXAMPLES


def run(name: str, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, EXAMPLES / name, *argv],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def started(name: str, *argv: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, EXAMPLES / name, *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def document_address() -> Iterator[str]:
    with started("document_server.py") as process:
        yield process.stdout.readline().strip()


def test_demo_reports_a_right_and_concurrent_run():
    demo = run("demo.py", "--documents", "60", "--greenlets", "20")
    assert demo.returncode == 0, demo.stderr
    assert "] 100 %  60/60\n" in demo.stdout
    rows = dict(re.findall(r"^  (\S.*?)  +(\S.*)$", demo.stdout, re.MULTILINE))
    assert rows["bodies"] == "all right"
    assert 10 <= int(rows["greenlets"].split()[0]) <= 20
    # Sixty answers of 50 ms, one after another, take three seconds at least.
    assert float(rows["sequential estimate"].split()[0]) >= 3
    assert float(rows["speed-up"].split()[0]) > 2
    assert re.fullmatch(r"\d+ MiB", rows["peak memory"])


def test_demo_fails_on_a_wrong_body(tmp_path):
    for example in EXAMPLES.glob("*.py"):
        (tmp_path / example.name).write_text(example.read_text())
    server = tmp_path / "document_server.py"
    right = 'b"document %d" % number'
    assert right in server.read_text()
    server.write_text(server.read_text().replace(right, 'b"document %d" % (number or 1)'))
    demo = run(str(tmp_path / "demo.py"), "--documents", "20")
    assert demo.returncode == 1
    assert "WRONG" in demo.stdout


def test_plain_download_works_without_gevent(document_address):
    plain = run("download.py", document_address, "4")
    assert (plain.returncode, plain.stderr.count("\n")) == (0, 4), plain.stderr
    assert plain.stdout.startswith("4 documents in ")


def test_document_server_serves_many_at_once(document_address):
    def digest(number: int) -> str:
        with urllib.request.urlopen(f"{document_address}/documents/{number}", timeout=30) as answer:
            return hashlib.sha256(answer.read()).hexdigest()

    with ThreadPoolExecutor(100) as threads:
        digests = list(threads.map(digest, range(200)))
    assert len(set(digests)) == 200
    assert digests[0] == "7f15a791075aacacecdb2d117d1dba156313a6db37523b2d14739a7f4a186ae8"


def test_document_server_refuses_other_paths(document_address):
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(f"{document_address}/other", timeout=30)
    assert refusal.value.code == 404
    refusal.value.close()


def test_document_server_ends_with_its_standard_input():
    with started("document_server.py") as server:
        assert server.stdout.readline().startswith("http://127.0.0.1:")
        server.stdin.close()
        assert server.wait(30) == 0


def test_concurrent_lookup_shows_answers_and_failures():
    lookup = run("concurrent_lookup.py", "127.0.0.1", "localhost", "name.invalid")
    assert lookup.returncode == 0, lookup.stderr
    numeric, local, invalid = lookup.stdout.splitlines()
    assert numeric == "127.0.0.1: 127.0.0.1"
    assert local == "localhost: 127.0.0.1"
    assert re.match(r"name\.invalid: (\[Errno|no answer within)", invalid)


def test_echo_server_serves_clients_side_by_side():
    with started("echo_server.py", "0") as server:
        host, port = server.stdout.readline().split()[-1].split(":")
        address = host, int(port)
        payload = os.urandom(300_000)
        with (
            socket.create_connection(address, timeout=30) as idle,
            socket.create_connection(address, timeout=30) as busy,
            ThreadPoolExecutor(1) as sender,
        ):
            sender.submit(busy.sendall, payload)
            received = b""
            while len(received) < len(payload):
                received += busy.recv(65536)
            assert received == payload
            idle.sendall(b"still here")
            assert idle.recv(100) == b"still here"
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0


PROGRAMS = sorted(p.name for p in EXAMPLES.glob("*.py") if "__main__" in p.read_text())


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_example_answers_help(name: str):
    helped = run(name, "--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert helped.stdout.startswith(f"usage: {name} ")


@pytest.mark.parametrize("argument", ["abc", "127.0.0.1:70000", ""])
def test_an_address_that_is_none_is_one_line(argument: str):
    refused = run("echo_server.py", argument)
    assert refused.returncode == 2
    assert "error: argument [HOST:]PORT: invalid address value" in refused.stderr
    assert "Traceback" not in refused.stderr
