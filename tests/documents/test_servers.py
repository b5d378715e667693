"""The servers of the documents, run as printed but for their ports, and talked to from outside."""

import socket
import subprocess


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
