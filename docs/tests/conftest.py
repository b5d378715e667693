"""The site that `make docs` built, over HTTP, and a browser that looks at it."""

import functools
import os
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

SITE = Path(__file__).resolve().parents[2] / "build" / "docs"


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, and says nothing about it."""

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder of the site."""
    assert (SITE / "index.html").exists(), "make docs builds it"
    return SITE


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    """The address of the site."""
    handler = functools.partial(Quiet, directory=str(site))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        if os.environ.get("REQUIRE_PROGRAMS") == "1":
            pytest.fail("this test needs the program chromium")
        pytest.skip("this test needs the program chromium")
    with sync_playwright() as browsers:
        made = browsers.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield made
        made.close()
