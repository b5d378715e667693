"""The examples of the web, started as a person does and talked to from outside."""

import http.client
import json
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from interrupting import interrupt
from paths import CERTIFICATE, EXAMPLES


class Started:
    """An example at work."""

    def __init__(self, process: subprocess.Popen, url: str) -> None:
        self.process = process
        self.url = url
        self.host, self.port = urlsplit(url).hostname, urlsplit(url).port

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, self.port, timeout=60)

    def ask(self, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
        with closing(self.connect()) as connection:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()


@contextmanager
def started(name: str, *argv: str | Path) -> Iterator[Started]:
    """Run a server, which says where it listens; it must end well when it is interrupted."""
    with subprocess.Popen(
        [sys.executable, EXAMPLES / name, "0", *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Started(process, process.stdout.readline().strip())
            assert interrupt(process) == 0
        finally:
            process.kill()


def test_hello():
    with started("wsgi_hello.py") as server:
        assert server.ask("GET", "/") == (200, b"Hello, world\n")
        assert server.ask("GET", "/elsewhere")[0] == 404


def test_hello_over_tls():
    context = ssl.create_default_context(cafile=CERTIFICATE)
    with started("wsgi_hello.py", CERTIFICATE) as server:
        assert server.url.startswith("https://")
        made = http.client.HTTPSConnection("localhost", server.port, timeout=60, context=context)
        with closing(made) as connection:
            connection.request("GET", "/")
            assert connection.getresponse().read() == b"Hello, world\n"


def test_streaming_sends_each_piece_as_it_is_made():
    with started("wsgi_streaming.py") as server:
        assert server.ask("GET", "/forever")[0] == 400
        with socket.create_connection((server.host, server.port), timeout=60) as sock:
            sock.sendall(b"GET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            seen = b""
            while b"2\n" not in seen:
                seen += sock.recv(65536)
            # The next one is still to come, a second later.
            assert b"\n1\n" not in seen
            while more := sock.recv(65536):
                seen += more
        assert seen.endswith(b"2\r\n2\n\r\n2\r\n1\n\r\n2\r\n0\n\r\n0\r\n\r\n")
        assert server.process.stdout.readline() == "ended after 2 s\n"


def test_streaming_ends_when_the_client_goes_away():
    with started("wsgi_streaming.py") as server:
        with socket.create_connection((server.host, server.port), timeout=60) as sock:
            sock.sendall(b"GET /60 HTTP/1.1\r\nHost: a\r\n\r\n")
            assert sock.recv(65536)
        ended = re.match(r"ended after (\d+) s", server.process.stdout.readline())
        assert int(ended[1]) < 30


def test_long_polling_wakes_all_who_wait():
    with started("wsgi_long_polling.py") as server, ThreadPoolExecutor(20) as threads:
        waiting = [threads.submit(server.ask, "GET", "/") for _ in range(20)]
        assert server.ask("POST", "/", "first") == (201, b'{"number": 1}')
        for one in waiting:
            status, body = one.result(60)
            assert (status, json.loads(body)) == (200, {"messages": ["first"], "last": 1})
        later = threads.submit(server.ask, "GET", "/?after=1")
        server.ask("POST", "/", "second")
        assert json.loads(later.result(60)[1]) == {"messages": ["second"], "last": 2}
        assert server.ask("GET", "/?after=x")[0] == 400
        assert server.ask("POST", "/", "x" * 20_000)[0] == 413


def test_websocket_page_in_two_browsers(require_program):
    chromium = require_program("chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="the package playwright")
    with started("websocket_page.py") as server, sync_api.sync_playwright() as playwright:
        # Chromium's sandbox refuses to work for root.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        pages = [browser.new_context().new_page() for _ in range(2)]
        for page in pages:
            page.goto(server.url)
            sync_api.expect(page.locator("#status")).to_have_text("Connected", timeout=60_000)
        pages[0].get_by_placeholder("Say something").fill("hello <all>")
        pages[0].get_by_role("button").click()
        for page in pages:
            item = page.locator("#messages li")
            sync_api.expect(item).to_have_text("hello <all>", timeout=60_000)
        browser.close()


class Origin(BaseHTTPRequestHandler):
    """A server that says what it was asked."""

    def do_GET(self) -> None:
        self.answer(b"")

    def do_POST(self) -> None:
        self.answer(self.rfile.read(int(self.headers["Content-Length"])))

    def answer(self, body: bytes) -> None:
        text = f"{self.command} {self.path} {self.headers['X-Mine']} ".encode() + body
        self.send_response(200, "Fine")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("X-Origin", "yes")
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@pytest.fixture
def origin() -> Iterator[tuple[str, int]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Origin)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_address
    server.shutdown()
    server.server_close()
    thread.join()


def test_proxy_fetches(origin):
    host, port = origin
    with started("forward_proxy.py") as proxy, closing(proxy.connect()) as connection:
        for method, body in (("GET", None), ("POST", "body")):
            url = f"http://{host}:{port}/a%20b?c=d"
            connection.request(method, url, body, {"X-Mine": "mine"})
            answer = connection.getresponse()
            assert (answer.status, answer.reason) == (200, "Fine")
            assert answer.headers["X-Origin"] == "yes"
            assert answer.read() == f"{method} /a%20b?c=d mine {body or ''}".encode()


def test_proxy_connects_through(origin):
    host, port = origin
    with started("forward_proxy.py") as proxy, closing(proxy.connect()) as connection:
        connection.set_tunnel(host, port)
        connection.request("GET", "/tunnelled")
        assert connection.getresponse().read() == b"GET /tunnelled None "


def test_proxy_says_what_it_cannot_reach():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with started("forward_proxy.py") as proxy:
            assert proxy.ask("GET", f"http://127.0.0.1:{port}/")[0] == 502
            assert proxy.ask("GET", "/no/url")[0] == 400
            with closing(proxy.connect()) as connection:
                connection.set_tunnel("127.0.0.1", port)
                with pytest.raises(OSError, match="502"):
                    connection.connect()
