"""The page of zunzuncito about gevent: what is yielded is sent at once, after `response.send()`."""

import sys
import time

import pytest
import requests


@pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="zunzuncito 0.1.20 cannot be installed on CPython 3.12"
)
def test_page(served, name_server):
    with served("zunzuncito/serve", **name_server) as (process, port):
        began = time.monotonic()
        with requests.get(f"http://127.0.0.1:{port}/", stream=True, timeout=30) as response:
            assert response.headers["Content-Type"] == "text/html; charset=UTF-8"
            assert response.headers["Transfer-Encoding"] == "chunked"
            assert "Request-ID" in response.headers
            arrived = [
                (chunk.decode(), time.monotonic() - began) for chunk in response.iter_content(None)
            ]
        printed = [process.stdout.readline().strip() for _ in range(10)]
    texts, times = zip(*arrived, strict=True)
    assert "".join(texts) == (
        "sleep 1 second.<br/>sleep 3 seconds...<br/>done.<br/>getting some ips...<br/>"
        + "ip = 10.1.2.3<br/>" * 4
    )
    # Four seconds of sleep lie between them.
    assert texts[0] == "sleep 1 second.<br/>"
    assert texts[2] == "done.<br/>getting some ips...<br/>"
    assert times[0] < times[2] - 1
    assert printed == [*map(str, range(1, 10)), "background task 1"]
