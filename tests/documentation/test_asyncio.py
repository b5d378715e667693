"""The programs of the page on asyncio, which ask a server of the test's own."""

import threading
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pages
import pytest


@pytest.fixture
def url():
    """The address of a server that answers every path with that path."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            body = self.path.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 200
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_client_of_asyncio_in_greenlets(tmp_path, url):
    pages.files("asyncio", tmp_path, "client.py")
    assert pages.run(tmp_path, "client.py", url) == "100\n"


def test_blocking_calls_in_coroutines(tmp_path, url):
    pages.files("asyncio", tmp_path, "service.py")
    assert pages.run(tmp_path, "service.py", url) == "20\n"


def test_views(tmp_path, url):
    def get(number):
        path = ("page", "stream")[number % 2]
        query = urllib.parse.urlencode({"url": f"{url}/{number}"})
        address = f"http://127.0.0.1:{port}/{path}?{query}"
        with urllib.request.urlopen(address, timeout=30) as response:
            return response.read() == f"/{number}".encode()

    pages.files("asyncio", tmp_path, "views.py")
    command = ("-m", "gevent.serve", "views:app", "--bind", "127.0.0.1:0")
    with pages.started(tmp_path, *command) as serving, ThreadPoolExecutor(20) as clients:
        port = pages.port_of(serving)
        assert all(clients.map(get, range(40)))
