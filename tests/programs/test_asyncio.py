"""Views, tasks and database sessions that use asyncio, many at once, in patched processes."""

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from ports import free_port

import gevent
from gevent import socket

HERE = Path(__file__).parent
REQUESTS = 200
PAGES = ("plain", "runs", "async")


def answers(port, pages, meeting):
    """Send as many requests at once, to these pages in turn; return what does not belong there."""

    def get(number):
        page = pages[number % len(pages)]
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            head = f"GET /{page}/{number}/{meeting} HTTP/1.0\r\nHost: x\r\n\r\n"
            client.sendall(head.encode())
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        status, body = answer[9:12].decode(), answer.partition(b"\r\n\r\n")[2].decode()
        return page, status, body, body == f"{number} 1"

    everyone = [gevent.spawn(get, number) for number in range(REQUESTS)]
    gevent.joinall(everyone, raise_error=True)
    return [each.value for each in everyone if not each.value[-1]]


@contextmanager
def gunicorn(started, wait_for, application, **env):
    port = free_port()
    options = ("-k", "gevent", "--bind", f"127.0.0.1:{port}", "--no-control-socket")
    with started("gunicorn", *options, f"{application}:application", **env):
        wait_for(port)
        yield port


@contextmanager
def own_server(started, wait_for, application, **env):
    port = free_port()
    options = ("--bind", f"127.0.0.1:{port}", "--log-level", "error")
    with started("gevent.serve", *options, f"{application}:application", **env):
        wait_for(port)
        yield port


SERVERS = pytest.mark.parametrize("server", [gunicorn, own_server])


@SERVERS
def test_django(started, wait_for, own_environment, tmp_path, server):
    env = {"DATABASE": str(tmp_path / "database")}
    subprocess.run([sys.executable, HERE / "django_site.py"], env=own_environment | env, check=True)
    with server(started, wait_for, "django_site", **env) as port:
        # Coroutines of Django use one thread for their blocking parts, so they do not meet others.
        meeting = sum(number % 3 < 2 for number in range(REQUESTS))
        assert answers(port, PAGES, meeting) == []


@SERVERS
def test_flask(started, wait_for, server):
    with server(started, wait_for, "flask_async") as port:
        assert answers(port, PAGES, REQUESTS) == []


def test_sqlalchemy(result_of, tmp_path):
    assert result_of("asyncio_bridges.py", "sqlalchemy_sessions", tmp_path) == [*range(1, 11)]


def test_greenback(result_of):
    assert result_of("asyncio_bridges.py", "greenback_portals") == [True] * 10
