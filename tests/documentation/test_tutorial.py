"""The programs of the tutorial, version by version, as a reader makes them."""

import json
import re
import socket
import urllib.request

import pages
import pytest
from ports import free_port


def insert(text, before, passage):
    """Put a passage in front of a line, as the page says."""
    assert text.count(before) == 1
    return text.replace(before, passage + before)


@pytest.fixture
def site(tmp_path):
    """The site to crawl, at a port of its own; the crawlers of the page are told of it."""

    def start(hanging=False):
        text = pages.versions("tutorial/crawler", "site_to_crawl.py")[-1]
        if hanging:
            never = pages.versions("tutorial/crawler", "the page that never comes")[-1]
            text = insert(text, "    if not path.isdecimal()", never)
        port = free_port()
        text = text.replace("8080", str(port)).replace("sleep(0.1)", "sleep(0.02)")
        (tmp_path / "site_to_crawl.py").write_text(text)
        return pages.started(tmp_path, "site_to_crawl.py"), port

    return start


@pytest.mark.parametrize("version", [0, -1])
def test_crawler(version, site, tmp_path):
    process, port = site()
    crawler = pages.versions("tutorial/crawler", "crawler.py")[version]
    (tmp_path / "crawler.py").write_text(crawler.replace("8080", str(port)))
    with process as server:
        pages.said(server, "http://")
        assert re.fullmatch(r"100 pages in [\d.]+ s\n", pages.run(tmp_path, "crawler.py"))


def test_crawler_with_a_limit(site, tmp_path):
    process, port = site(hanging=True)
    crawler = pages.versions("tutorial/crawler", "crawler.py")[-1].replace("8080", str(port))
    (limit,) = pages.versions("tutorial/crawler", "the limit")
    plain = "    def visit(address):\n        text = fetch(address)\n"
    plain += "        if text is None:\n            return\n"
    assert plain in crawler
    crawler = crawler.replace(plain, limit).replace("Timeout(2, False)", "Timeout(1, False)")
    (tmp_path / "crawler.py").write_text(crawler)
    with process as server:
        pages.said(server, "http://")
        # Without the pages 7, 15, 16, 31 to 34, and 63 to 70.
        assert pages.run(tmp_path, "crawler.py").startswith("85 pages in ")


def test_failing_greenlet(tmp_path):
    pages.files("tutorial/crawler", tmp_path, "fail.py")
    (block,) = (each for each in pages.blocks("tutorial/crawler") if each.caption == "fail.py")
    assert pages.run(tmp_path, "fail.py", errors=True) == block.prints


def test_echo(tmp_path):
    port = free_port()
    pages.files("tutorial/chat", tmp_path, "echo.py", replace={"8023": port})
    with pages.started(tmp_path, "echo.py"):
        one = pages.eventually(lambda: socket.create_connection(("127.0.0.1", port), timeout=10))
        with one, socket.create_connection(("127.0.0.1", port), timeout=10) as other:
            for connection in (one, other, one):
                connection.sendall(b"a line\n")
                assert connection.recv(100) == b"a line\n"


def test_chat(tmp_path):
    port = free_port()
    text = pages.versions("tutorial/chat", "chat.py")[-1].replace("8023", str(port))
    (end,) = pages.versions("tutorial/chat", "the end")
    last = "    server.serve_forever()\n"
    assert text.endswith(last)
    (tmp_path / "chat.py").write_text(text.removesuffix(last) + end)
    with pages.started(tmp_path, "chat.py") as server:
        pages.said(server, "telnet")
        address = ("127.0.0.1", port)
        with (
            socket.create_connection(address, 10) as ann,
            socket.create_connection(address, 10) as bob,
        ):
            lines = []
            for guest, name in ((ann, "Ann"), (bob, "Bob")):
                guest.sendall(f"{name}\n".encode())
                lines.append(guest.makefile("r"))
                assert lines[-1].readline() == f"Your name? * {name} is here\n"
            assert lines[0].readline() == "* Bob is here\n"
            bob.sendall(b"hello\n")
            assert [each.readline() for each in lines] == ["Bob: hello\n"] * 2
            with socket.create_connection(address, 10) as other:
                other.sendall(b"Ann\n")
                assert other.makefile().read() == "Your name? That name is taken.\n"
            bob.close()
            lines[1].close()
            assert lines[0].readline() == "* Bob has left\n"
            server.terminate()
            assert lines[0].read() == ""
        pages.said(server, "The room is closed.")
        assert server.wait(20) == 0


def test_web(tmp_path, site):
    pages.files(
        "tutorial/serve",
        tmp_path,
        "web.py",
        "serve.toml",
        replace={"127.0.0.1:8000": "127.0.0.1:0"},
    )
    pages.files("tutorial/chat", tmp_path, "chat.py")
    pages.files("tutorial/crawler", tmp_path, "crawler.py")
    checked = ("-m", "gevent.serve", "web:application", "--config", "serve.toml")
    with pages.started(tmp_path, *checked, "--check") as check:
        assert check.wait(30) == 0
    process, crawled = site()
    with process as crawled_server, pages.started(tmp_path, *checked) as serving:
        pages.said(crawled_server, "http://")
        port = pages.port_of(serving)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as page:
            assert b"new WebSocket" in page.read()
        chat_over_websockets(port)
        start = f"http://127.0.0.1:{port}/pages?start=http://127.0.0.1:{crawled}/"
        with urllib.request.urlopen(start, timeout=60) as found:
            assert len(json.load(found)) == 100
        serving.terminate()
        assert serving.wait(30) == 0


def chat_over_websockets(port):
    from gevent import websocket

    ann = websocket.connect(f"ws://127.0.0.1:{port}/room?name=Ann")
    assert ann.receive() == "* Ann is here"
    bob = websocket.connect(f"ws://127.0.0.1:{port}/room?name=Bob")
    assert ann.receive() == "* Bob is here"
    ann.send("hello")
    assert ann.receive() == "Ann: hello"
    assert [bob.receive(), bob.receive()] == ["* Bob is here", "Ann: hello"]
    bob.close()
    assert ann.receive() == "* Bob has left"
    ann.close()
