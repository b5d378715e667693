"""The prompt over a socket."""

import sys
from contextlib import contextmanager

import pytest

import gevent
from gevent import socket
from gevent.backdoor import BackdoorServer
from gevent.event import Event

PROMPT = b">>> "


@contextmanager
def serving(**options):
    server = BackdoorServer(("127.0.0.1", 0), **options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def connected(server):
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as client:
        yield client


def shown(client, end=PROMPT):
    """Return the text that the server writes up to *end*."""
    text = b""
    while not text.endswith(end):
        data = client.recv(1)
        assert data, f"ended after {text!r}"
        text += data
    return text.removesuffix(end).decode()


def ask(client, line):
    client.sendall(line.encode() + b"\r\n")
    return shown(client)


@pytest.fixture
def client():
    with serving(locals={"foo": "defined"}) as server, connected(server) as client:
        shown(client)
        yield client


def test_banner():
    with serving(banner="Welcome!") as server, connected(server) as client:
        assert shown(client) == "Welcome!\n"


def test_default_banner():
    with serving() as server, connected(server) as client:
        assert shown(client).startswith(f"Python {sys.version.split()[0]}")


def test_values(client):
    assert ask(client, "2 + 2") == "4\n"
    assert ask(client, "foo, __name__") == "('defined', '__console__')\n"
    assert ask(client, "print('é')") == "é\n"
    assert ask(client, "locals()['__builtins__']") == "<module 'builtins' (built-in)>\n"


def test_statements_over_lines(client):
    client.sendall(b"def f():\r\n return 3\r\n\r\n")
    assert shown(client) == "... ... "
    assert ask(client, "f()") == "3\n"


def test_errors_are_shown(client):
    assert ask(client, "1 / 0").endswith("ZeroDivisionError: division by zero\n")
    assert "SyntaxError" in ask(client, "1 +")
    assert ask(client, "raise KeyboardInterrupt").endswith("KeyboardInterrupt\n")
    assert ask(client, "1") == "1\n"


def test_octets_that_are_no_text(client):
    client.sendall(b'"\xff"\n')
    assert shown(client) == "'\ufffd'\n"


def test_input_is_the_clients(client):
    client.sendall(b"input('? ')\n")
    assert shown(client, b"? ") == ""
    assert ask(client, "word") == "'word'\n"


@pytest.mark.parametrize("line", ["quit()", "exit(3)", "raise SystemExit"])
def test_leaving(client, line):
    client.sendall(line.encode() + b"\n")
    assert client.recv(10) == b""


def test_end_of_input(client):
    client.shutdown(socket.SHUT_WR)
    assert client.recv(10) == b"\n"
    assert client.recv(10) == b""


def test_namespaces_are_separate():
    with serving() as server, connected(server) as one, connected(server) as other:
        shown(one), shown(other)
        assert ask(one, "x = 5") == ""
        assert ask(one, "x") == "5\n"
        assert "NameError" in ask(other, "x")


def test_output_is_the_own_clients_alone(capsys):
    go = Event()
    with serving(locals={"go": go}) as server, connected(server) as one, connected(server) as two:
        shown(one), shown(two)
        one.sendall(b"go.wait(); print('one')\n")
        assert ask(two, "print('two')") == "two\n"
        print("usual")
        assert ask(two, "import gevent; gevent.spawn(print, 'spawned').join()") == ""
        go.set()
        assert shown(one) == "True\none\n"
    assert capsys.readouterr().out == "usual\nspawned\n"


def test_streams_are_put_back():
    before = sys.stdin, sys.stdout, sys.stderr
    go = Event()
    with serving(locals={"go": go}) as server, connected(server) as client:
        shown(client)
        assert (sys.stdin, sys.stdout, sys.stderr) == before
        client.sendall(b"print('waits'); go.wait()\n")
        assert shown(client, b"waits\n") == ""
        assert sys.stdout is not before[1]
        go.set()
        assert shown(client) == "True\n"
        assert (sys.stdin, sys.stdout, sys.stderr) == before


def test_a_replaced_stream_is_left(monkeypatch):
    mine = object()
    names = {"monkeypatch": monkeypatch, "mine": mine}
    with serving(locals=names) as server, connected(server) as client:
        shown(client)
        ask(client, "import sys; monkeypatch.setattr(sys, 'stdin', mine)")
        assert sys.stdin is mine


def test_stopping_ends_what_runs():
    started = Event()
    with serving(locals={"started": started}) as server, connected(server) as client:
        shown(client)
        client.sendall(b"import gevent; started.set(); gevent.sleep(1000)\n")
        assert started.wait(10)
        server.stop(timeout=0.01)
        assert client.recv(10) == b""
        assert not server.pool


def test_a_client_that_goes_away_is_not_reported(capsys):
    go = Event()
    with serving(locals={"go": go}) as server:
        with connected(server) as client:
            shown(client)
            client.sendall(b"go.wait(); print('x' * 10**7)\n")
            gevent.sleep(0)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        go.set()
        assert server.pool.join(timeout=10)
    assert "Traceback" not in capsys.readouterr().err


def test_own_spawn_is_refused():
    with pytest.raises(TypeError, match="spawn"):
        BackdoorServer(("127.0.0.1", 0), spawn=1)
