"""The tutorial's page in a browser: it shows what its server sends."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from paths import EXAMPLES

sync_api = pytest.importorskip("playwright.sync_api", reason="the package playwright")
jquery = pytest.importorskip("xstatic.pkg.jquery", reason="the package XStatic-jQuery")
pytest.importorskip("geventwebsocket", reason="the package gevent-websocket")

PAGE = EXAMPLES / "documents/tutorial_ja/28_websocket_page.html"


@pytest.fixture
def serve_files():
    """Serve texts by their paths: returns the address of the server."""
    servers = []

    def serve(files):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                body = files.get(self.path, "").encode()
                self.send_response(200 if body else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        servers.append((server, thread))
        return f"http://localhost:{server.server_address[1]}"

    yield serve
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


def test_page(served, serve_files, require_program):
    chromium = require_program("chromium")
    script = Path(jquery.BASE_DIR, "jquery.min.js").read_text()
    with served("tutorial_ja/28_websocket_server") as (_, port):
        text = PAGE.read_text().replace("localhost:10000", f"localhost:{port}")
        address = serve_files({"/page.html": text, "/jquery.min.js": script})
        with sync_api.sync_playwright() as browsers:
            browser = browsers.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(f"{address}/page.html")
            page.wait_for_function(
                "document.querySelectorAll('#placeholder p').length >= 3", timeout=60_000
            )
            status = page.inner_text("#conn_status")
            shown = page.locator("#placeholder p").all_inner_texts()
            browser.close()
    assert page.url == f"{address}/page.html"
    assert status == "Connected"
    received = [json.loads(line) for line in shown]
    assert [data["x"] for data in received] == list(range(len(received)))
    assert all(1 <= data["y"] <= 5 for data in received)
