"""The servers of the documents, run as printed but for their ports, and talked to from outside."""

import json
import re
import socket
import subprocess

import pytest

BOTH_WSGI = ["tutorial_ja/25_wsgi_server", "tutorial_ja/26_streaming_server"]


def response_to(port: int, request: bytes) -> tuple[bytes, bytes]:
    """The head and the body that a server answers with before it hangs up."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(request)
        received = b"".join(iter(lambda: client.recv(65536), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    return head.lower(), body


def test_a_greenlet_for_each_connection(served):
    for name in "manual/19_stream_server", "manual/20_server_with_pool":
        with served(name) as (process, port):
            for _ in range(3):
                with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
                    # The handler returns, so the server hangs up.
                    assert client.recv(1) == b""
                assert process.stdout.readline() == "new connection!\n"


def test_telnet_server(served, require_program):
    program = require_program("nc")
    with served("tutorial_ja/24_telnet_server") as (_, port):
        for _ in range(2):
            talk = subprocess.run(
                [program, "127.0.0.1", str(port)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            assert talk.stdout == "Hello from a telnet!\n0\n1\n2\n3\n4\n"


def test_wsgi_server(served):
    with served(BOTH_WSGI[0]) as (_, port):
        head, body = response_to(port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert head.startswith(b"http/1.1 200 ok\r\n")
    assert b"\r\ncontent-type: text/html" in head
    assert b"\r\ncontent-length: 18" in head
    assert body == b"<p>Hello World</p>"


def test_streaming_server(served):
    with served(BOTH_WSGI[1]) as (_, port):
        head, body = response_to(port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert head.startswith(b"http/1.1 200 ok\r\n")
    assert b"\r\ntransfer-encoding: chunked" in head
    # As the text shows it: the length in hex, the chunk; a chunk of length zero at the end.
    assert body == b"8\r\n<p>Hello\r\n9\r\nWorld</p>\r\n0\r\n\r\n"


@pytest.mark.parametrize("name", BOTH_WSGI)
def test_benchmark(served, require_program, name):
    program = require_program("ab")
    with served(name) as (_, port):
        done = subprocess.run(
            [program, "-n", "2000", "-c", "100", f"http://127.0.0.1:{port}/"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert re.search(r"Complete requests: +2000\n", done.stdout)
    assert re.search(r"Failed requests: +0\n", done.stdout)
    assert "Non-2xx" not in done.stdout


def test_long_polling(served):
    with (
        served("tutorial_ja/27_long_polling") as (_, port),
        socket.create_connection(("127.0.0.1", port), timeout=30) as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        lines = client.makefile("rb")
        head = [line.lower() for line in iter(lines.readline, b"\r\n")]
        assert b"content-type: application/json\r\n" in head
        # One comes each second; the response has no end.
        for _ in range(3):
            size = int(lines.readline(), 16)
            assert json.loads(lines.read(size)) == "Hello World"
            assert lines.readline() == b"\r\n"


def test_websocket_server(served):
    websocket = pytest.importorskip("websocket", reason="the package websocket-client")
    pytest.importorskip("geventwebsocket", reason="the package gevent-websocket")
    with served("tutorial_ja/28_websocket_server") as (_, port):
        client = websocket.create_connection(f"ws://127.0.0.1:{port}/", timeout=30)
        received = [json.loads(client.recv()) for _ in range(4)]
        client.close()
    assert [data["x"] for data in received] == [0, 1, 2, 3]
    assert all(data["y"] in range(1, 6) for data in received)
